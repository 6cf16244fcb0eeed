// Where the sequences of a cache stand: their lengths, their state slots and their checkpoints. Kept once for all layers,
// so that halves of a model cannot disagree.
//
// A recurrent state is overwritten by every row. To go back W rows without a checkpoint, a sequence keeps its states after
// each of its last W + 1 positions. A call writes beside them, so that one that fails changes nothing: each sequence has
// 2 (W + 1) slots, and one for every kept checkpoint. A checkpoint only pins the current slot, so it copies and allocates
// nothing.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "call_slots.hpp"
#include "recent_slots.hpp"
#include "sequences.hpp"
#include "timeline_content.hpp"

namespace heed::inline HEED_ABI {

/// A remembered position of the sequences of one cache. A mark that the cache has since forgotten is refused.
struct Mark {
  std::shared_ptr<const void> family;  // the cache it was taken on, and the forks of it
  std::size_t index = 0;
  std::uint64_t generation = 0;  // 0: never good
};

class Timeline {
 public:
  /// capacities: positions that each sequence can hold; stateful: whether a layer keeps recurrent states; recent_states:
  /// how many rows a sequence can go back without a checkpoint.
  Timeline(std::span<const Index> capacities, Index checkpoints, bool stateful, Index recent_states = 0)
      : capacities_(capacities.begin(), capacities.end()),
        now_{std::vector<Index>(capacities.size(), 0),
             RecentSlots(static_cast<Index>(capacities.size()), recent_states + 1)},
        before_(now_),
        slots_(capacities.size(), StateSlots{0, 0}),
        ring_(capacities.size() * static_cast<std::size_t>(recent_states + 1), 0),
        written_(capacities.size(), 0),
        states_(recent_states + 1),
        checkpoints_(static_cast<std::size_t>(checkpoints)),
        stateful_(stateful) {
    for (Checkpoint& checkpoint : checkpoints_) {
      checkpoint.lengths.resize(capacities.size());
      checkpoint.slots.resize(capacities.size());
    }
  }

  Index sequences() const { return static_cast<Index>(capacities_.size()); }
  Index length(Index sequence) const { return now_.lengths[static_cast<std::size_t>(sequence)]; }
  Index capacity(Index sequence) const { return capacities_[static_cast<std::size_t>(sequence)]; }
  std::span<const Index> lengths() const { return now_.lengths; }
  bool stateful() const { return stateful_; }
  Index recent_states() const { return now_.recent.most() - 1; }
  Index slot_count() const { return stateful_ ? static_cast<Index>(checkpoints_.size()) + 2 * now_.recent.most() : 0; }

  /// Raises ShapeError unless the new rows fit: called before anything changes.
  void expects_room(Division rows) const { expects_room_behind(rows, now_.lengths); }
  /// The same for whole sequences, which start anew.
  void expects_room_anew(Division rows) const { expects_room_behind(rows, {}); }

  /// Begins a call: chooses the slots that it writes to, and remembers where the sequences stand, for `undo`. A call whose
  /// states are kept as they are after all rows only (training) has one state.
  void open(Index states) {
    before_ = now_;
    states_ = states;
    std::fill(written_.begin(), written_.end(), 0);
    for (Index b = 0; b < sequences(); ++b) {
      Index slot = -1;
      for (Index i = 0; i < states_; ++i) ring_[static_cast<std::size_t>(b * states_ + i)] = slot = free_slot(b, slot + 1);
    }
  }
  void open() { open(now_.recent.most()); }
  /// The slots for these rows: those of the whole call, or of its next slice.
  CallSlots slots_for(Division rows) {
    const CallSlots slots{slots_, states_, ring_, written_};
    for (Index b = 0; b < sequences(); ++b) {
      const Index count = (std::min)(rows.rows(b), states_);
      const Index read = now_.recent.count(b) > 0 ? now_.recent.at(b, 0) : 0;
      // Without rows, nothing is to be written: a past stays where it is.
      const bool stays = count == 0 && length(b) > 0;
      slots_[static_cast<std::size_t>(b)] = {read, stays ? read : slots.at(b, (std::max)(count - 1, Index(0)))};
    }
    return slots;
  }
  /// The rows of a finished call, or slice, count from now on, and the states after them are the recent ones. A sequence
  /// without rows keeps its own, so that no mixer has to carry it over.
  void advance(Division rows) {
    const CallSlots slots{slots_, states_, ring_, written_};
    for (Index b = 0; b < sequences(); ++b) {
      const Index T = rows.rows(b), count = (std::min)(T, states_);
      if (count < T) now_.recent.clear(b);  // there is a gap between the old and the new
      for (Index i = 0; i < count; ++i) now_.recent.push(b, slots.at(b, i));
      now_.lengths[static_cast<std::size_t>(b)] += T;
      written_[static_cast<std::size_t>(b)] += count;
    }
  }
  /// Takes back what the slices of the call since `open` have changed.
  void undo() { now_ = before_; }

  /// The slot of a sequence's present state, of which there is none without positions.
  Index current_slot(Index sequence) const { return now_.recent.at(sequence, 0); }

  /// Remembers where all sequences stand. With all checkpoints in use the oldest is forgotten.
  Mark checkpoint() {
    if (checkpoints_.empty()) return {};
    std::size_t oldest = 0;
    for (std::size_t i = 0; i < checkpoints_.size(); ++i)
      if (checkpoints_[i].generation < checkpoints_[oldest].generation) oldest = i;
    Checkpoint& kept = checkpoints_[oldest];
    kept.generation = next_generation();
    kept.lengths = now_.lengths;
    for (Index b = 0; b < sequences(); ++b) kept.slots[static_cast<std::size_t>(b)] = current_slot(b);
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
  /// if it is at most `recent_states` shorter, or if a checkpoint was taken there.
  bool can_truncate(Index sequence, Index length) const {
    if (sequence < 0 || sequence >= sequences() || length < 0 || length > this->length(sequence)) return false;
    return length == 0 || length == this->length(sequence) || !stateful_ || is_recent(sequence, length) ||
           checkpoint_at(sequence, length) != nullptr;
  }
  /// Cuts a sequence to its first `length` positions. Refused, with nothing changed, if that is not possible.
  [[nodiscard]] bool truncate(Index sequence, Index length) {
    if (!can_truncate(sequence, length)) return false;
    const Checkpoint* kept = checkpoint_at(sequence, length);
    cut(sequence, length, kept == nullptr ? 0 : kept->slots[static_cast<std::size_t>(sequence)]);
    return true;
  }

  /// Whether every sequence b can become a copy of sequence sources[b]: there is a source for each, and their capacities
  /// are the same.
  bool can_reorder(std::span<const Index> sources) const {
    if (static_cast<Index>(sources.size()) != sequences()) return false;
    for (std::size_t b = 0; b < sources.size(); ++b)
      if (sources[b] < 0 || sources[b] >= sequences() || capacity(sources[b]) != capacities_[b]) return false;
    return true;
  }
  /// Sequence b stands where sequence sources[b] stood, for marks too. Their tensors are moved by `Reordering`.
  void reorder(std::span<const Index> sources) {
    Timeline next = *this;
    for (std::size_t b = 0; b < sources.size(); ++b) {
      const auto from = static_cast<std::size_t>(sources[b]);
      next.now_.lengths[b] = now_.lengths[from];
      next.now_.recent.copy(static_cast<Index>(b), now_.recent, sources[b]);
      for (std::size_t i = 0; i < checkpoints_.size(); ++i) {
        next.checkpoints_[i].lengths[b] = checkpoints_[i].lengths[from];
        next.checkpoints_[i].slots[b] = checkpoints_[i].slots[from];
      }
    }
    *this = std::move(next);
  }

  TimelineContent content() const {
    std::vector<const Checkpoint*> by_age;
    for (const Checkpoint& kept : checkpoints_)
      if (kept.generation != 0) by_age.push_back(&kept);
    std::sort(by_age.begin(), by_age.end(), [](auto* a, auto* b) { return a->generation < b->generation; });
    TimelineContent content{std::vector<TimelineContent::Sequence>(capacities_.size())};
    for (std::size_t b = 0; b < capacities_.size(); ++b) {
      TimelineContent::Sequence& sequence = content.sequences[b];
      sequence.length = now_.lengths[b];
      const auto at = static_cast<Index>(b);
      for (Index back = 0; stateful_ && back < now_.recent.count(at); ++back)
        sequence.recent.push_back(now_.recent.at(at, back));
      for (const Checkpoint* kept : by_age) sequence.checkpoints.push_back({kept->lengths[b], kept->slots[b]});
    }
    return content;
  }
  /// Takes over what another timeline of the same options remembers. All marks of before are forgotten.
  void set_content(const TimelineContent& content) {
    for (std::size_t b = 0; b < capacities_.size(); ++b) {
      const TimelineContent::Sequence& sequence = content.sequences[b];
      const auto at = static_cast<Index>(b);
      now_.lengths[b] = sequence.length;
      now_.recent.clear(at);
      for (std::size_t back = sequence.recent.size(); back-- > 0;) now_.recent.push(at, sequence.recent[back]);
      for (std::size_t i = 0; i < checkpoints_.size(); ++i) {
        const bool known = i < sequence.checkpoints.size();
        checkpoints_[i].lengths[b] = known ? sequence.checkpoints[i].length : forgotten;
        checkpoints_[i].slots[b] = known ? sequence.checkpoints[i].slot : 0;
      }
    }
    const std::size_t known = content.sequences.empty() ? 0 : content.sequences.front().checkpoints.size();
    for (std::size_t i = 0; i < checkpoints_.size(); ++i) checkpoints_[i].generation = i < known ? next_generation() : 0;
  }
  Index checkpoints() const { return static_cast<Index>(checkpoints_.size()); }

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

  struct Standing {
    std::vector<Index> lengths;
    RecentSlots recent;
  };
  struct Checkpoint {
    std::uint64_t generation = 0;  // 0: not in use
    std::vector<Index> lengths;
    std::vector<Index> slots;
  };

  static constexpr Index forgotten = TimelineContent::forgotten;

  std::uint64_t next_generation() { return generations_->fetch_add(1, std::memory_order_relaxed); }
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
  bool is_recent(Index sequence, Index length) const {
    return this->length(sequence) - length < now_.recent.count(sequence);
  }
  void go_to(Index sequence, const Checkpoint& kept) {
    const auto b = static_cast<std::size_t>(sequence);
    cut(sequence, kept.lengths[b], kept.slots[b]);
  }
  // slot: where the state after `length` positions is, if it is not among the recent ones. A checkpoint beyond the new
  // length would point at rows that are about to be overwritten.
  void cut(Index sequence, Index length, Index slot) {
    const auto b = static_cast<std::size_t>(sequence);
    if (length > 0 && is_recent(sequence, length)) {
      now_.recent.drop(sequence, now_.lengths[b] - length);
    } else {
      now_.recent.clear(sequence);
      if (length > 0) now_.recent.push(sequence, slot);
    }
    now_.lengths[b] = length;
    for (Checkpoint& kept : checkpoints_)
      if (kept.lengths[b] > length) kept.lengths[b] = forgotten;
  }
  Index free_slot(Index sequence, Index from) const {
    const auto b = static_cast<std::size_t>(sequence);
    const auto pinned = [&](Index slot) {
      return std::any_of(checkpoints_.begin(), checkpoints_.end(), [&](const Checkpoint& kept) {
        return kept.generation != 0 && kept.lengths[b] != forgotten && kept.slots[b] == slot;
      });
    };
    Index slot = from;
    while (now_.recent.holds(sequence, slot) || pinned(slot)) ++slot;
    return slot;
  }

  std::vector<Index> capacities_;
  Standing now_;
  Standing before_;                // the call that is open
  std::vector<StateSlots> slots_;  // of the rows that are being fed
  std::vector<Index> ring_;        // [B x states] where the call writes
  std::vector<Index> written_;     // [B] states that the call has written
  Index states_;                   // that the call keeps of each sequence
  std::vector<Checkpoint> checkpoints_;
  // Shared with forks, so that no two checkpoints of a family have the same generation.
  std::shared_ptr<std::atomic<std::uint64_t>> generations_ = std::make_shared<std::atomic<std::uint64_t>>(1);
  bool stateful_;
};

}  // namespace heed::inline HEED_ABI
