// What is added to the logits of one query head of one sequence, pair by pair, and which pairs are hidden beside the mask.
//
//   z_ij += added_ij        added [T x S], -inf hides the pair
//   z_ij  = -inf            where shown [T x S] is false
//
// Both are optional. A stride of 0 gives every row the same; entries of several heads may point to the same numbers.
#pragma once

#include <limits>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct ScoreBias {
  const Scalar* added = nullptr;  // [T x S], rows `stride` apart
  Index stride = 0;
  const bool* shown = nullptr;  // [T x S], rows `shown_stride` apart
  Index shown_stride = 0;
  Scalar* gradient = nullptr;  // of `added`, [T x S], rows `gradient_stride` apart: backward adds to it
  Index gradient_stride = 0;

  bool empty() const { return added == nullptr && shown == nullptr; }
  bool hides(Index row, Index key) const {
    return (shown != nullptr && !shown[row * shown_stride + key]) ||
           (added != nullptr && added[row * stride + key] == -std::numeric_limits<Scalar>::infinity());
  }
};

}  // namespace heed::inline HEED_ABI
