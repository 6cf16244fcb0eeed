#include "heed/model/cache_blob.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "cached_stacks.hpp"
#include "heed/model/language_model.hpp"
#include "small_models.hpp"

namespace heed {
namespace {

using cached_stacks::feed;
using cached_stacks::mixed;
using cached_stacks::Model;
using reference::same_bits;

using Bytes = std::vector<std::byte>;

constexpr CacheOptions options{.sequences = 3, .positions = 30, .rows = 12, .checkpoints = 2, .recent_states = 2};
const std::vector<std::string> texts = {"a", "b", "c"};

Model::Cache filled() {
  auto cache = mixed().make_cache(options);
  static_cast<void>(feed(cache, texts, {3, 0, 5}));
  static_cast<void>(cache.checkpoint());
  static_cast<void>(feed(cache, texts, {4, 0, 1}));
  return cache;
}
/// The text of the CheckpointError that loading raises.
std::string error_of(Model::Cache& cache, std::span<const std::byte> blob) {
  try {
    cache.load(blob);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}
/// Blobs whose head is right, whatever they say.
Bytes signed_anew(Bytes blob) {
  const std::uint64_t sum = detail::checksum(std::span(blob).subspan(detail::blob_head));
  std::memcpy(blob.data() + detail::blob_head - 8, &sum, 8);
  return blob;
}

TEST(CacheBlob, ALoadedCacheGoesOnAsTheSavedOne) {
  auto saved = filled();
  auto loaded = mixed().make_cache(options);
  static_cast<void>(feed(loaded, texts, {7, 7, 2}));
  loaded.load(saved.save());
  for (Index b = 0; b < 3; ++b) EXPECT_EQ(loaded.length(b), saved.length(b));
  for (int step = 0; step < 3; ++step)
    EXPECT_TRUE(same_bits(feed(loaded, texts, {1, 2, 1}), feed(saved, texts, {1, 2, 1})));
}

TEST(CacheBlob, SavesTheSameBytesAgain) {
  const auto saved = filled();
  auto loaded = mixed().make_cache(options);
  loaded.load(saved.save());
  EXPECT_EQ(loaded.save(), saved.save());
}

TEST(CacheBlob, CutsToWhereTheSavedCacheCould) {
  auto saved = filled();
  auto loaded = mixed().make_cache(options);
  loaded.load(saved.save());
  for (Index b = 0; b < 3; ++b)
    for (Index length = 0; length <= saved.length(b); ++length)
      EXPECT_EQ(loaded.can_truncate(b, length), saved.can_truncate(b, length)) << b << ", " << length;
  ASSERT_TRUE(saved.truncate(0, 3) && saved.truncate(2, 5));
  ASSERT_TRUE(loaded.truncate(0, 3) && loaded.truncate(2, 5));
  EXPECT_TRUE(same_bits(feed(loaded, texts, {2, 1, 2}), feed(saved, texts, {2, 1, 2})));
}

TEST(CacheBlob, MarksOfBeforeAreRefused) {
  auto cache = filled();
  const Mark mark = cache.checkpoint();
  const Bytes blob = cache.save();
  cache.load(blob);
  EXPECT_FALSE(cache.rollback(mark));
}

TEST(CacheBlob, FitsACacheOfOtherCapacityIfThePositionsDo) {
  auto saved = filled();
  CacheOptions other = options;
  other.positions = 9;
  auto loaded = mixed().make_cache(other);
  loaded.load(saved.save());
  EXPECT_TRUE(same_bits(feed(loaded, texts, {1, 2, 1}), feed(saved, texts, {1, 2, 1})));
  other.positions = 6;
  auto small = mixed().make_cache(other);
  EXPECT_EQ(error_of(small, filled().save()), "cache: sequence 0: positions: expected at most 6, found 7");
}

TEST(CacheBlob, TakesTheBytesOfWhatIsFilled) {
  auto cache = mixed().make_cache({.sequences = 1, .positions = 4096});
  const std::size_t empty = cache.save().size();
  static_cast<void>(feed(cache, {"a"}, {10}));
  Index scalars = 0;
  for (std::size_t layer = 0; layer < 5; ++layer) {
    const CachePlan plan = mixed().plan().cache(layer);
    scalars += 10 * plan.per_position + plan.per_state;
  }
  const std::size_t parts = 64;  // each filled up to eight bytes
  EXPECT_GE(cache.save().size() - empty, static_cast<std::size_t>(scalars) * sizeof(float));
  EXPECT_LE(cache.save().size() - empty, static_cast<std::size_t>(scalars) * sizeof(float) + 8 * parts);
}

TEST(CacheBlob, OfAnotherLayoutIsRefusedAndSaysWhatWasExpected) {
  const Bytes blob = filled().save();
  CacheOptions other = options;
  other.sequences = 2;
  auto fewer = mixed().make_cache(other);
  EXPECT_EQ(error_of(fewer, blob), "cache: sequences: expected 2, found 3");
  other = options;
  other.recent_states = 5;
  auto recent = mixed().make_cache(other);
  EXPECT_EQ(error_of(recent, blob), "cache: recent states: expected 5, found 2");
  other = options;
  other.checkpoints = 0;
  auto unmarked = mixed().make_cache(other);
  EXPECT_EQ(error_of(unmarked, blob), "cache: checkpoints: expected 0, found 2");

  const Sizes sizes{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 8};
  const auto of = [&](const Model& model) { return model.make_cache(options); };
  auto shorter = of(Model::build(sizes, {choose<StandardAttention>()}));
  EXPECT_EQ(error_of(shorter, blob), "cache: tensors: expected 2, found 10");
  const Model one = Model::build(sizes, {choose<StandardAttention>()});
  const Model two = Model::build(sizes, {choose<Mamba2>()});
  const Bytes standard = of(one).save();
  auto recurrent = of(two);
  EXPECT_EQ(error_of(recurrent, standard), "cache: tensors: expected 1, found 2");
  Sizes wider = sizes;
  wider.head_width = 6;
  auto wide = of(Model::build(wider, {choose<StandardAttention>()}));
  EXPECT_EQ(
      error_of(wide, standard),
      "cache: layers.0.k: expected \"rows of 2 heads of width 6 in float\", found \"rows of 2 heads of width 4 in float\"");
}

TEST(CacheBlob, OfAnotherStorageIsRefused) {
  CacheOptions narrow = options;
  narrow.storage = Storage::bfloat16;
  auto saved = mixed().make_cache(narrow);
  narrow.storage = Storage::half;
  auto cache = mixed().make_cache(narrow);
  EXPECT_EQ(error_of(cache, saved.save()),
            "cache: layers.0.k: expected \"rows of 2 heads of width 4 in half\", found \"rows of 2 heads of width 4 in "
            "bfloat16\"");
}

TEST(CacheBlob, OfSomethingElseIsRefused) {
  auto cache = filled();
  EXPECT_EQ(error_of(cache, {}), "cache: head: expected 16 more bytes, found 0");
  EXPECT_EQ(error_of(cache, Bytes(100, std::byte{7})),
            "cache: expected a block of bytes that begins with \"heed cache\", found another");
  Bytes newer = cache.save();
  newer[16] = std::byte{2};
  EXPECT_EQ(error_of(cache, newer), "cache: version: expected 1, found 2");
}

TEST(CacheBlob, OfWhichAByteIsMissingOrOtherIsRefusedAndNothingChanges) {
  auto saved = filled();
  const Bytes blob = saved.save();
  auto cache = mixed().make_cache(options);
  static_cast<void>(feed(cache, texts, {2, 2, 2}));
  auto untouched = cache.fork();
  for (std::size_t size = 0; size < blob.size(); ++size)
    ASSERT_NE(error_of(cache, std::span(blob).first(size)), "") << size << " bytes";
  for (std::size_t at = 0; at < blob.size(); ++at) {
    Bytes other = blob;
    other[at] ^= std::byte{1} << (at % 8);
    ASSERT_NE(error_of(cache, other), "") << "byte " << at;
  }
  EXPECT_EQ(cache.save(), untouched.save());
  EXPECT_TRUE(same_bits(feed(cache, texts, {1, 2, 1}), feed(untouched, texts, {1, 2, 1})));
}

// Whoever can compute a checksum can say anything. It is refused, or it is a cache like any other.
TEST(CacheBlob, ThatLiesIsRefusedOrIsACache) {
  auto saved = filled();
  const Bytes blob = saved.save();
  const std::size_t tensors = 32 + 4 * 8 + 10 * 100 + 3 * 20 * 8;  // where they begin at the latest
  int refused = 0, taken = 0;
  auto cache = mixed().make_cache(options);
  for (std::size_t at = detail::blob_head; at < tensors; ++at)
    for (const int value : {0, 1, 255}) {
      Bytes other = blob;
      other[at] = static_cast<std::byte>(value);
      if (!error_of(cache, signed_anew(other)).empty()) {
        ++refused;
        continue;
      }
      ++taken;
      const Mark mark = cache.checkpoint();
      static_cast<void>(feed(cache, texts, {1, 2, 1}));
      ASSERT_TRUE(cache.rollback(mark));
      ASSERT_TRUE(cache.reorder({2, 0, 1}));
      static_cast<void>(feed(cache, texts, {1, 1, 1}));
      static_cast<void>(cache.save());
    }
  for (std::size_t size = detail::blob_head; size < blob.size(); size += 8) {
    ASSERT_NE(error_of(cache, signed_anew(Bytes(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size)))), "");
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(taken, 100);
}

TEST(CacheBlob, OfALanguageModelIsThatOfItsLayers) {
  const small_models::Tied<float> model(small_models::V, small_models::small<float>());
  auto cache = model.make_cache({.positions = 9, .rows = 4});
  auto loaded = model.make_cache({.positions = 9, .rows = 4});
  static_cast<void>(model.logits(std::vector<int>{1, 2, 3}, cache));
  loaded.load(cache.save());
  const std::vector<int> next = {4};
  EXPECT_TRUE(same_bits(model.logits(next, loaded), model.logits(next, cache)));
}

}  // namespace
}  // namespace heed
