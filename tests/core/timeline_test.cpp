#include "heed/core/timeline.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <heed/core/random.hpp>
#include <string>
#include <vector>

#include "support/allocations.hpp"

namespace heed {
namespace {

constexpr Index capacities[] = {10, 20};

Timeline timeline_of(Index checkpoints, bool stateful) {
  return Timeline(capacities, checkpoints, stateful);
}

// A whole call.
void feed(Timeline& timeline, std::initializer_list<Index> rows) {
  const Sequences sequences(rows);
  timeline.expects_room(sequences);
  timeline.open();
  timeline.advance(sequences);
}

std::array<Index, 2> lengths(const Timeline& timeline) {
  return {timeline.length(0), timeline.length(1)};
}
using Lengths = std::array<Index, 2>;

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "";
}

TEST(Timeline, StartsEmpty) {
  const Timeline timeline = timeline_of(1, true);
  EXPECT_EQ(timeline.sequences(), 2);
  EXPECT_EQ(lengths(timeline), (Lengths{0, 0}));
  EXPECT_EQ(timeline.capacity(0), 10);
  EXPECT_EQ(timeline.capacity(1), 20);
}

TEST(Timeline, SequencesGrowByTheirOwnRows) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {3, 0});
  feed(timeline, {1, 7});
  EXPECT_EQ(lengths(timeline), (Lengths{4, 7}));
}

TEST(Timeline, AFullSequenceIsLegal) {
  Timeline timeline = timeline_of(0, false);
  feed(timeline, {10, 20});
  EXPECT_EQ(lengths(timeline), (Lengths{10, 20}));
}

TEST(Timeline, RowsOfAnotherNumberOfSequencesAreRefused) {
  const Timeline timeline = timeline_of(0, false);
  EXPECT_EQ(error_of([&] { timeline.expects_room(Sequences{1, 1, 1}); }), "cache: expected rows for 2 sequences, found 3");
}

TEST(Timeline, NoRowsAtAllAreRefused) {
  const Timeline timeline = timeline_of(0, false);
  EXPECT_EQ(error_of([&] { timeline.expects_room(Sequences{0, 0}); }), "x: expected at least one new row, found none");
}

TEST(Timeline, RowsBeyondTheCapacityAreRefusedAndNothingChanges) {
  Timeline timeline = timeline_of(0, false);
  feed(timeline, {8, 8});
  EXPECT_EQ(error_of([&] {
              timeline.expects_room(Sequences{3, 1});
            }),
            "sequence 0: expected at most 10 positions, found 8 cached + 3 new");
  EXPECT_EQ(lengths(timeline), (Lengths{8, 8}));
}

TEST(Timeline, RollbackGoesBackToTheMark) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {3, 5});
  const Index read = timeline.current_slot(0);
  const Mark mark = timeline.checkpoint();
  feed(timeline, {2, 1});
  feed(timeline, {1, 1});
  ASSERT_TRUE(timeline.rollback(mark));
  EXPECT_EQ(lengths(timeline), (Lengths{3, 5}));
  EXPECT_EQ(timeline.current_slot(0), read);
}

TEST(Timeline, AMarkServesMoreThanOnce) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {3, 5});
  const Mark mark = timeline.checkpoint();
  for (int attempt = 0; attempt < 3; ++attempt) {
    feed(timeline, {2, 1});
    ASSERT_TRUE(timeline.rollback(mark)) << attempt;
    EXPECT_EQ(lengths(timeline), (Lengths{3, 5}));
  }
}

TEST(Timeline, OneSequenceRollsBackAlone) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {3, 5});
  const Mark mark = timeline.checkpoint();
  feed(timeline, {2, 1});
  ASSERT_TRUE(timeline.rollback(mark, 1));
  EXPECT_EQ(lengths(timeline), (Lengths{5, 5}));
}

TEST(Timeline, ASequenceThatIsNotThereDoesNotRollBack) {
  Timeline timeline = timeline_of(1, true);
  const Mark mark = timeline.checkpoint();
  EXPECT_FALSE(timeline.rollback(mark, 2));
  EXPECT_FALSE(timeline.rollback(mark, -1));
}

TEST(Timeline, AMarkOfNowhereIsRefused) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {1, 1});
  EXPECT_FALSE(timeline.rollback(Mark{}));
  EXPECT_EQ(lengths(timeline), (Lengths{1, 1}));
}

TEST(Timeline, WithoutCheckpointsNoMarkIsGood) {
  Timeline timeline = timeline_of(0, true);
  feed(timeline, {1, 1});
  const Mark mark = timeline.checkpoint();
  EXPECT_FALSE(timeline.can_rollback(mark));
  EXPECT_FALSE(timeline.rollback(mark));
}

TEST(Timeline, AMarkOfAnotherCacheIsRefused) {
  Timeline timeline = timeline_of(1, true);
  Timeline other = timeline_of(1, true);
  const Mark mark = other.checkpoint();
  static_cast<void>(timeline.checkpoint());
  EXPECT_FALSE(timeline.rollback(mark));
}

TEST(Timeline, TheOldestMarkIsForgottenFirst) {
  Timeline timeline = timeline_of(2, true);
  feed(timeline, {1, 1});
  const Mark first = timeline.checkpoint();
  feed(timeline, {1, 1});
  const Mark second = timeline.checkpoint();
  feed(timeline, {1, 1});
  const Mark third = timeline.checkpoint();
  EXPECT_FALSE(timeline.can_rollback(first));
  ASSERT_TRUE(timeline.rollback(third));
  ASSERT_TRUE(timeline.rollback(second));
  EXPECT_EQ(lengths(timeline), (Lengths{2, 2}));
}

TEST(Timeline, AStaleMarkIsRefusedAndNothingChanges) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {1, 1});
  const Mark stale = timeline.checkpoint();
  feed(timeline, {1, 1});
  static_cast<void>(timeline.checkpoint());
  feed(timeline, {1, 1});
  EXPECT_FALSE(timeline.rollback(stale));
  EXPECT_FALSE(timeline.rollback(stale, 0));
  EXPECT_EQ(lengths(timeline), (Lengths{3, 3}));
}

TEST(Timeline, AMarkBeyondARollbackIsForgotten) {
  Timeline timeline = timeline_of(2, true);
  feed(timeline, {1, 1});
  const Mark low = timeline.checkpoint();
  feed(timeline, {1, 1});
  const Mark high = timeline.checkpoint();
  ASSERT_TRUE(timeline.rollback(low));
  feed(timeline, {5, 5});
  EXPECT_FALSE(timeline.can_rollback(high));
}

TEST(Timeline, AMarkThatOneSequenceFellBelowStillServesTheOthers) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {3, 5});
  const Mark mark = timeline.checkpoint();
  feed(timeline, {1, 1});
  ASSERT_TRUE(timeline.truncate(0, 0));
  EXPECT_FALSE(timeline.rollback(mark));
  EXPECT_FALSE(timeline.rollback(mark, 0));
  EXPECT_EQ(lengths(timeline), (Lengths{0, 6}));
  ASSERT_TRUE(timeline.rollback(mark, 1));
  EXPECT_EQ(lengths(timeline), (Lengths{0, 5}));
}

TEST(Timeline, TruncateToZeroAndToThePresentLengthAlwaysSucceeds) {
  for (const bool stateful : {false, true}) {
    Timeline timeline = timeline_of(0, stateful);
    feed(timeline, {3, 5});
    EXPECT_TRUE(timeline.truncate(1, 5));
    EXPECT_EQ(lengths(timeline), (Lengths{3, 5}));
    EXPECT_TRUE(timeline.truncate(1, 0));
    EXPECT_EQ(lengths(timeline), (Lengths{3, 0}));
    EXPECT_TRUE(timeline.truncate(1, 0));
  }
}

TEST(Timeline, WithoutStatesAnyShorterLengthWillDo) {
  Timeline timeline = timeline_of(0, false);
  feed(timeline, {3, 5});
  ASSERT_TRUE(timeline.truncate(1, 2));
  EXPECT_EQ(lengths(timeline), (Lengths{3, 2}));
}

TEST(Timeline, WithStatesASequenceIsCutWhereACheckpointWasTaken) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {3, 5});
  const Index read = timeline.current_slot(1);
  static_cast<void>(timeline.checkpoint());
  feed(timeline, {1, 4});
  EXPECT_FALSE(timeline.truncate(1, 6));
  EXPECT_EQ(lengths(timeline), (Lengths{4, 9}));
  ASSERT_TRUE(timeline.truncate(1, 5));
  EXPECT_EQ(lengths(timeline), (Lengths{4, 5}));
  EXPECT_EQ(timeline.current_slot(1), read);
}

TEST(Timeline, LengthsThatAreNotThereAreRefused) {
  Timeline timeline = timeline_of(1, false);
  feed(timeline, {3, 5});
  EXPECT_FALSE(timeline.truncate(0, 4));
  EXPECT_FALSE(timeline.truncate(0, -1));
  EXPECT_FALSE(timeline.truncate(2, 0));
  EXPECT_FALSE(timeline.truncate(-1, 0));
  EXPECT_EQ(lengths(timeline), (Lengths{3, 5}));
}

TEST(Timeline, WithoutStatesThereAreNoSlots) {
  EXPECT_EQ(timeline_of(3, false).slot_count(), 0);
  EXPECT_EQ(timeline_of(3, true).slot_count(), 5);
  EXPECT_EQ(Timeline(capacities, 3, false, 4).slot_count(), 0);
  EXPECT_EQ(Timeline(capacities, 3, true, 4).slot_count(), 3 + 2 * 5);
}

TEST(Timeline, GoesBackAsManyRowsAsItKeepsRecentStates) {
  Timeline timeline(capacities, 0, true, 3);
  feed(timeline, {9, 1});
  feed(timeline, {1, 1});
  EXPECT_FALSE(timeline.truncate(0, 6));
  EXPECT_TRUE(timeline.can_truncate(0, 7));
  ASSERT_TRUE(timeline.truncate(0, 8));
  ASSERT_TRUE(timeline.truncate(0, 7));
  EXPECT_FALSE(timeline.truncate(0, 6)) << "what was before the last four positions is gone";
  ASSERT_TRUE(timeline.truncate(1, 1));
  EXPECT_EQ(lengths(timeline), (Lengths{7, 1}));
}

TEST(Timeline, ACallThatWritesItsLastStateAloneLeavesNoneToGoBackTo) {
  Timeline timeline(capacities, 0, true, 3);
  feed(timeline, {1, 1});
  timeline.open(1);
  timeline.advance(Sequences{2, 1});
  EXPECT_FALSE(timeline.can_truncate(0, 1)) << "there is no state of 2 positions, so those before are not recent";
  EXPECT_TRUE(timeline.can_truncate(1, 1));
}

TEST(Timeline, ARollbackKeepsTheRecentStatesBeforeTheMark) {
  Timeline timeline(capacities, 1, true, 3);
  feed(timeline, {4, 4});
  const Mark mark = timeline.checkpoint();
  feed(timeline, {1, 3});
  ASSERT_TRUE(timeline.rollback(mark));
  EXPECT_TRUE(timeline.can_truncate(0, 2)) << "4, 3 and 2 are of the last four";
  EXPECT_FALSE(timeline.can_truncate(0, 1));
  EXPECT_FALSE(timeline.can_truncate(1, 3)) << "of the last four positions only 4 is left";
}

TEST(Timeline, ACallNeverWritesToASlotThatIsStillNeeded) {
  constexpr Index checkpoints = 2;
  Timeline timeline = timeline_of(checkpoints, true);
  std::vector<std::pair<Mark, Index>> marks;
  Random random(3);
  for (int call = 0; call < 200; ++call) {
    if (timeline.length(0) == timeline.capacity(0)) {
      ASSERT_TRUE(timeline.truncate(0, 0) && timeline.truncate(1, 0));
    }
    const Index read = timeline.current_slot(0);
    const bool past = timeline.length(0) > 0;
    timeline.open();
    const Index write = timeline.slots_for(Sequences{1, 1}).whole[0].write;
    EXPECT_GE(write, 0);
    EXPECT_LT(write, timeline.slot_count());
    if (past) {
      EXPECT_NE(write, read);
    }
    for (const auto& [mark, slot] : marks)
      if (timeline.can_rollback(mark)) {
        EXPECT_NE(write, slot);
      }
    timeline.advance(Sequences{1, 1});
    if (random.next() % 3 == 0) {
      const Mark mark = timeline.checkpoint();
      marks.emplace_back(mark, timeline.current_slot(0));
    }
    if (random.next() % 5 == 0 && !marks.empty()) {
      const auto& [mark, slot] = marks[random.next() % marks.size()];
      if (timeline.rollback(mark)) {
        EXPECT_EQ(timeline.current_slot(0), slot);
      }
    }
  }
}

TEST(Timeline, ASequenceWithoutRowsKeepsTheSlotItReads) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {2, 2});
  const Index read = timeline.current_slot(1);
  feed(timeline, {1, 0});
  EXPECT_EQ(timeline.current_slot(1), read);
  feed(timeline, {0, 1});
  EXPECT_NE(timeline.current_slot(1), read);
}

TEST(Timeline, SlicesOfACallShareTheSlotTheyWriteTo) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {2, 2});
  timeline.open();
  const Index write = timeline.slots_for(Sequences{1, 0}).whole[0].write;
  timeline.advance(Sequences{1, 0});
  EXPECT_EQ(timeline.current_slot(0), write);
  EXPECT_EQ(timeline.slots_for(Sequences{1, 0}).whole[0].write, write);
}

TEST(Timeline, ACallThatFailedIsTakenBack) {
  Timeline timeline = timeline_of(1, true);
  feed(timeline, {2, 2});
  const Index read = timeline.current_slot(0);
  timeline.open();
  timeline.advance(Sequences{1, 1});  // the first slice; the second fails
  timeline.undo();
  EXPECT_EQ(lengths(timeline), (Lengths{2, 2}));
  EXPECT_EQ(timeline.current_slot(0), read);
}

TEST(Timeline, AForkAndItsOriginTakeTheSameMarksBackwards) {
  Timeline origin = timeline_of(2, true);
  feed(origin, {2, 2});
  const Mark mark = origin.checkpoint();
  feed(origin, {1, 1});
  Timeline fork = origin;
  feed(fork, {3, 3});
  ASSERT_TRUE(fork.rollback(mark));
  EXPECT_EQ(lengths(fork), (Lengths{2, 2}));
  EXPECT_EQ(lengths(origin), (Lengths{3, 3}));
  ASSERT_TRUE(origin.rollback(mark));
}

TEST(Timeline, AMarkTakenAfterTheForkIsRefusedByTheOther) {
  Timeline origin = timeline_of(2, true);
  feed(origin, {2, 2});
  Timeline fork = origin;
  const Mark of_origin = origin.checkpoint();
  const Mark of_fork = fork.checkpoint();
  EXPECT_FALSE(origin.can_rollback(of_fork));
  EXPECT_FALSE(fork.can_rollback(of_origin));
  EXPECT_TRUE(origin.can_rollback(of_origin));
  EXPECT_TRUE(fork.can_rollback(of_fork));
}

TEST(Timeline, CallsCheckpointsAndRollbacksAllocateNothing) {
  Timeline timeline = timeline_of(2, true);
  const Sequences rows{1, 2};
  const std::size_t before = allocations_so_far();
  timeline.expects_room(rows);
  timeline.open();
  timeline.advance(rows);
  const Mark mark = timeline.checkpoint();
  timeline.open();
  timeline.advance(rows);
  const bool back = timeline.rollback(mark) && timeline.truncate(0, 0);
  EXPECT_EQ(allocations_so_far(), before);
  EXPECT_TRUE(back);
}

// What a cache does with a timeline: a slot holds the text that its state has read. Whatever the calls, failures,
// checkpoints and cuts, the current slot must hold exactly the text so far.
TEST(Timeline, AlwaysReadsTheStateOfTheTextSoFar) {
  constexpr std::size_t B = 3;
  constexpr Index capacity = 300;
  Random random(5);
  const auto draw = [&](Index n) { return static_cast<Index>(random.next() % static_cast<std::uint64_t>(n)); };
  for (const auto& [checkpoints, recent_states] :
       std::vector<std::pair<Index, Index>>{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {0, 1}, {1, 2}, {3, 4}}) {
    Timeline timeline(std::vector<Index>(B, capacity), checkpoints, true, recent_states);
    struct Remembered {
      Mark mark;
      std::vector<std::string> texts;
    };
    std::vector<Remembered> remembered;
    const auto recent = [&]() -> const Remembered& {
      const Index back = draw((std::min)(static_cast<Index>(remembered.size()), Index(4)));
      return remembered[remembered.size() - 1 - static_cast<std::size_t>(back)];
    };
    std::vector<std::string> texts(B);
    std::vector<std::vector<std::string>> slots(B,
                                                std::vector<std::string>(static_cast<std::size_t>(timeline.slot_count())));
    int calls = 0, rollbacks = 0, cuts = 0;
    const auto call = [&](bool fails) {
      std::vector<Index> rows;
      for (std::size_t b = 0; b < B; ++b)
        rows.push_back((std::min)(draw(4), capacity - timeline.length(static_cast<Index>(b))));
      std::vector<Index> second(B);  // slice
      for (std::size_t b = 0; b < B; ++b) rows[b] -= second[b] = draw(rows[b] + 1);
      timeline.open();
      for (const auto& slice : {rows, second}) {
        const CallSlots now = timeline.slots_for(Sequences(slice));
        for (std::size_t b = 0; b < B; ++b) {
          const auto sequence = static_cast<Index>(b);
          const auto slot = [&](Index place) -> std::string& { return slots[b][static_cast<std::size_t>(place)]; };
          std::string text = timeline.length(sequence) > 0 ? slot(now.whole[b].read) : "";
          const Index states = (std::min)(slice[b], now.states);
          for (Index i = 0; i < slice[b]; ++i) {
            text += static_cast<char>('a' + draw(26));
            const Index state = i - (slice[b] - states);
            if (state >= 0) slot(now.at(sequence, state)) = fails ? "torn" : text;
          }
          if (slice[b] > 0) {
            ASSERT_EQ(slot(now.whole[b].write), fails ? "torn" : text);
          }
          if (!fails) texts[b] = text;
        }
        timeline.advance(Sequences(slice));
      }
      if (fails) timeline.undo();
      ++calls;
    };
    for (int step = 0; step < 4000; ++step) {
      const Index action = draw(12);
      const auto b = static_cast<Index>(draw(Index(B)));
      const auto at = static_cast<std::size_t>(b);
      if (action < 7) {
        call(action == 0);
      } else if (action == 7) {
        remembered.push_back({timeline.checkpoint(), texts});
      } else if (remembered.empty()) {
        continue;
      } else if (action == 8) {
        const Remembered& past = recent();
        const bool can = timeline.can_rollback(past.mark);
        ASSERT_EQ(timeline.rollback(past.mark), can);
        if (can) texts = past.texts;
        rollbacks += can;
      } else if (action == 9) {
        const Remembered& past = recent();
        const bool can = timeline.can_rollback(past.mark, b);
        ASSERT_EQ(timeline.rollback(past.mark, b), can);
        if (can) texts[at] = past.texts[at];
        rollbacks += can;
      } else {
        const Index back = draw((std::min)(timeline.length(b), recent_states + 1) + 1);
        const Index anywhere = draw(4) == 0 ? 0 : timeline.length(b) - back;
        const Index length = action == 10 ? static_cast<Index>(recent().texts[at].size()) : anywhere;
        const bool can = timeline.can_truncate(b, length);
        ASSERT_EQ(timeline.truncate(b, length), can);
        if (can) texts[at].resize(static_cast<std::size_t>(length));
        cuts += can;
      }
      for (std::size_t i = 0; i < B; ++i) {
        ASSERT_EQ(timeline.length(static_cast<Index>(i)), static_cast<Index>(texts[i].size())) << "step " << step;
        if (!texts[i].empty()) {
          ASSERT_EQ(slots[i][static_cast<std::size_t>(timeline.current_slot(static_cast<Index>(i)))], texts[i])
              << "step " << step;
        }
      }
    }
    EXPECT_GT(calls, 1000);
    EXPECT_GT(cuts, 100);
    EXPECT_EQ(rollbacks > 100, checkpoints > 0) << rollbacks;
  }
}

}  // namespace
}  // namespace heed
