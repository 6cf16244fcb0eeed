// Every variant as the layers of one small stack: prefill, decode and a training step. A variant is checked before it is
// timed: fed in chunks it gives what it gives at once.
//
//   prefill   T rows on an empty cache      rows/s
//   decode    one row behind S positions    rows/s
//   train     forward and backward          rows/s
#include <checked.hpp>
#include <heed/heed.hpp>

namespace {

using heed::Index;
using heed::Matrix;

constexpr Index width = 256;

template <class Below, class Mixer>
using Layers = heed::Stack<float, heed::Block<Below>, heed::Repeat<3, heed::Block<Mixer>>>;

template <class Model>
Model make() {
  return Model({.width = width, .heads = 8, .kv_heads = 4});
}

template <class Model>
bool chunks_agree(const Model& model) {
  const Matrix<float> x = heed::bench::random(48, width, "x");
  auto whole = model.make_cache({.positions = 48, .rows = 48});
  auto parts = model.make_cache({.positions = 48, .rows = 48});
  const Matrix<float> y = model.forward(x, whole);
  Matrix<float> by_parts(y.rows(), y.cols());
  by_parts.topRows(31) = model.forward(x.topRows(31), parts);
  for (Index t = 31; t < 48; ++t) by_parts.row(t) = model.forward(x.row(t), parts);
  return heed::bench::agree(by_parts, y, 3 * width);
}

template <class Model>
void prefill(benchmark::State& state) {
  const Model model = make<Model>();
  if (!chunks_agree(model)) return state.SkipWithError("chunks differ from the whole");
  const Matrix<float> x = heed::bench::random(state.range(0), width, "x");
  auto cache = model.make_cache({.positions = x.rows(), .rows = x.rows()});
  for (auto _ : state) {
    if (!cache.truncate(0, 0)) return state.SkipWithError("truncate(0, 0) is refused");
    benchmark::DoNotOptimize(model.forward(x, cache).data());
  }
  heed::bench::set_rate(state, "rows/s", double(x.rows()));
}

template <class Model>
void decode(benchmark::State& state) {
  const Model model = make<Model>();
  if (!chunks_agree(model)) return state.SkipWithError("chunks differ from the whole");
  const Matrix<float> x = heed::bench::random(state.range(0), width, "x");
  auto cache = model.make_cache({.positions = x.rows() + 1, .rows = x.rows()});
  benchmark::DoNotOptimize(model.forward(x, cache).data());
  const heed::Mark mark = cache.checkpoint();
  for (auto _ : state) {
    benchmark::DoNotOptimize(model.forward(x.row(0), cache).data());
    if (!cache.rollback(mark)) return state.SkipWithError("the mark is refused");
  }
  heed::bench::set_rate(state, "rows/s", 1);
}

template <class Model>
void train(benchmark::State& state) {
  const Model model = make<Model>();
  if (!chunks_agree(model)) return state.SkipWithError("chunks differ from the whole");
  const Matrix<float> x = heed::bench::random(state.range(0), width, "x");
  auto tape = model.make_tape({x.rows()});
  auto gradients = model.make_gradients();
  for (auto _ : state) {
    benchmark::DoNotOptimize(model.forward(x, tape).data());
    benchmark::DoNotOptimize(model.backward(x, tape, gradients).data());
  }
  heed::bench::set_rate(state, "rows/s", double(x.rows()));
}

void long_and_short(benchmark::internal::Benchmark* bench) {
  bench->ArgName("positions")->Arg(256)->Arg(2048)->Unit(benchmark::kMicrosecond);
}

using Standard = Layers<heed::StandardAttention, heed::StandardAttention>;
using ResidualValue = Layers<heed::StandardAttention, heed::ResidualValueAttention>;
using LearnedResidualValue = Layers<heed::StandardAttention, heed::LearnedResidualValueAttention>;
using SharedValue = Layers<heed::StandardAttention, heed::SharedValueAttention>;
using ScoreReuse = Layers<heed::StandardAttention, heed::ScoreReuseAttention>;
using PartialScoreReuse = Layers<heed::StandardAttention, heed::PartialScoreReuseAttention>;
using Mamba2 = Layers<heed::Mamba2, heed::Mamba2>;
using RecurrentMix = Layers<heed::RecurrentMixAttention, heed::RecurrentMixAttention>;

#define HEED_BENCHMARK_VARIANT(variant)                        \
  BENCHMARK_TEMPLATE(prefill, variant)->Apply(long_and_short); \
  BENCHMARK_TEMPLATE(decode, variant)->Apply(long_and_short);  \
  BENCHMARK_TEMPLATE(train, variant)->ArgName("positions")->Arg(256)->Unit(benchmark::kMicrosecond)

HEED_BENCHMARK_VARIANT(Standard);
HEED_BENCHMARK_VARIANT(ResidualValue);
HEED_BENCHMARK_VARIANT(LearnedResidualValue);
HEED_BENCHMARK_VARIANT(SharedValue);
HEED_BENCHMARK_VARIANT(ScoreReuse);
HEED_BENCHMARK_VARIANT(PartialScoreReuse);
HEED_BENCHMARK_VARIANT(Mamba2);
HEED_BENCHMARK_VARIANT(RecurrentMix);

}  // namespace
