// Sequences of a cache that become copies of one another: what beam search does with its beams.
//
//   sequence b becomes a copy of what sequence sources[b] was
//
// Copies first, from sources that stay as they are, so that what nobody reads any more can be overwritten. What is left are
// cycles (0 becomes 1, 1 becomes 0); those are swapped in place. So no tensor is allocated.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "../core/timeline.hpp"
#include "../mixers/cached.hpp"

namespace heed::inline HEED_ABI {

/// The slots of a sequence that hold the states of `content`, each once.
inline std::vector<Index> slots_in_use(const TimelineContent::Sequence& content) {
  std::vector<Index> slots = content.recent;
  for (const auto& checkpoint : content.checkpoints)
    if (checkpoint.length > 0) slots.push_back(checkpoint.slot);
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  return slots;
}

/// How the tensors of every layer move. Made before the timeline itself is reordered, by sources that it has accepted.
class Reordering {
 public:
  Reordering(const Timeline& timeline, std::span<const Index> sources) {
    const TimelineContent content = timeline.stateful() ? timeline.content() : TimelineContent{};
    const auto B = sources.size();
    for (std::size_t b = 0; b < B; ++b) {
      lengths_.push_back(timeline.length(static_cast<Index>(b)));
      slots_.push_back(timeline.stateful() ? slots_in_use(content.sequences[b]) : std::vector<Index>());
    }
    for (Index slot = 0; slot < timeline.slot_count(); ++slot) all_slots_.push_back(slot);

    std::vector<Index> readers(B, 0);  // sequences that are still to become a copy of this one, besides itself
    std::vector<bool> moves(B, false);
    for (std::size_t b = 0; b < B; ++b) {
      moves[b] = sources[b] != static_cast<Index>(b);
      if (moves[b]) ++readers[static_cast<std::size_t>(sources[b])];
    }
    for (std::size_t b = 0; b < B; ++b)
      for (std::size_t to = b; moves[to] && readers[to] == 0;) {
        const auto from = static_cast<std::size_t>(sources[to]);
        copies_.push_back({static_cast<Index>(to), sources[to]});
        moves[to] = false;
        --readers[from];
        to = from;
      }
    for (std::size_t b = 0; b < B; ++b)
      for (std::size_t to = b; moves[to];) {
        moves[to] = false;
        const auto from = static_cast<std::size_t>(sources[to]);
        if (moves[from]) swaps_.push_back({static_cast<Index>(to), sources[to]});
        to = from;
      }
  }

  /// Moves what one leaf of a cache has of the sequences.
  void move(CacheLeaf& leaf) const {
    for (const auto& [to, from] : copies_) {
      const auto at = static_cast<std::size_t>(from);
      const Filled filled{lengths_[at], slots_[at], leaf.own_rows(from)};
      for (Index part = 0; part < leaf.parts(filled); ++part) {
        const auto source = leaf.part(from, part, filled);
        std::copy(source.begin(), source.end(), leaf.part(to, part, filled).begin());
      }
      leaf.set_own_rows(to, filled.own_rows);
    }
    for (const auto& [to, from] : swaps_) {
      const Index rows_of_to = leaf.own_rows(to), rows_of_from = leaf.own_rows(from);
      const Filled filled{*std::max_element(lengths_.begin(), lengths_.end()), all_slots_,
                          (std::max)(rows_of_to, rows_of_from)};
      for (Index part = 0; part < leaf.parts(filled); ++part) {
        const auto source = leaf.part(from, part, filled);
        std::swap_ranges(source.begin(), source.end(), leaf.part(to, part, filled).begin());
      }
      leaf.set_own_rows(to, rows_of_from);
      leaf.set_own_rows(from, rows_of_to);
    }
  }

 private:
  struct Move {
    Index to;
    Index from;
  };

  std::vector<Index> lengths_;             // before
  std::vector<std::vector<Index>> slots_;  // that are in use, before
  std::vector<Index> all_slots_;
  std::vector<Move> copies_;
  std::vector<Move> swaps_;
};

}  // namespace heed::inline HEED_ABI
