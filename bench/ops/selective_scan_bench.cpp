// The recurrence of Mamba-1 beside its steps written with Eigen. Every result is checked before it is timed.
//
//   prefill    one sequence of T rows        steps/s counts states of channels: T C N, each with an exponential
//   decode     T = 1, B sequences            bytes/s counts the states once read and once written
//   backward   one sequence of T rows        steps/s counts T C N
#include <checked.hpp>
#include <heed/core/random.hpp>
#include <heed/ops/selective_scan.hpp>
#include <reference/selective_scan.hpp>
#include <vector>

namespace {

using heed::Index;
using heed::Matrix;
using heed::mutable_view_of;
using heed::view_of;
using heed::bench::agree;
using heed::bench::set_rate;
using heed::bench::Who;

struct Operands : heed::reference::SelectiveScan<float> {
  Operands(Index T, Index C, Index N) {
    heed::Random random(1);
    const auto fill = [&](Matrix<float>& m, Index m_rows, Index m_cols, double low, double high) {
      m.resize(m_rows, m_cols);
      random.uniform(m, low, high);
    };
    fill(x, T, C, -1, 1), fill(dt, T, C, 0.001, 0.1), fill(a, N, C, -16, -1);
    fill(b, T, N, -1, 1), fill(c, T, N, -1, 1), fill(d, 1, C, 1, 1);
  }
  heed::SelectiveScanInputs<float> inputs(Index chunk = 32) const {
    return {view_of(x), view_of(dt), view_of(a), view_of(b), view_of(c), view_of(d), 1, chunk};
  }
  double steps() const { return double(x.rows()) * double(a.size()); }
  // An element is a sum over the states of decayed sums over the rows.
  Index operations() const { return x.rows() + a.rows(); }
};

// What one writes with Eigen at hand: all channels of a state at once.
void naive(const Operands& in, Matrix<float>& h, Matrix<float>& y) {
  for (Index t = 0; t < in.x.rows(); ++t) {
    const auto dt = in.dt.row(t).array();
    y.row(t) = in.d.row(0).cwiseProduct(in.x.row(t));
    for (Index n = 0; n < in.a.rows(); ++n) {
      h.row(n).array() = (dt * in.a.row(n).array()).exp() * h.row(n).array() + dt * in.x.row(t).array() * in.b(t, n);
      y.row(t) += in.c(t, n) * h.row(n);
    }
  }
}

void selective_scan_prefill(benchmark::State& state, Who who) {
  const Operands in(state.range(0), state.range(1), state.range(2));
  const heed::Sequences rows({in.x.rows()});
  heed::Workers workers;
  Matrix<float> y(in.x.rows(), in.x.cols()), h(in.a.rows(), in.a.cols());
  heed::bench::time_checked(
      state, who, y, in.operations(), [&] { heed::selective_scan(in.inputs(), rows, {}, mutable_view_of(y), workers); },
      [&] {
        h.setZero();
        naive(in, h, y);
      });
  set_rate(state, "steps/s", in.steps());
}

void selective_scan_decode(benchmark::State& state) {
  const Index B = state.range(0), C = state.range(1), N = state.range(2);
  const Operands in(B, C, N);
  const heed::Sequences rows = heed::Sequences::each(B, 1);
  heed::Workers workers;
  Matrix<float> states = Matrix<float>::Zero(B * N, C), y(B, C);
  std::vector<const float*> read;
  std::vector<float*> written;
  for (Index b = 0; b < B; ++b) {
    read.push_back(states.row(b * N).data());
    written.push_back(states.row(b * N).data());
  }
  const heed::SelectiveScanStates<float> tables{.before = {read.data(), B, 1}, .after = {written.data(), B, 1}};
  heed::selective_scan(in.inputs(), rows, tables, mutable_view_of(y), workers);
  for (Index b = 0; b < B; ++b)
    if (!agree(y.row(b), heed::reference::selective_scan<float>(in.row(b), Matrix<float>::Zero(N, C)).y, N + 4))
      return state.SkipWithError("a decode step differs from its definition");
  for (auto _ : state) {
    heed::selective_scan(in.inputs(), rows, tables, mutable_view_of(y), workers);
    benchmark::DoNotOptimize(y.data());
  }
  const double held = double(states.size() * Index(sizeof(float)));
  set_rate(state, "bytes/s", 2 * held, held);  // read and written
}

void selective_scan_backward(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), state.range(2));
  const Index chunk = state.range(3), T = in.x.rows(), C = in.x.cols(), N = in.a.rows();
  const heed::Sequences rows({T});
  heed::Workers workers;
  heed::Arena scratch;
  Matrix<float> y(T, C), kept(heed::selective_scan_kept_states(T, chunk) * N, C);
  float* kept_rows = kept.data();
  const heed::HeadTable<float*> table{&kept_rows, 1, 1};
  heed::selective_scan(in.inputs(chunk), rows, {.kept = table}, mutable_view_of(y), workers);

  Operands d = in;
  for (Matrix<float>* gradient : {&d.x, &d.dt, &d.a, &d.b, &d.c, &d.d}) gradient->setZero();
  const auto run = [&] {
    heed::selective_scan_backward(in.inputs(chunk), rows, table, view_of(y),
                                  {mutable_view_of(d.x), mutable_view_of(d.dt), mutable_view_of(d.a), mutable_view_of(d.b),
                                   mutable_view_of(d.c), mutable_view_of(d.d)},
                                  scratch, workers);
  };
  run();
  const heed::reference::SelectiveScan<float> expected = heed::reference::selective_scan_backward<float>(in, y);
  const Index sums = in.operations();
  if (!agree({{d.x, expected.x, sums},
              {d.dt, expected.dt, sums},
              {d.a, expected.a, sums},
              {d.b, expected.b, sums + C},
              {d.c, expected.c, sums + C},
              {d.d, expected.d, T}}))
    return state.SkipWithError("selective_scan_backward differs from its steps");
  for (auto _ : state) {
    run();
    benchmark::DoNotOptimize(d.x.data());
  }
  set_rate(state, "steps/s", in.steps());
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "C", "N"})->Unit(benchmark::kMicrosecond);
  bench->Args({16, 1024, 16})->Args({512, 1024, 16})->Args({512, 256, 16})->Args({512, 1000, 64});
}
HEED_BENCHMARK_BOTH(selective_scan_prefill, sizes);
BENCHMARK(selective_scan_decode)
    ->ArgNames({"B", "C", "N"})
    ->Args({1, 1024, 16})
    ->Args({4, 1024, 16})
    ->Args({1, 4096, 16})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(selective_scan_backward)
    ->ArgNames({"T", "C", "N", "chunk"})
    ->Args({512, 1024, 16, 16})
    ->Args({512, 1024, 16, 32})
    ->Args({512, 1024, 16, 64})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
