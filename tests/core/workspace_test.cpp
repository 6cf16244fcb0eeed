#include "heed/core/workspace.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "reference/executors.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

template <class F>
std::string shape_error(F&& f) {
  try {
    f();
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "no ShapeError";
}

// A whole call.
void feed(Workspace& work, std::initializer_list<Index> rows) {
  static_cast<void>(work.begin(Sequences(rows)));
  work.commit();
}

TEST(Workspace, StartsWithEmptySequencesOfTheGivenCapacity) {
  const Workspace work({.sequences = 3, .positions = 7});
  EXPECT_EQ(work.timeline.sequences(), 3);
  for (Index b = 0; b < 3; ++b) {
    EXPECT_EQ(work.timeline.length(b), 0);
    EXPECT_EQ(work.timeline.capacity(b), 7);
  }
}

TEST(Workspace, APassSaysWhatIsCachedAndWhatIsNew) {
  Workspace work({.sequences = 2, .positions = 9});
  feed(work, {4, 1});
  const Pass pass = work.begin(Sequences({2, 0}));
  EXPECT_EQ(pass.sequences(), 2);
  EXPECT_EQ(pass.rows.rows(), 2);
  EXPECT_EQ(pass.past[0], 4);
  EXPECT_EQ(pass.past[1], 1);
  EXPECT_EQ(pass.visible(0), 6);
  EXPECT_EQ(pass.visible(1), 1);
  EXPECT_FALSE(pass.training());
}

TEST(Workspace, APassOutlivesTheDivisionItWasBegunWith) {
  Workspace work({.sequences = 2, .positions = 9});
  Pass pass = [&] {
    const Sequences rows({3, 2});
    return work.begin(rows);
  }();
  EXPECT_EQ(pass.rows.begin(1), 3);
  EXPECT_EQ(pass.rows.rows(1), 2);
}

TEST(Workspace, RowsCountOnceThePassIsCommitted) {
  Workspace work({.sequences = 2, .positions = 9});
  static_cast<void>(work.begin(Sequences({3, 2})));
  EXPECT_EQ(work.timeline.length(0), 0);
  work.commit();
  EXPECT_EQ(work.timeline.length(0), 3);
  EXPECT_EQ(work.timeline.length(1), 2);
}

TEST(Workspace, APassThatIsNotCommittedChangesNothing) {
  Workspace work({.sequences = 2, .positions = 9});
  feed(work, {3, 2});
  const Index read = work.timeline.current_slot(0);
  static_cast<void>(work.begin(Sequences({6, 7})));
  const Pass again = work.begin(Sequences({1, 1}));
  EXPECT_EQ(again.past[0], 3);
  EXPECT_EQ(again.past[1], 2);
  EXPECT_EQ(again.states.whole[0].read, read);
}

TEST(Workspace, APassWritesItsStatesBesideThoseItReads) {
  Workspace work({.sequences = 1, .positions = 9, .checkpoints = 1});
  feed(work, {1});  // a sequence without past rows has nothing to read
  for (int call = 0; call < 4; ++call) {
    const Pass pass = work.begin(Sequences({1}));
    EXPECT_NE(pass.states.whole[0].read, pass.states.whole[0].write);
    const Index written = pass.states.whole[0].write;
    work.commit();
    EXPECT_EQ(work.timeline.current_slot(0), written);
  }
}

TEST(Workspace, RowsBeyondTheCapacityAreRefusedAndNothingChanges) {
  Workspace work({.sequences = 2, .positions = 5});
  feed(work, {4, 1});
  EXPECT_EQ(shape_error([&] {
              static_cast<void>(work.begin(Sequences({0, 5})));
            }),
            "sequence 1: expected at most 5 positions, found 1 cached + 5 new");
  EXPECT_EQ(work.timeline.length(0), 4);
  EXPECT_EQ(work.timeline.length(1), 1);
}

TEST(Workspace, RowsForAnotherNumberOfSequencesAreRefused) {
  Workspace work({.sequences = 2, .positions = 5});
  EXPECT_EQ(shape_error([&] { static_cast<void>(work.begin(Sequences({1}))); }),
            "cache: expected rows for 2 sequences, found 1");
}

TEST(Workspace, NoRowsAtAllAreRefused) {
  Workspace work({.sequences = 2, .positions = 5});
  EXPECT_EQ(shape_error([&] {
              static_cast<void>(work.begin(Sequences({0, 0})));
            }),
            "x: expected at least one new row, found none");
}

TEST(Workspace, ATrainingPassBeginsWithEmptySequences) {
  Workspace work({.sequences = 1, .positions = 5});
  feed(work, {4});
  const Pass pass = work.begin(Sequences({5}), Purpose::training);
  EXPECT_TRUE(pass.training());
  EXPECT_EQ(pass.past[0], 0);
  EXPECT_EQ(&pass.record(), &work.kept);
}

TEST(Workspace, ANewPassTakesTheScratchOfTheLastOne) {
  Workspace work({.positions = 5});
  const Pass first = work.begin(Sequences({1}));
  const float* kept = first.kept.take<float>(100);
  const float* scratch = first.scratch.take<float>(100);
  const Pass second = work.begin(Sequences({1}));
  EXPECT_EQ(second.kept.take<float>(100), kept);
  EXPECT_EQ(second.scratch.take<float>(100), scratch);
}

TEST(Workspace, ACallAllocatesNothing) {
  Workspace work({.sequences = 3, .positions = 50});
  const Sequences rows({1, 0, 2});
  const std::size_t before = allocations_so_far();
  for (int call = 0; call < 5; ++call) {
    static_cast<void>(work.begin(rows));
    const Mark mark = work.timeline.checkpoint();
    work.commit();
    ASSERT_TRUE(work.timeline.rollback(mark));
  }
  EXPECT_EQ(allocations_so_far(), before);
}

TEST(Workspace, PartOfRowsDividesASliceAsTheWhole) {
  Workspace work({.sequences = 4, .positions = 9});
  const Sequences rows({3, 0, 4, 2});
  const auto lengths = [&](Index begin, Index count) {
    const Division part = work.part_of_rows(rows, begin, count);
    return std::array<Index, 4>{part.rows(0), part.rows(1), part.rows(2), part.rows(3)};
  };
  EXPECT_EQ(lengths(0, 9), (std::array<Index, 4>{3, 0, 4, 2}));
  EXPECT_EQ(lengths(0, 2), (std::array<Index, 4>{2, 0, 0, 0}));
  EXPECT_EQ(lengths(2, 3), (std::array<Index, 4>{1, 0, 2, 0}));
  EXPECT_EQ(lengths(5, 4), (std::array<Index, 4>{0, 0, 2, 2}));
  EXPECT_EQ(lengths(9, 0), (std::array<Index, 4>{0, 0, 0, 0}));
}

TEST(WorkspaceAllOrNothing, TakesBackTheSlicesOfACallThatFailed) {
  Workspace work({.sequences = 2, .positions = 9, .checkpoints = 1});
  feed(work, {3, 2});
  const Index before = work.timeline.current_slot(0);
  {
    const Workspace::AllOrNothing call(work);
    work.timeline.advance(Sequences({1, 0}));
    work.timeline.advance(Sequences({1, 4}));
    EXPECT_EQ(work.timeline.length(1), 6);
  }
  EXPECT_EQ(work.timeline.length(0), 3);
  EXPECT_EQ(work.timeline.length(1), 2);
  EXPECT_EQ(work.timeline.current_slot(0), before);
}

TEST(WorkspaceAllOrNothing, TakesThemBackWhenAnErrorPassesThrough) {
  Workspace work({.positions = 9});
  feed(work, {3});
  const auto call_that_fails = [&] {
    const Workspace::AllOrNothing call(work);
    work.timeline.advance(Sequences({2}));
    work.timeline.expects_room(Sequences({8}));
  };
  EXPECT_EQ(shape_error(call_that_fails), "sequence 0: expected at most 9 positions, found 5 cached + 8 new");
  EXPECT_EQ(work.timeline.length(0), 3);
}

TEST(WorkspaceAllOrNothing, KeepsTheSlicesOfACallThatIsDone) {
  Workspace work({.positions = 9});
  {
    Workspace::AllOrNothing call(work);
    work.timeline.advance(Sequences({2}));
    work.timeline.advance(Sequences({3}));
    call.done();
  }
  EXPECT_EQ(work.timeline.length(0), 5);
}

TEST(WorkspaceCopy, StandsWhereItsOriginStandsAndGoesItsOwnWay) {
  Workspace work({.positions = 9});
  feed(work, {4});
  Workspace copy = work;
  feed(copy, {2});
  EXPECT_EQ(copy.timeline.length(0), 6);
  EXPECT_EQ(work.timeline.length(0), 4);
}

TEST(WorkspaceCopy, HasScratchOfItsOwn) {
  Workspace work({.positions = 9});
  Workspace copy = work;
  const float* ours = work.begin(Sequences({1})).scratch.take<float>(10);
  const float* theirs = copy.begin(Sequences({1})).scratch.take<float>(10);
  EXPECT_NE(ours, theirs);
}

TEST(Workspace, HandsItsJobsToTheExecutorItWasMadeWith) {
  reference::Backwards executor(3);
  Workspace work({.positions = 9, .executor = &executor});
  EXPECT_EQ(work.workers.size(), 3);
  std::string order;
  work.begin(Sequences({1})).workers.run(3, [&](Index job, Arena&) { order += std::to_string(job); });
  EXPECT_EQ(order, "210");
}

TEST(Workspace, ScratchBlocksGrowOnlyWhenScratchWasTooSmall) {
  Workspace work({.positions = 9});
  const std::size_t blocks = work.scratch_blocks();
  static_cast<void>(work.begin(Sequences({1})).scratch.take<float>(10));
  EXPECT_EQ(work.scratch_blocks(), blocks);
  static_cast<void>(work.begin(Sequences({1})).scratch.take<float>(Index(1) << 20));
  EXPECT_EQ(work.scratch_blocks(), blocks + 1);
}

TEST(Workspace, CommittingTwiceCountsTheRowsOnce) {
  Workspace work({.positions = 4});
  static_cast<void>(work.begin({3}));
  work.commit();
  work.commit();
  EXPECT_EQ(work.timeline.length(0), 3);
}

TEST(Workspace, SizesBelowOneAreRefused) {
  EXPECT_THROW(Workspace({.sequences = 0, .positions = 4}), ShapeError);
  EXPECT_THROW(Workspace({.sequences = 1, .positions = 0}), ShapeError);
  EXPECT_THROW(Workspace({.sequences = -1, .positions = 4}), ShapeError);
  EXPECT_THROW(Workspace({.sequences = 1, .positions = 4, .checkpoints = -1}), ShapeError);
}

TEST(Workspace, ATrainingPassThatIsRefusedChangesNothing) {
  Workspace work({.positions = 4});
  static_cast<void>(work.begin({3}));
  work.commit();
  const Mark mark = work.timeline.checkpoint();
  EXPECT_THROW(static_cast<void>(work.begin({5}, Purpose::training)), ShapeError);
  EXPECT_EQ(work.timeline.length(0), 3);
  EXPECT_TRUE(work.timeline.can_rollback(mark));
}

}  // namespace
}  // namespace heed
