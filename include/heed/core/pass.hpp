// The circumstances of one call, handed down to every mixer. It owns nothing.
#pragma once

#include <span>

#include "sequences.hpp"
#include "storage.hpp"
#include "timeline.hpp"
#include "workers.hpp"

namespace heed::inline HEED_ABI {

enum class Purpose {
  inference,  ///< records are scratch of one layer
  training,   ///< records are kept until backward has read them; sequences are whole (no past)
};

struct Pass {
  Division rows;                // the new rows of every sequence
  std::span<const Index> past;  // positions cached before this call, by sequence
  CallSlots states;             // where recurrent states are: see pieces.hpp
  Purpose purpose;
  Arena& kept;     // what layers above or backward read: lives as long as the call, or the tape
  Arena& scratch;  // what one layer needs: given back when the layer is done
  Workers& workers;
  Storage scores = Storage::arithmetic;  // of probabilities kept for layers above, at inference
  std::size_t number = 0;  // which call of its workspace this is: backward has to follow the forward pass of the same

  Index sequences() const { return rows.sequences(); }
  /// Positions of a sequence that are visible in this call: cached and new.
  Index visible(Index sequence) const { return past[static_cast<std::size_t>(sequence)] + rows.rows(sequence); }
  bool training() const { return purpose == Purpose::training; }

  /// Where to put what the mixer's own backward reads.
  Arena& record() const { return training() ? kept : scratch; }
};

}  // namespace heed::inline HEED_ABI
