// What recurrent mixers share: where their states lie, the convolution in front of the recurrence, and where both start.
//
// A state slot of a sequence is one row of numbers, in which every state of the mixer has a place of its own: those of the
// recurrence first, then the last taps - 1 rows before each convolution.
#pragma once

#include <algorithm>
#include <cmath>

#include "../core/pieces.hpp"
#include "../core/random.hpp"
#include "../ops/short_conv.hpp"
#include "cached.hpp"

namespace heed::inline HEED_ABI {

/// Blocks of numbers side by side in every state slot.
struct StateBlocks {
  Index offset;     // of the first one
  Index count = 1;  // of them
  Index size = 0;   // of one
};

/// Where blocks of every sequence are read, and where they are written.
template <class Scalar>
struct StateTables {
  HeadTable<const Scalar*> before;  // null for a sequence without a past
  HeadTable<Scalar*> after;

  StateTables(const Piece& piece, CachedStates<Scalar>& states, const StateBlocks& blocks, Arena& scratch)
      : before(HeadTable<const Scalar*>::make(scratch, piece.sequences(), blocks.count)),
        after(HeadTable<Scalar*>::make(scratch, piece.sequences(), blocks.count)) {
    for (Index b = 0; b < piece.sequences(); ++b)
      for (Index i = 0; i < blocks.count; ++i) {
        const StateSlots slot = piece.slots[static_cast<std::size_t>(b)];
        const bool fresh = piece.past[static_cast<std::size_t>(b)] == 0;
        before.at(b, i) = fresh ? nullptr : states.at(b, slot.read) + blocks.offset + i * blocks.size;
        after.at(b, i) = states.at(b, slot.write) + blocks.offset + i * blocks.size;
      }
  }
};

/// Room for what the recurrence keeps for its backward: for every sequence and block, states(rows of the sequence) blocks
/// of `size` numbers. Nothing is kept at inference.
template <class Scalar, class States>
HeadTable<Scalar*> room_for_kept_states(const Pass& pass, const StateBlocks& blocks, States&& states) {
  if (!pass.training()) return {};
  auto kept = HeadTable<Scalar*>::make(pass.kept, pass.sequences(), blocks.count);
  for (Index b = 0; b < pass.sequences(); ++b)
    for (Index i = 0; i < blocks.count; ++i)
      kept.at(b, i) = pass.kept.template take<Scalar>(states(pass.rows.rows(b)) * blocks.size);
  return kept;
}

/// out = conv(in) of every sequence, its history read and written at `offset` of the state slots.
template <class Scalar>
void convolve(const Pass& pass, const ShortConvInputs<Scalar>& in, CachedStates<Scalar>& states, Index offset,
              MutableView<Scalar> out) {
  for_each_piece(pass, [&](const Piece& piece) {
    const StateTables<Scalar> history(piece, states, {offset}, pass.scratch);
    short_conv(in, piece.rows, ShortConvHistory<Scalar>{history.before, history.after}, out, pass.workers);
  });
}

/// Convolutions start uniform in +-1 / sqrt(taps), as torch starts them.
template <class Scalar>
void start_convolution(Matrix<Scalar>& weight_or_bias, Index taps, Random random) {
  const double spread = 1 / std::sqrt(static_cast<double>(taps));
  random.uniform(weight_or_bias, -spread, spread);
}

/// Steps start log-uniform in [0.001, 0.1], at least 0.0001: dt_bias = softplus^-1(dt).
/// Source: Gu and Dao 2023 (arXiv 2312.00752), section 3.6
template <class Scalar>
void start_steps(Matrix<Scalar>& dt_bias, Random random) {
  for (Index i = 0; i < dt_bias.size(); ++i) {
    const double dt = (std::max)(1e-4, std::exp(random.uniform(std::log(1e-3), std::log(0.1))));
    dt_bias.data()[i] = static_cast<Scalar>(dt + std::log(-std::expm1(-dt)));
  }
}

}  // namespace heed::inline HEED_ABI
