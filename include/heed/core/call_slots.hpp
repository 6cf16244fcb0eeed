// Which state slots a call reads and writes.
#pragma once

#include <span>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// Where a sequence's states are read from and where they are written. With no past there is nothing to read.
struct StateSlots {
  Index read;
  Index write;
};

/// The slots of one call, or of a slice of it, by sequence.
struct CallSlots {
  std::span<const StateSlots> whole;  // read before all rows; written after all rows
  // Of T rows, the states after each of the last min(T, states) are written, each to the next place of the sequence's ring.
  Index states = 1;
  std::span<const Index> ring = {};     // [B x states] slots
  std::span<const Index> written = {};  // [B] states written by earlier slices of the call

  /// Where the sequence's state number `count` of this slice is written, from 0.
  Index at(Index sequence, Index count) const {
    const Index place = (written[static_cast<std::size_t>(sequence)] + count) % states;
    return ring[static_cast<std::size_t>(sequence * states + place)];
  }
};

}  // namespace heed::inline HEED_ABI
