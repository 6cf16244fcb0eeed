// Probabilities kept for layers above: what keeping them costs attention, and what applying them costs beside computing
// them anew. One thread.
//
//   attend   o = softmax(q k^T) v, kept: nothing, floats, bfloat16
//   given    o = A v, A kept as floats or bfloat16, and its backward: d_A += d_o v^T, d_v += A^T d_o
#include <checked.hpp>
#include <heed/ops/operand.hpp>
#include <limits>

namespace {

using heed::Index;
using heed::Matrix;
using heed::Storage;

constexpr Index width = 64;

struct Operands {
  Index rows, heads, kv_heads;
  Matrix<float> q, k, v, o, log_sum_exp;  // k, v: [kv_heads*S x E]
  heed::Arena arena;
  heed::HeadTable<heed::HeadRows<float>> k_heads, v_heads;
  heed::HeadTable<heed::Probabilities<float>> kept = {};
  heed::Sequences sequences;
  heed::Workers workers;

  explicit Operands(const benchmark::State& state)
      : rows(state.range(0)),
        heads(16),
        kv_heads(state.range(1)),
        q(heed::bench::random(rows, heads * width, "q")),
        k(heed::bench::random(kv_heads * rows, width, "k")),
        v(heed::bench::random(kv_heads * rows, width, "v")),
        o(Matrix<float>::Zero(rows, heads * width)),
        log_sum_exp(rows, heads),
        k_heads(table(k)),
        v_heads(table(v)),
        sequences({rows}) {}

  heed::HeadTable<heed::HeadRows<float>> table(const Matrix<float>& x, Matrix<float>* d_x = nullptr) {
    const auto made = heed::HeadTable<heed::HeadRows<float>>::make(arena, 1, kv_heads);
    for (Index g = 0; g < kv_heads; ++g) {
      const Index at = g * rows * width;
      made.at(0, g) = {x.data() + at, d_x == nullptr ? nullptr : d_x->data() + at, rows, width, width, width};
    }
    return made;
  }
  void keep(const heed::KeptShape& shape) {
    kept = heed::HeadTable<heed::Probabilities<float>>::make(arena, 1, heads);
    for (Index h = 0; h < heads; ++h) kept.at(0, h) = heed::Probabilities<float>::make(arena, shape);
  }
  void keep(Storage storage) { keep({.rows = rows, .keys = rows, .storage = storage}); }
  void attend() {
    heed::attend(heed::Computed<float>{.q = heed::view_of(q),
                                       .k = k_heads,
                                       .mask = heed::causal(),
                                       .scale = 0.125f,
                                       .log_sum_exp = heed::mutable_view_of(log_sum_exp),
                                       .probabilities = kept},
                 v_heads, sequences.division(), heed::mutable_view_of(o), workers);
  }
  void give() { heed::attend(heed::Given<float>{kept}, v_heads, sequences.division(), heed::mutable_view_of(o), workers); }

  /// A v is what attend made, up to 2^-8 of the largest value where A is rounded.
  bool given_agrees(Storage storage) {
    o.setZero();
    attend();
    const Matrix<float> expected = o;
    o.setZero();
    give();
    const float rounding = storage == Storage::arithmetic ? 0.0f : v.cwiseAbs().maxCoeff() / 256;
    return heed::bench::within(
        o, expected,
        rounding + std::numeric_limits<float>::epsilon() * static_cast<float>(rows) * expected.cwiseAbs().maxCoeff());
  }
};

void attend(benchmark::State& state) {
  Operands in(state);
  for (auto _ : state) in.attend();
  heed::bench::set_rate(state, "FLOP/s", 2.0 * double(in.rows * in.rows * in.heads * width));
}

void attend_and_keep(benchmark::State& state, Storage storage) {
  Operands in(state);
  in.keep(storage);
  if (!in.given_agrees(storage)) return state.SkipWithError("what is kept differs from what was attended with");
  for (auto _ : state) in.attend();
  heed::bench::set_rate(state, "FLOP/s", 2.0 * double(in.rows * in.rows * in.heads * width));
}

void given(benchmark::State& state, Storage storage) {
  Operands in(state);
  in.keep(storage);
  if (!in.given_agrees(storage)) return state.SkipWithError("A v differs from what attend makes");
  for (auto _ : state) in.give();
  heed::bench::set_rate(state, "FLOP/s", double(in.rows * in.rows * in.heads * width));
}

void given_backward(benchmark::State& state) {
  Operands in(state);
  in.keep({.rows = in.rows, .keys = in.rows, .mask = heed::causal(), .gradient = true});
  in.attend();
  const Matrix<float> d_o = heed::bench::random(in.rows, in.heads * width, "d_o");
  Matrix<float> d_v = Matrix<float>::Zero(in.v.rows(), width), expected = d_v, a(in.rows, in.rows), d_a = a;
  const auto values = in.table(in.v, &d_v);
  const auto run = [&] {
    heed::attend_backward(heed::Given<float>{in.kept}, values, in.sequences.division(), heed::view_of(d_o), in.workers);
  };
  run();
  // o = A v   =>   d_A += d_o v^T where the mask shows A,  d_v += A^T d_o
  bool same = true;
  for (Index h = 0; h < in.heads; ++h) {
    const Index first = h / (in.heads / in.kv_heads) * in.rows;
    for (Index t = 0; t < in.rows; ++t) {
      in.kept.at(0, h).read_row(t, a.data() + t * in.rows);
      in.kept.at(0, h).read_gradient_row(t, d_a.data() + t * in.rows);
    }
    const auto d_o_h = d_o.middleCols(h * width, width);
    expected.middleRows(first, in.rows).noalias() += a.transpose() * d_o_h;
    const Matrix<float> all = d_o_h * in.v.middleRows(first, in.rows).transpose();
    same = same && heed::bench::agree(d_a, all.triangularView<Eigen::Lower>(), width);
  }
  if (!same || !heed::bench::agree(d_v, expected, in.rows)) return state.SkipWithError("the gradients differ");
  for (auto _ : state) run();
  heed::bench::set_rate(state, "FLOP/s", 2.0 * double(in.rows * in.rows * in.heads * width));
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"S", "kv_heads"})->Args({2048, 16})->Args({2048, 4})->Unit(benchmark::kMillisecond);
}

BENCHMARK(attend)->Apply(sizes);
BENCHMARK_CAPTURE(attend_and_keep, float, Storage::arithmetic)->Apply(sizes);
BENCHMARK_CAPTURE(attend_and_keep, bfloat16, Storage::bfloat16)->Apply(sizes);
BENCHMARK_CAPTURE(given, float, Storage::arithmetic)->Apply(sizes);
BENCHMARK_CAPTURE(given, bfloat16, Storage::bfloat16)->Apply(sizes);
BENCHMARK(given_backward)->Apply(sizes);

}  // namespace
