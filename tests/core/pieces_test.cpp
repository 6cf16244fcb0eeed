#include "heed/core/pieces.hpp"

#include <gtest/gtest.h>

#include <array>

#include "heed/core/workspace.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

/// What a piece has of one sequence.
struct Part {
  Index begin, rows, past, read, write;
  bool operator==(const Part&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Part& part) {
  return out << part.rows << " rows from " << part.begin << " behind " << part.past << ", slot " << part.read << " -> "
             << part.write;
}

std::vector<std::vector<Part>> pieces_of(const Pass& pass) {
  std::vector<std::vector<Part>> pieces;
  for_each_piece(pass, [&](const Piece& piece) {
    EXPECT_EQ(piece.rows.rows(), pass.rows.rows()) << "a piece divides the same packed rows";
    pieces.emplace_back();
    for (Index b = 0; b < piece.sequences(); ++b) {
      const auto at = static_cast<std::size_t>(b);
      pieces.back().push_back(
          {piece.rows.begin(b), piece.rows.rows(b), piece.past[at], piece.slots[at].read, piece.slots[at].write});
    }
  });
  return pieces;
}

TEST(ForEachPiece, OfACacheWithoutRecentStatesIsTheCall) {
  Workspace work({.sequences = 2, .positions = 20});
  const Pass pass = work.begin(Sequences({5, 3}));
  const auto pieces = pieces_of(pass);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0][0].rows, 5);
  EXPECT_EQ(pieces[0][1].begin, 5);
  EXPECT_EQ(pieces[0][1].rows, 3);
}

TEST(ForEachPiece, EndsAfterEachOfTheLastRowsOfEverySequence) {
  Workspace work({.sequences = 4, .positions = 20, .checkpoints = 0, .recent_states = 2});
  static_cast<void>(work.begin(Sequences({0, 0, 0, 2})));
  work.commit();
  const Index read = work.timeline.current_slot(3);
  const Pass pass = work.begin(Sequences({7, 1, 2, 0}));
  const auto slot = [&](Index b, Index state) { return pass.states.at(b, state); };
  const auto pieces = pieces_of(pass);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0][0], (Part{0, 5, 0, 0, slot(0, 0)}));
  EXPECT_EQ(pieces[1][0], (Part{5, 1, 5, slot(0, 0), slot(0, 1)}));
  EXPECT_EQ(pieces[2][0], (Part{6, 1, 6, slot(0, 1), slot(0, 2)}));
  EXPECT_EQ(pieces[0][1], (Part{7, 1, 0, 0, slot(1, 0)}));
  EXPECT_EQ(pieces[1][1], (Part{8, 0, 1, slot(1, 0), slot(1, 0)})) << "no row, so what was written stays";
  EXPECT_EQ(pieces[2][1], (Part{8, 0, 1, slot(1, 0), slot(1, 0)}));
  EXPECT_EQ(pieces[0][2], (Part{8, 1, 0, 0, slot(2, 0)}));
  EXPECT_EQ(pieces[1][2], (Part{9, 1, 1, slot(2, 0), slot(2, 1)}));
  EXPECT_EQ(pieces[2][2], (Part{10, 0, 2, slot(2, 1), slot(2, 1)}));
  for (const auto& piece : pieces) EXPECT_EQ(piece[3], (Part{10, 0, 2, read, read})) << "no row in the whole call";
  for (std::size_t b = 0; b < 3; ++b) EXPECT_EQ(pass.states.whole[b].write, pieces[2][b].write);
}

TEST(ForEachPiece, OfATrainingPassIsTheCall) {
  Workspace work({.sequences = 1, .positions = 20, .recent_states = 2});
  EXPECT_EQ(pieces_of(work.begin(Sequences({7}), Purpose::training)).size(), 1u);
}

TEST(ForEachPiece, GivesBackTheScratchOfEveryPiece) {
  Workspace work({.sequences = 1, .positions = 20, .recent_states = 2});
  const Pass pass = work.begin(Sequences({7}));
  std::vector<float*> taken;
  for_each_piece(pass, [&](const Piece&) { taken.push_back(pass.scratch.take<float>(100)); });
  ASSERT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken[0], taken[1]);
  EXPECT_EQ(taken[1], taken[2]);
}

TEST(ForEachPiece, AllocatesNothing) {
  Workspace work({.sequences = 3, .positions = 50, .recent_states = 3});
  const Sequences rows({1, 0, 5});
  Index seen = 0;
  const std::size_t before = allocations_so_far();
  for (int call = 0; call < 5; ++call) {
    for_each_piece(work.begin(rows), [&](const Piece& piece) { seen += piece.rows.rows(0) + piece.rows.rows(2); });
    work.commit();
  }
  EXPECT_EQ(allocations_so_far(), before);
  EXPECT_EQ(seen, 5 * 6);
}

}  // namespace
}  // namespace heed
