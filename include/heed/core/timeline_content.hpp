// What a saved cache remembers of its sequences, besides their tensors.
#pragma once

#include <vector>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

struct TimelineContent {
  struct Sequence {
    struct Checkpoint {
      Index length;  // forgotten: this sequence does not remember the checkpoint
      Index slot;
    };
    Index length = 0;
    std::vector<Index> recent;            // slots, the newest first
    std::vector<Checkpoint> checkpoints;  // those of all sequences, the oldest first
  };
  static constexpr Index forgotten = -1;

  std::vector<Sequence> sequences;
};

}  // namespace heed::inline HEED_ABI
