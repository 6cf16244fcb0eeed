// What a cache takes for each position, by method: the table of the SVFormer paper (arXiv 2410.17897, section 3.5) and the
// points beside it. N layers, c = G E numbers for a layer's keys, as many for its values.
#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"

namespace heed {
namespace {

using Layer = DynamicStack<float>::Layer;

constexpr Index N = 12, H = 8, E = 4;
const Sizes multi_head = {.width = 32, .heads = H, .head_width = E, .hidden = 16};
const Sizes grouped = {.width = 32, .heads = H, .kv_heads = 2, .head_width = E, .hidden = 16};

/// Numbers for each position, as planned; and that so many bytes are allocated.
template <class LayerAt>
Index numbers(const Sizes& sizes, LayerAt&& layer_at) {
  std::vector<Layer> layers;
  for (Index n = 0; n < N; ++n) layers.push_back(layer_at(n));
  const auto model = DynamicStack<float>::build(sizes, layers);
  Index sum = 0;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) sum += model.plan().cache(layer).per_position;
  EXPECT_EQ(model.make_cache({.positions = 10}).bytes(), 10 * sum * 4);
  return sum;
}
Layer standard(Index) {
  return choose<StandardAttention>();
}
Layer svformer(Index n) {
  if (n == 0) return choose<StandardAttention>();
  return choose<SVFormer>();
}
auto cla(Index k) {
  return [k](Index n) -> Layer {
    if (n % k == 0) return choose<StandardAttention>();
    return choose<CLA>();
  };
}
auto svformer_with_shared_keys(Index k) {
  return [k](Index n) -> Layer {
    if (n == 0) return choose<StandardAttention>();
    if (n % k == 0) return choose<SVFormer>();
    return choose<SharedKeyValueAttention>();
  };
}
auto anchors(Index m) {
  return [m](Index n) -> Layer {
    if (n % (N / m) == 0) return choose<StandardAttention>();
    return choose<Attention<ComputedScores, SharedValues<nearest<values>>>>();
  };
}

TEST(CacheTable, OfAttentionWithHeadsOfTheirOwn) {
  EXPECT_EQ(numbers(multi_head, standard), 2 * N * H * E);
}

TEST(CacheTable, OfGroupedHeads) {
  EXPECT_EQ(numbers(grouped, standard), 2 * N * H * E / 4);
}

TEST(CacheTable, OfCrossLayerAttention) {
  EXPECT_EQ(numbers(multi_head, cla(2)), 2 * 6 * H * E);
  EXPECT_EQ(numbers(multi_head, cla(3)), 2 * 4 * H * E);
  EXPECT_EQ(numbers(multi_head, cla(5)), 2 * 3 * H * E) << "a last group of two layers";
  EXPECT_EQ(numbers(grouped, cla(2)), 2 * 6 * H * E / 4);
}

TEST(CacheTable, OfSVFormer) {
  EXPECT_EQ(numbers(multi_head, svformer), (N + 1) * H * E);
  EXPECT_EQ(numbers(grouped, svformer), (N + 1) * H * E / 4);
}

TEST(CacheTable, OfSVFormerWithKeysSharedInGroups) {
  EXPECT_EQ(numbers(multi_head, svformer_with_shared_keys(2)), (6 + 1) * H * E);
  EXPECT_EQ(numbers(multi_head, svformer_with_shared_keys(5)), (3 + 1) * H * E);
  EXPECT_EQ(numbers(grouped, svformer_with_shared_keys(2)), (6 + 1) * H * E / 4);
}

TEST(CacheTable, OfSVFormerWithAnchors) {
  EXPECT_EQ(numbers(multi_head, anchors(1)), (N + 1) * H * E);
  EXPECT_EQ(numbers(multi_head, anchors(3)), (N + 3) * H * E);
}

TEST(CacheTable, OfResFormer) {
  EXPECT_EQ(numbers(multi_head,
                    [](Index n) -> Layer {
                      if (n == 0) return choose<StandardAttention>();
                      return choose<ResFormer>();
                    }),
            2 * N * H * E);
}

// P layers reuse the scores of the layer below, and keep no keys.
TEST(CacheTable, OfScoreReuseInSomeLayers) {
  const auto reuse = [](Index P) {
    return [P](Index n) -> Layer {
      if (n >= 1 && n <= P) return choose<ScoreReuseAttention>();
      return choose<StandardAttention>();
    };
  };
  EXPECT_EQ(numbers(multi_head, reuse(6)), (2 * N - 6) * H * E);
  EXPECT_EQ(numbers(grouped, reuse(6)), (2 * N - 6) * H * E / 4);
}

}  // namespace
}  // namespace heed
