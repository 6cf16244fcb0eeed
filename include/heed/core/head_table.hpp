// One entry for every (sequence, head): how per-head things are handed around.
#pragma once

#include "arena.hpp"
#include "storage.hpp"

namespace heed::inline HEED_ABI {

/// Seen, not owned: entries[sequence * stride + head].
template <class Entry>
struct HeadTable {
  Entry* entries = nullptr;
  Index sequences = 0;
  Index heads = 0;
  Index stride = heads;

  Entry& at(Index sequence, Index head) const {
    HEED_DEBUG_CHECK(sequence < sequences && head < heads);
    return entries[sequence * stride + head];
  }

  /// The heads [begin, begin + count) of every sequence.
  HeadTable heads_of(Index begin, Index count) const { return {entries + begin, sequences, count, stride}; }

  /// A table in the arena, its entries default-constructed.
  static HeadTable make(Arena& arena, Index sequences, Index heads) {
    return {arena.take_zeroed<Entry>(sequences * heads), sequences, heads};
  }
};

/// The rows of one head of one sequence, and where their gradient is added: `gradient` has no rows unless backward will
/// come.
template <class Scalar>
struct HeadRows {
  const Scalar* data = nullptr;  // [rows x width], row after row `stride` apart
  Scalar* gradient = nullptr;    // [rows x width], row after row `gradient_stride` apart
  Index rows = 0;
  Index width = 0;
  Index stride = 0;
  Index gradient_stride = 0;
  // Rows stored in 16 bits are in `narrow` instead of `data`, equally far apart. Their gradient is not narrow.
  Storage storage = Storage::arithmetic;
  const std::uint16_t* narrow = nullptr;  // [rows x width]

  /// Row `row` in the arithmetic scalar: where it lies, or widened into buffer [width].
  const Scalar* row(Index row, Scalar* buffer) const {
    if (storage == Storage::arithmetic) return data + row * stride;
    widen(storage, narrow + row * stride, width, buffer);
    return buffer;
  }
  /// Of rows that are stored as they are computed with.
  View<Scalar> view() const { return view_of(data, rows, width, stride); }
  MutableView<Scalar> gradient_view() const { return mutable_view_of(gradient, rows, width, gradient_stride); }
};

}  // namespace heed::inline HEED_ABI
