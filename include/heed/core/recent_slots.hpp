// Which state slots hold what every sequence was after its last rows: after all of them, after all but one, and so on.
#pragma once

#include <algorithm>
#include <vector>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// For each of B sequences at most `most` slots, the newest first.
class RecentSlots {
 public:
  RecentSlots(Index sequences, Index most)
      : most_(most),
        counts_(static_cast<std::size_t>(sequences), 0),
        slots_(static_cast<std::size_t>(sequences * most), 0) {}

  Index most() const { return most_; }
  Index count(Index sequence) const { return counts_[static_cast<std::size_t>(sequence)]; }
  /// The slot of the state `back` rows ago.
  Index at(Index sequence, Index back) const { return slots_[place(sequence, back)]; }
  bool holds(Index sequence, Index slot) const {
    for (Index back = 0; back < count(sequence); ++back)
      if (at(sequence, back) == slot) return true;
    return false;
  }

  /// The state after one more row. The oldest is forgotten if there is no place.
  void push(Index sequence, Index slot) {
    Index& count = counts_[static_cast<std::size_t>(sequence)];
    count = (std::min)(count + 1, most_);
    for (Index back = count - 1; back > 0; --back) slots_[place(sequence, back)] = at(sequence, back - 1);
    slots_[place(sequence, 0)] = slot;
  }
  /// Forgets the newest `count`.
  void drop(Index sequence, Index count) {
    counts_[static_cast<std::size_t>(sequence)] -= count;
    for (Index back = 0; back < this->count(sequence); ++back) slots_[place(sequence, back)] = at(sequence, back + count);
  }
  void clear(Index sequence) { counts_[static_cast<std::size_t>(sequence)] = 0; }

  /// Takes over what the others know of their sequence `from`. Both have the same `most`.
  void copy(Index sequence, const RecentSlots& others, Index from) {
    counts_[static_cast<std::size_t>(sequence)] = others.count(from);
    for (Index back = 0; back < others.count(from); ++back) slots_[place(sequence, back)] = others.at(from, back);
  }

 private:
  std::size_t place(Index sequence, Index back) const { return static_cast<std::size_t>(sequence * most_ + back); }

  Index most_;
  std::vector<Index> counts_;
  std::vector<Index> slots_;
};

}  // namespace heed::inline HEED_ABI
