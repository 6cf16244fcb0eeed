// The recurrence of Mamba-2 beside its steps written with Eigen. Every result is checked before it is timed.
//
//   prefill    one sequence of T rows        counts the FLOPs that steps need: 5 T H N P; chunks may need fewer
//   decode     T = 1, B sequences            bytes/s counts the states once read and once written
//   backward   one sequence of T rows        counts 13 T H N P
#include <checked.hpp>
#include <heed/core/random.hpp>
#include <heed/ops/ssd.hpp>
#include <limits>
#include <reference/ssd.hpp>
#include <vector>

namespace {

using heed::Index;
using heed::Matrix;
using heed::mutable_view_of;
using heed::view_of;
using heed::bench::agree;

struct Operands {
  Index rows, heads, head_width, state_width;
  Matrix<float> x, dt, a, b, c, d;

  Operands(Index T, Index H, Index P, Index N) : rows(T), heads(H), head_width(P), state_width(N) {
    heed::Random random(1);
    const auto fill = [&](Matrix<float>& m, Index m_rows, Index m_cols, double low, double high) {
      m.resize(m_rows, m_cols);
      random.uniform(m, low, high);
    };
    fill(x, T, H * P, -1, 1), fill(dt, T, H, 0.001, 0.1), fill(a, 1, H, -16, -1);
    fill(b, T, N, -1, 1), fill(c, T, N, -1, 1), fill(d, 1, H, 1, 1);
  }
  heed::SsdInputs<float> inputs(Index chunk) const {
    return {view_of(x), view_of(dt), view_of(a), view_of(b), view_of(c), view_of(d), 1, chunk};
  }
  double work() const { return double(rows) * double(heads * state_width * head_width); }
};

// What one writes with Eigen at hand. states: one [N x P] per head, under one another.
void naive(const Operands& in, Matrix<float>& states, Matrix<float>& y) {
  const Index P = in.head_width, N = in.state_width;
  for (Index h = 0; h < in.heads; ++h) {
    auto state = states.middleRows(h * N, N);
    for (Index t = 0; t < in.rows; ++t) {
      const auto x = in.x.row(t).segment(h * P, P);
      state *= std::exp(in.dt(t, h) * in.a(0, h));
      state.noalias() += (in.dt(t, h) * in.b.row(t).transpose()) * x;
      y.row(t).segment(h * P, P).noalias() = in.c.row(t) * state;
      y.row(t).segment(h * P, P) += in.d(0, h) * x;
    }
  }
}

// Both compute in float: an element is a sum over the state of decayed sums over the rows.
void set_flops(benchmark::State& state, double per_run) {
  heed::bench::set_rate(state, "FLOPs of steps/s", per_run);
}

void ssd_prefill(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), state.range(2), state.range(3));
  const heed::Sequences rows({in.rows});
  heed::Workers workers;
  Matrix<float> y(in.rows, in.x.cols()), expected = y;
  Matrix<float> states = Matrix<float>::Zero(in.heads * in.state_width, in.head_width);
  naive(in, states, expected);
  heed::ssd(in.inputs(state.range(4)), rows, {}, mutable_view_of(y), workers);
  if (!agree(y, expected, in.rows + in.state_width)) return state.SkipWithError("ssd differs from its steps");
  for (auto _ : state) {
    heed::ssd(in.inputs(state.range(4)), rows, {}, mutable_view_of(y), workers);
    benchmark::DoNotOptimize(y.data());
  }
  set_flops(state, 5 * in.work());
}

void ssd_prefill_naive_eigen(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), state.range(2), state.range(3));
  Matrix<float> y(in.rows, in.x.cols());
  Matrix<float> states = Matrix<float>::Zero(in.heads * in.state_width, in.head_width);
  for (auto _ : state) {
    states.setZero();
    naive(in, states, y);
    benchmark::DoNotOptimize(y.data());
  }
  set_flops(state, 5 * in.work());
}

void ssd_decode(benchmark::State& state) {
  const Index B = state.range(0), H = state.range(1), P = state.range(2), N = state.range(3);
  const Operands in(B, H, P, N);
  const heed::Sequences rows = heed::Sequences::each(B, 1);
  heed::Workers workers;
  Matrix<float> states = Matrix<float>::Zero(B * H * N, P), y(B, H * P);
  std::vector<const float*> read;
  std::vector<float*> written;
  for (Index i = 0; i < B * H; ++i) {
    read.push_back(states.row(i * N).data());
    written.push_back(states.row(i * N).data());
  }
  const heed::SsdStates<float> tables{.before = {read.data(), B, H}, .after = {written.data(), B, H}};
  heed::ssd(in.inputs(64), rows, tables, mutable_view_of(y), workers);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h) {
      const auto step = heed::reference::ssd_recurrent<float>(
          {in.x.block(b, h * P, 1, P), in.dt.block(b, h, 1, 1), in.b.row(b), in.c.row(b), in.a(0, h), in.d(0, h)},
          Matrix<float>::Zero(N, P));
      if (!agree(y.block(b, h * P, 1, P), step.y, N + 4))
        return state.SkipWithError("a decode step differs from its definition");
    }
  for (auto _ : state) {
    heed::ssd(in.inputs(64), rows, tables, mutable_view_of(y), workers);
    benchmark::DoNotOptimize(y.data());
  }
  const double held = double(states.size() * Index(sizeof(float)));
  heed::bench::set_rate(state, "bytes/s", 2 * held, held);  // read and written
}

void ssd_backward(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), state.range(2), state.range(3));
  const Index chunk = state.range(4), H = in.heads, N = in.state_width, P = in.head_width;
  const heed::Sequences rows({in.rows});
  heed::Workers workers;
  heed::Arena scratch;
  Matrix<float> y(in.rows, in.x.cols()), kept(H * heed::ssd_kept_states(in.rows, chunk) * N, P);
  std::vector<float*> kept_by_head;
  for (Index h = 0; h < H; ++h) kept_by_head.push_back(kept.data() + h * (kept.size() / H));
  const heed::HeadTable<float*> table{kept_by_head.data(), 1, H};
  heed::ssd(in.inputs(chunk), rows, {.kept = table}, mutable_view_of(y), workers);

  Operands d = in;
  for (Matrix<float>* gradient : {&d.x, &d.dt, &d.a, &d.b, &d.c, &d.d}) gradient->setZero();
  const auto run = [&] {
    heed::ssd_backward(in.inputs(chunk), rows, table, view_of(y),
                       {mutable_view_of(d.x), mutable_view_of(d.dt), mutable_view_of(d.a), mutable_view_of(d.b),
                        mutable_view_of(d.c), mutable_view_of(d.d)},
                       scratch, workers);
  };
  run();
  Operands expected = d;
  expected.b.setZero(), expected.c.setZero();
  for (Index h = 0; h < H; ++h) {
    const auto head = heed::reference::ssd_backward<float>(
        {in.x.middleCols(h * P, P), in.dt.col(h), in.b, in.c, in.a(0, h), in.d(0, h)}, y.middleCols(h * P, P));
    expected.x.middleCols(h * P, P) = head.x, expected.dt.col(h) = head.dt;
    expected.b += head.b, expected.c += head.c;
    expected.a(0, h) = head.a, expected.d(0, h) = head.d;
  }
  const Index sums = in.rows + N;
  if (!agree({{d.x, expected.x, sums},
              {d.dt, expected.dt, sums + P},
              {d.a, expected.a, sums + P},
              {d.b, expected.b, sums + H * P},
              {d.c, expected.c, sums + H * P},
              {d.d, expected.d, in.rows + P}}))
    return state.SkipWithError("ssd_backward differs from its steps");
  for (auto _ : state) {
    run();
    benchmark::DoNotOptimize(d.x.data());
  }
  set_flops(state, 13 * in.work());
}

void lengths(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "H", "P", "N", "chunk"})->Unit(benchmark::kMicrosecond);
  for (Index chunk : {32, 64, 128}) bench->Args({2048, 8, 64, 64, chunk});
  bench->Args({16, 8, 64, 64, 64})->Args({256, 4, 32, 32, 64})->Args({512, 8, 64, 128, 64});
}
BENCHMARK(ssd_prefill)->Apply(lengths);
BENCHMARK(ssd_prefill_naive_eigen)
    ->ArgNames({"T", "H", "P", "N"})
    ->Args({2048, 8, 64, 64})
    ->Args({16, 8, 64, 64})
    ->Args({256, 4, 32, 32})
    ->Args({512, 8, 64, 128})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(ssd_decode)
    ->ArgNames({"B", "H", "P", "N"})
    ->Args({1, 8, 64, 64})
    ->Args({4, 8, 64, 64})
    ->Args({1, 4, 32, 32})
    ->Args({1, 24, 64, 128})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(ssd_backward)->Apply(lengths);

}  // namespace
