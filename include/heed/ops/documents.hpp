// Several documents in one sequence, end to end: a row sees the keys of its own document only.
//
//   doc(p) = doc(j)        Documents({5, 3, 8}): positions 0-4, 5-7, 8-15
//
// The table has one interval for each position, so that a mask finds a document in O(1).
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "mask.hpp"

namespace heed::inline HEED_ABI {

/// Owns the table: it has to outlive the masks made of it, and what is made with those.
class Documents {
 public:
  /// The lengths of the documents, in order. ConfigError unless all are 0 or more.
  explicit Documents(std::span<const Index> lengths) {
    for (const Index length : lengths) {
      HEED_EXPECTS(ConfigError, length >= 0, "documents: expected lengths of 0 or more, found ", length);
      const auto begin = static_cast<Index>(of_position_.size());
      of_position_.resize(of_position_.size() + static_cast<std::size_t>(length), Interval{begin, begin + length});
    }
  }
  Documents(std::initializer_list<Index> lengths) : Documents(std::span<const Index>(lengths.begin(), lengths.size())) {}

  Index positions() const { return static_cast<Index>(of_position_.size()); }
  /// The positions of the document that `position` is in.
  Interval at(Index position) const { return of_position_[static_cast<std::size_t>(position)]; }

  /// Every key of the row's own document. For language models: `documents.mask() & causal()`.
  Mask mask() const {
    return {.right = unbounded, .length = positions(), .documents = of_position_.data(), .documented = positions()};
  }

 private:
  std::vector<Interval> of_position_;
};

}  // namespace heed::inline HEED_ABI
