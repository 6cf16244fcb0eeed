// Rows are taken back from a stack with states of several kinds, whatever the calls that fed them.
#include <gtest/gtest.h>

#include <heed/core/random.hpp>

#include "cached_stacks.hpp"

namespace heed {
namespace {

using cached_stacks::feed;
using cached_stacks::mixed;
using cached_stacks::Model;
using reference::same_bits;
using testing::detail::Nearness;

/// The rows of a text fed at once, in float and, as oracle, in double.
Nearness whole(std::string_view text, Index rows) {
  auto exact = DynamicStack<double>::build(
      {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 8},
      {choose<StandardAttention>(), choose<Mamba>({.state_width = 2}), choose<SharedValueAttention>(),
       choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>({.state_width = 3}), 1),
       choose<PartialScoreReuseAttention>({.second_kv_heads = 1})});
  testing::detail::copy_params(mixed().params(), exact.params());
  const Matrix<float> x = cached_stacks::rows_of_text(text, 0, rows);
  auto cache = exact.make_cache({.positions = rows});
  auto narrow = mixed().make_cache({.positions = rows});
  Nearness near;
  near.oracle = exact.forward(Matrix<double>(x.cast<double>()), cache);
  near.error_of_whole = Nearness::error(Matrix<float>(mixed().forward(x, narrow)), near.oracle);
  near.floor = static_cast<double>(std::numeric_limits<float>::epsilon()) * static_cast<double>(rows);
  return near;
}

// score_bytes: 1 cuts every call into slices of one row, the others into none or a few.
TEST(RecentStates, LetDraftedRowsBeTakenBackInSlicesToo) {
  constexpr Index T = 24, most = 3;
  const Nearness near = whole("a", T);
  for (const Index score_bytes : {Index(1) << 20, Index(1), Index(400)}) {
    auto cache = mixed().make_cache(
        {.positions = T + most, .rows = T, .checkpoints = 1, .recent_states = most, .score_bytes = score_bytes});
    Random random(7, "drafts");
    Matrix<float> y(T, 8);
    for (Index done = 0; done < T;) {
      const Index accepted = (std::min)(T - done, 1 + static_cast<Index>(random.next() % 4));
      const Index rejected = static_cast<Index>(random.next() % (most + 1));
      Matrix<float> x(accepted + rejected, 8);
      x << cached_stacks::rows_of_text("a", done, accepted), cached_stacks::rows_of_text("draft", 0, rejected);
      y.middleRows(done, accepted) = mixed().forward(x, cache).topRows(accepted);
      done += accepted;
      ASSERT_TRUE(cache.truncate(0, done));
      if (random.next() % 3 == 0) static_cast<void>(cache.checkpoint());
    }
    EXPECT_TRUE(near.holds(y)) << Nearness::error(y, near.oracle) << " > " << near.error_of_whole << ", " << score_bytes;
  }
}

TEST(RecentStates, OneSequenceGoesBackAlone) {
  auto cache = mixed().make_cache({.sequences = 2, .positions = 20, .rows = 8, .recent_states = 2});
  static_cast<void>(feed(cache, {"a", "b"}, {4, 4}));
  ASSERT_TRUE(cache.truncate(1, 2));
  auto replay = mixed().make_cache({.sequences = 2, .positions = 20, .rows = 8, .recent_states = 2});
  static_cast<void>(feed(replay, {"a", "b"}, {4, 4}));
  const Matrix<float> y = feed(cache, {"a", "b"}, {1, 2});
  EXPECT_TRUE(same_bits(Matrix<float>(y.topRows(1)), feed(replay, {"a", "b"}, {1, 0})));
}

/// Gives up in the middle of a call.
class FailsAfter final : public Executor {
 public:
  int workers() const override { return 1; }
  void run(Index jobs, Job job) override {
    if (left_ >= 0 && left_-- == 0) fail<std::runtime_error>();
    Serial().run(jobs, job);
  }
  void in(Index runs) { left_ = runs; }

 private:
  template <class Error>
  static void fail() {
    throw Error("the executor gives up");
  }
  Index left_ = -1;
};

TEST(RecentStates, AnErrorInTheMiddleOfACallChangesNothing) {
  FailsAfter executor;
  auto cache = mixed().make_cache(
      {.sequences = 2, .positions = 20, .rows = 8, .recent_states = 2, .executor = &executor, .score_bytes = 400});
  static_cast<void>(feed(cache, {"a", "b"}, {4, 3}));
  static_cast<void>(feed(cache, {"a", "b"}, {1, 0}));
  const auto before = cache.save();
  int failures = 0;
  for (bool fails = true; fails; ++failures) {
    executor.in(failures);
    try {
      static_cast<void>(feed(cache, {"a", "b"}, {5, 2}));
      fails = false;
    } catch (const std::runtime_error&) {
      ASSERT_EQ(cache.length(0), 5);
      ASSERT_EQ(cache.length(1), 3);
      ASSERT_TRUE(cache.can_truncate(0, 3));
      ASSERT_EQ(cache.save(), before) << "after " << failures << " runs of the executor";
    }
  }
  EXPECT_GT(failures, 20);
}

}  // namespace
}  // namespace heed
