// Where the sequences of a cache stand: their lengths, their state slots and their checkpoints. Kept once for all layers,
// so that halves of a model cannot disagree.
//
// Each sequence has checkpoints + 2 slots for recurrent states: the current one, the one the next call writes to, and one
// for every kept checkpoint. A checkpoint only pins the current slot, so it copies and allocates nothing.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sequences.hpp"

namespace heed::inline HEED_ABI {

/// Where one call reads a sequence's states from and where it writes them. With no past there is nothing to read.
struct StateSlots {
  Index read;
  Index write;
};

/// A remembered position of the sequences of one cache. A mark that the cache has since forgotten is refused.
struct Mark {
  std::shared_ptr<const void> family;  // the cache it was taken on, and the forks of it
  std::size_t index = 0;
  std::uint64_t generation = 0;  // 0: never good
};

class Timeline {
 public:
  /// capacities: positions that each sequence can hold; stateful: whether a layer keeps recurrent states.
  Timeline(std::span<const Index> capacities, Index checkpoints, bool stateful)
      : capacities_(capacities.begin(), capacities.end()),
        lengths_(capacities.size(), 0),
        slots_(capacities.size(), StateSlots{0, 0}),
        checkpoints_(static_cast<std::size_t>(checkpoints)),
        stateful_(stateful) {
    for (Checkpoint& checkpoint : checkpoints_) {
      checkpoint.lengths.resize(capacities.size());
      checkpoint.slots.resize(capacities.size());
    }
  }

  Index sequences() const { return static_cast<Index>(lengths_.size()); }
  Index length(Index sequence) const { return lengths_[static_cast<std::size_t>(sequence)]; }
  Index capacity(Index sequence) const { return capacities_[static_cast<std::size_t>(sequence)]; }
  std::span<const Index> lengths() const { return lengths_; }
  std::span<const StateSlots> slots() const { return slots_; }
  Index slot_count() const { return stateful_ ? static_cast<Index>(checkpoints_.size()) + 2 : 0; }

  /// Raises ShapeError unless the new rows fit: called before anything changes.
  void expects_room(Division rows) const { expects_room_behind(rows, lengths_); }
  /// The same for whole sequences, which start anew.
  void expects_room_anew(Division rows) const { expects_room_behind(rows, {}); }

  /// The rows of a finished call count from now on. Its states become the current ones; a sequence without rows keeps its
  /// own, so that no mixer has to carry it over.
  void advance(Division rows) {
    for (Index b = 0; b < sequences(); ++b) {
      if (rows.rows(b) == 0) continue;
      lengths_[static_cast<std::size_t>(b)] += rows.rows(b);
      slots_[static_cast<std::size_t>(b)].read = slots_[static_cast<std::size_t>(b)].write;
    }
  }
  /// Chooses the slots that the next call writes to. Slices of one call share them.
  void open() {
    for (Index b = 0; b < sequences(); ++b) slots_[static_cast<std::size_t>(b)].write = free_slot(b);
  }
  /// What `restore` needs to undo the slices of a call that failed.
  void save_to(std::span<Index> lengths, std::span<StateSlots> slots) const {
    std::copy(lengths_.begin(), lengths_.end(), lengths.begin());
    std::copy(slots_.begin(), slots_.end(), slots.begin());
  }
  void restore(std::span<const Index> lengths, std::span<const StateSlots> slots) {
    std::copy(lengths.begin(), lengths.end(), lengths_.begin());
    std::copy(slots.begin(), slots.end(), slots_.begin());
  }

  /// Remembers where all sequences stand. With all checkpoints in use the oldest is forgotten.
  Mark checkpoint() {
    if (checkpoints_.empty()) return {};
    std::size_t oldest = 0;
    for (std::size_t i = 0; i < checkpoints_.size(); ++i)
      if (checkpoints_[i].generation < checkpoints_[oldest].generation) oldest = i;
    Checkpoint& kept = checkpoints_[oldest];
    kept.generation = generations_->fetch_add(1, std::memory_order_relaxed);
    kept.lengths = lengths_;
    for (std::size_t b = 0; b < slots_.size(); ++b) kept.slots[b] = slots_[b].read;
    return {generations_, oldest, kept.generation};
  }

  bool can_rollback(const Mark& mark) const {
    const Checkpoint* kept = find(mark);
    return kept != nullptr &&
           std::none_of(kept->lengths.begin(), kept->lengths.end(), [](Index n) { return n == forgotten; });
  }
  bool can_rollback(const Mark& mark, Index sequence) const {
    const Checkpoint* kept = find(mark);
    return kept != nullptr && sequence >= 0 && sequence < sequences() &&
           kept->lengths[static_cast<std::size_t>(sequence)] != forgotten;
  }

  /// Goes back to the mark with all sequences. Refused, with nothing changed, if the mark is of another cache, or
  /// forgotten: because newer ones took its place, or because a sequence was cut below it since.
  [[nodiscard]] bool rollback(const Mark& mark) {
    if (!can_rollback(mark)) return false;
    for (Index b = 0; b < sequences(); ++b) go_to(b, *find(mark));
    return true;
  }
  /// The same for one sequence.
  [[nodiscard]] bool rollback(const Mark& mark, Index sequence) {
    if (!can_rollback(mark, sequence)) return false;
    go_to(sequence, *find(mark));
    return true;
  }

  /// Whether `truncate` would succeed: always for 0 and for the present length; for a shorter one if no layer keeps states,
  /// or if a checkpoint was taken there.
  bool can_truncate(Index sequence, Index length) const {
    if (sequence < 0 || sequence >= sequences() || length < 0 || length > this->length(sequence)) return false;
    return length == 0 || length == this->length(sequence) || !stateful_ || checkpoint_at(sequence, length) != nullptr;
  }
  /// Cuts a sequence to its first `length` positions. Refused, with nothing changed, if that is not possible.
  [[nodiscard]] bool truncate(Index sequence, Index length) {
    if (!can_truncate(sequence, length)) return false;
    const auto b = static_cast<std::size_t>(sequence);
    if (stateful_ && length > 0 && length < lengths_[b]) slots_[b].read = checkpoint_at(sequence, length)->slots[b];
    cut(sequence, length);
    return true;
  }

 private:
  // past: positions before the new rows, by sequence; none if empty.
  void expects_room_behind(Division rows, std::span<const Index> past) const {
    HEED_EXPECTS(ShapeError, rows.sequences() == sequences(), "cache: expected rows for ", sequences(),
                 " sequences, found ", rows.sequences());
    HEED_EXPECTS(ShapeError, rows.rows() >= 1, "x: expected at least one new row, found none");
    for (Index b = 0; b < sequences(); ++b) {
      const Index cached = past.empty() ? 0 : past[static_cast<std::size_t>(b)];
      HEED_EXPECTS(ShapeError, cached + rows.rows(b) <= capacity(b), "sequence ", b, ": expected at most ", capacity(b),
                   " positions, found ", cached, " cached + ", rows.rows(b), " new");
    }
  }

  struct Checkpoint {
    std::uint64_t generation = 0;  // 0: not in use
    std::vector<Index> lengths;
    std::vector<Index> slots;
  };

  static constexpr Index forgotten = -1;

  const Checkpoint* find(const Mark& mark) const {
    if (mark.family != generations_ || mark.generation == 0 || mark.index >= checkpoints_.size()) return nullptr;
    const Checkpoint& kept = checkpoints_[mark.index];
    return kept.generation == mark.generation ? &kept : nullptr;
  }
  const Checkpoint* checkpoint_at(Index sequence, Index length) const {
    for (const Checkpoint& kept : checkpoints_)
      if (kept.generation != 0 && kept.lengths[static_cast<std::size_t>(sequence)] == length) return &kept;
    return nullptr;
  }
  void go_to(Index sequence, const Checkpoint& kept) {
    const auto b = static_cast<std::size_t>(sequence);
    slots_[b].read = kept.slots[b];
    cut(sequence, kept.lengths[b]);
  }
  // A checkpoint beyond the new length would point at rows that are about to be overwritten.
  void cut(Index sequence, Index length) {
    const auto b = static_cast<std::size_t>(sequence);
    lengths_[b] = length;
    for (Checkpoint& kept : checkpoints_)
      if (kept.lengths[b] > length) kept.lengths[b] = forgotten;
  }
  Index free_slot(Index sequence) const {
    const auto b = static_cast<std::size_t>(sequence);
    Index slot = 0;
    for (bool taken = true; taken; slot += taken) {
      taken = slot == slots_[b].read;
      for (const Checkpoint& kept : checkpoints_)
        taken = taken || (kept.generation != 0 && kept.lengths[b] != forgotten && kept.slots[b] == slot);
    }
    return slot;
  }

  std::vector<Index> capacities_;
  std::vector<Index> lengths_;
  std::vector<StateSlots> slots_;
  std::vector<Checkpoint> checkpoints_;
  // Shared with forks, so that no two checkpoints of a family have the same generation.
  std::shared_ptr<std::atomic<std::uint64_t>> generations_ = std::make_shared<std::atomic<std::uint64_t>>(1);
  bool stateful_;
};

}  // namespace heed::inline HEED_ABI
