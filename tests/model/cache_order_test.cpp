#include "heed/model/cache_order.hpp"

#include <gtest/gtest.h>

#include <array>

#include "cached_stacks.hpp"
#include "heed/model/language_model.hpp"
#include "heed/model/mixer_layer.hpp"
#include "small_models.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

using cached_stacks::feed;
using cached_stacks::mixed;
using reference::same_bits;

using Texts = std::vector<std::string>;
const std::vector<Index> one_each(4, 1);

// All mappings of four sequences: 256, with chains, stars, cycles and fixed points.
template <class F>
void for_all_sources(F&& f) {
  for (int code = 0; code < 256; ++code) f(std::array<Index, 4>{code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3});
}

TEST(Reordering, GivesEverySequenceWhatItsSourceHad) {
  const Timeline timeline(std::vector<Index>(4, 3), 0, false);
  for_all_sources([&](const std::array<Index, 4>& sources) {
    Workspace work(timeline, nullptr, {0, 0});
    CachedRows<float> rows({{3, 3, 3, 3}}, 2, 1);
    Matrix<float> x(8, 2);
    for (Index i = 0; i < 16; ++i) x.data()[i] = static_cast<float>(i);
    work.timeline.open();
    const Sequences fed({1, 3, 1, 3});
    Arena arena;
    static_cast<void>(rows.append(work.begin(fed), view_of(x), arena));
    work.commit();
    Reordering(work.timeline, sources).move(rows);
    work.timeline.reorder(sources);
    for (Index b = 0; b < 4; ++b) {
      const Index source = sources[static_cast<std::size_t>(b)];
      ASSERT_EQ(work.timeline.length(b), fed.rows(source));
      for (Index head = 0; head < 2; ++head) {
        const auto part = rows.part(b, head, {fed.rows(source), {}});
        const auto* found = reinterpret_cast<const float*>(part.data());
        for (Index t = 0; t < fed.rows(source); ++t) ASSERT_EQ(found[t], x(fed.begin(source) + t, head));
      }
    }
  });
}

TEST(Reorder, EqualsAReplay) {
  const CacheOptions options{.sequences = 4, .positions = 30, .rows = 12, .checkpoints = 2, .recent_states = 2};
  auto start = mixed().make_cache(options);
  const Texts texts = {"a", "b", "c", "d"};
  const std::vector<Index> first = {3, 5, 1, 4}, second = {2, 1, 3, 1};
  static_cast<void>(feed(start, texts, first));
  static_cast<void>(feed(start, texts, second));
  for_all_sources([&](const std::array<Index, 4>& sources) {
    auto cache = start.fork();
    ASSERT_TRUE(cache.reorder(sources));
    auto replay = mixed().make_cache(options);
    Texts moved(4);
    std::vector<Index> first_moved(4), second_moved(4);
    for (std::size_t b = 0; b < 4; ++b) {
      const auto from = static_cast<std::size_t>(sources[b]);
      moved[b] = texts[from], first_moved[b] = first[from], second_moved[b] = second[from];
    }
    static_cast<void>(feed(replay, moved, first_moved));
    static_cast<void>(feed(replay, moved, second_moved));
    ASSERT_TRUE(same_bits(feed(cache, moved, one_each), feed(replay, moved, one_each)));
  });
}

TEST(Reorder, TakesCheckpointsAndRecentStatesAlong) {
  const CacheOptions options{.sequences = 2, .positions = 30, .rows = 12, .checkpoints = 1, .recent_states = 2};
  auto cache = mixed().make_cache(options);
  static_cast<void>(feed(cache, {"a", "b"}, {3, 5}));
  auto marked = cache.fork();
  const Mark mark = cache.checkpoint();
  static_cast<void>(feed(cache, {"a", "b"}, {4, 4}));
  ASSERT_TRUE(cache.reorder({1, 1}));
  EXPECT_EQ(cache.length(0), 9);
  EXPECT_TRUE(cache.can_truncate(0, 7));
  EXPECT_FALSE(cache.can_truncate(0, 6));
  ASSERT_TRUE(cache.rollback(mark)) << "to where the source stood";
  EXPECT_EQ(cache.length(0), 5);
  const Matrix<float> next = feed(cache, {"b", "b"}, {1, 1});
  const Matrix<float> expected = feed(marked, {"a", "b"}, {0, 1});
  EXPECT_TRUE(same_bits(next.topRows(1), expected));
  EXPECT_TRUE(same_bits(next.bottomRows(1), expected));
}

TEST(Reorder, RefusesSourcesThatAreNotThereAndChangesNothing) {
  auto cache = mixed().make_cache({.sequences = 2, .positions = 30, .rows = 12});
  static_cast<void>(feed(cache, {"a", "b"}, {3, 5}));
  EXPECT_FALSE(cache.reorder({0}));
  EXPECT_FALSE(cache.reorder({0, 1, 1}));
  EXPECT_FALSE(cache.reorder({0, 2}));
  EXPECT_FALSE(cache.reorder({-1, 1}));
  EXPECT_EQ(cache.length(0), 3);
  EXPECT_EQ(cache.length(1), 5);
}

TEST(Reorder, RefusesASequenceThatHasRoomForFewerPositions) {
  const Timeline timeline(std::vector<Index>{5, 7, 5}, 0, true);
  EXPECT_FALSE(timeline.can_reorder(std::array<Index, 3>{1, 1, 2}));
  EXPECT_TRUE(timeline.can_reorder(std::array<Index, 3>{2, 1, 0}));
}

TEST(Reorder, OfALanguageModelIsThatOfItsLayers) {
  const small_models::Tied<float> model(small_models::V, small_models::small<float>());
  auto cache = model.make_cache({.sequences = 2, .positions = 9, .rows = 4});
  auto replay = model.make_cache({.sequences = 2, .positions = 9, .rows = 4});
  static_cast<void>(model.logits(std::vector<int>{1, 2, 3}, Sequences({1, 2}), cache));
  ASSERT_TRUE(cache.reorder({1, 0}));
  static_cast<void>(model.logits(std::vector<int>{2, 3, 1}, Sequences({2, 1}), replay));
  const std::vector<int> next = {4, 5};
  EXPECT_TRUE(same_bits(model.logits(next, Sequences({1, 1}), cache), model.logits(next, Sequences({1, 1}), replay)));
}

TEST(Reorder, WorksWithoutAStack) {
  const MixerLayer<float, Mamba2> layer({.width = 4, .heads = 2, .kv_heads = 2}, {.state_width = 3});
  Workspace work({.sequences = 2, .positions = 9});
  auto state = layer.make_state(work);
  const Matrix<float> x = reference::random_matrix<float>(2, 4, "x");
  const auto step = [&] {
    Matrix<float> y = Matrix<float>::Zero(2, 4);
    layer.apply(work.begin(Sequences({1, 1})), x, y, state);
    work.commit();
    return y;
  };
  static_cast<void>(step());
  const std::array<Index, 2> sources = {1, 1};
  ASSERT_TRUE(work.timeline.can_reorder(sources));
  const Reordering reordering(work.timeline, sources);
  for (const NamedLeaf& leaf : state.leaves()) reordering.move(*leaf.leaf);
  work.timeline.reorder(sources);
  const Matrix<float> same = x.row(1).replicate(2, 1);
  Matrix<float> y = Matrix<float>::Zero(2, 4);
  layer.apply(work.begin(Sequences({1, 1})), same, y, state);
  EXPECT_TRUE(same_bits(y.row(0), y.row(1)));
}

}  // namespace
}  // namespace heed
