// A recurrent mixer reads and writes its states piece by piece.
//
//   for_each_piece(pass, [&](const Piece& piece) { ... });
//
// A piece has rows of the call's sequences, what came before them and the slots of states before and after. It divides the
// same packed rows as the call, and has some of them: work that needs no state is done for all rows at once, and what runs
// along a sequence is done for the rows of each piece, in order. Most calls are one piece. Where the cache keeps recent
// states, the states after each of a sequence's last rows are wanted, so each of those rows but the first ends a piece.
#pragma once

#include <algorithm>
#include <span>

#include "pass.hpp"

namespace heed::inline HEED_ABI {

struct Piece {
  Division rows;                      // of all packed rows, those of this piece
  std::span<const Index> past;        // positions before them, by sequence
  std::span<const StateSlots> slots;  // the states before and after them, by sequence

  Index sequences() const { return rows.sequences(); }
};

/// Calls f(piece) for every piece of the call, in order. What f takes from pass.scratch is given back after each piece, if
/// there is more than one.
template <class F>
void for_each_piece(const Pass& pass, F&& f) {
  const Index B = pass.sequences();
  Index pieces = 1;
  for (Index b = 0; b < B; ++b) pieces = (std::max)(pieces, (std::min)(pass.rows.rows(b), pass.states.states));
  if (pieces == 1) return f(Piece{pass.rows, pass.past, pass.states.whole});

  const Arena::Scope scope(pass.scratch);
  const auto size = static_cast<std::size_t>(B);
  const std::span<Index> begins(pass.scratch.take<Index>(B), size);
  const std::span<Index> ends(pass.scratch.take<Index>(B), size);
  const std::span<Index> past(pass.scratch.take<Index>(B), size);
  const std::span<StateSlots> slots(pass.scratch.take<StateSlots>(B), size);
  for (std::size_t b = 0; b < size; ++b) {
    begins[b] = ends[b] = pass.rows.begin(static_cast<Index>(b));
    past[b] = pass.past[b];
    slots[b] = pass.states.whole[b];
  }
  for (Index piece = 0; piece < pieces; ++piece) {
    for (Index b = 0; b < B; ++b) {
      const auto at = static_cast<std::size_t>(b);
      const Index T = pass.rows.rows(b), own = (std::min)(T, pass.states.states);  // pieces of this sequence
      past[at] += ends[at] - begins[at];
      begins[at] = ends[at];
      if (piece > 0) slots[at].read = slots[at].write;  // and with no rows left it stays there
      if (piece >= own) continue;
      ends[at] += piece == 0 ? T - (own - 1) : 1;
      slots[at].write = pass.states.at(b, piece);
    }
    const Arena::Scope of_piece(pass.scratch);
    f(Piece{Division(begins, ends, pass.rows.rows()), past, slots});
  }
}

}  // namespace heed::inline HEED_ABI
