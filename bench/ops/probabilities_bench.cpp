// Probabilities kept for layers above: what keeping them costs attention, and what applying them costs beside computing
// them anew. One thread.
//
//   attend   o = softmax(q k^T) v, kept: nothing, floats, bfloat16
//   given    o = A v, A kept as floats or bfloat16
#include <checked.hpp>
#include <heed/ops/operand.hpp>

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

  heed::HeadTable<heed::HeadRows<float>> table(const Matrix<float>& x) {
    const auto made = heed::HeadTable<heed::HeadRows<float>>::make(arena, 1, kv_heads);
    for (Index g = 0; g < kv_heads; ++g) made.at(0, g) = {x.data() + g * rows * width, nullptr, rows, width, width, 0};
    return made;
  }
  void keep(Storage storage) {
    kept = heed::HeadTable<heed::Probabilities<float>>::make(arena, 1, heads);
    for (Index h = 0; h < heads; ++h)
      kept.at(0, h) = heed::Probabilities<float>::make(arena, {.rows = rows, .keys = rows, .storage = storage});
  }
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
    return (o - expected).cwiseAbs().maxCoeff() <=
           rounding + std::numeric_limits<float>::epsilon() * static_cast<float>(rows) * expected.cwiseAbs().maxCoeff();
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

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"S", "kv_heads"})->Args({2048, 16})->Args({2048, 4})->Unit(benchmark::kMillisecond);
}

BENCHMARK(attend)->Apply(sizes);
BENCHMARK_CAPTURE(attend_and_keep, float, Storage::arithmetic)->Apply(sizes);
BENCHMARK_CAPTURE(attend_and_keep, bfloat16, Storage::bfloat16)->Apply(sizes);
BENCHMARK_CAPTURE(given, float, Storage::arithmetic)->Apply(sizes);
BENCHMARK_CAPTURE(given, bfloat16, Storage::bfloat16)->Apply(sizes);

}  // namespace
