// What caches are made of: rows that grow with the positions, states of constant size, and rows of another sequence.
#pragma once

#include <span>
#include <vector>

#include "../core/head_table.hpp"
#include "../core/pass.hpp"
#include "../core/visit.hpp"

namespace heed::inline HEED_ABI {

/// How much a cache keeps, in scalars per sequence.
struct CachePlan {
  Index per_position = 0;
  Index per_state = 0;     // per state slot
  Index per_sequence = 0;  // whatever its length

  friend CachePlan operator+(CachePlan a, CachePlan b) {
    return {a.per_position + b.per_position, a.per_state + b.per_state, a.per_sequence + b.per_sequence};
  }
};

/// The capacities a cache is made for.
struct CacheSize {
  std::vector<Index> positions;  // by sequence
  Index slots = 2;               // state slots of each sequence

  Index sequences() const { return static_cast<Index>(positions.size()); }
};

/// K or V of B sequences, head-major: one contiguous [capacity x E] block per (sequence, kv head).
template <class Scalar>
class CachedRows {
 public:
  CachedRows(const CacheSize& size, Index heads, Index width) : heads_(heads), width_(width) {
    Index rows = 0;
    for (const Index positions : size.positions) {
      capacities_.push_back(positions);
      starts_.push_back(rows);
      rows += positions * heads;
    }
    storage_.resize(rows, width);
  }

  /// Stores fresh [T x G E] behind the past of every sequence; returns all visible rows [S x E] of every (sequence, kv
  /// head), without gradients. The table is the arena's.
  HeadTable<HeadRows<Scalar>> append(const Pass& pass, const View<Scalar>& fresh, Arena& arena) {
    auto table = HeadTable<HeadRows<Scalar>>::make(arena, pass.sequences(), heads_);
    append_to(table, pass, fresh);
    return table;
  }
  /// The same into a table that is already there.
  void append_to(const HeadTable<HeadRows<Scalar>>& table, const Pass& pass, const View<Scalar>& fresh) {
    for (Index b = 0; b < pass.sequences(); ++b) {
      const Index past = pass.past[static_cast<std::size_t>(b)];
      const View<Scalar> rows = rows_of(fresh, pass.rows.begin(b), pass.rows.rows(b));
      for (Index g = 0; g < heads_; ++g) {
        Scalar* head = block(b, g);
        mutable_view_of(head + past * width_, rows.rows(), width_, width_) = cols_of(rows, g * width_, width_);
        table.at(b, g) = {head, nullptr, pass.visible(b), width_, width_, 0};
      }
    }
  }

  Index bytes() const { return storage_.size() * static_cast<Index>(sizeof(Scalar)); }

 private:
  Scalar* block(Index sequence, Index head) {
    const auto b = static_cast<std::size_t>(sequence);
    return storage_.data() + (starts_[b] + head * capacities_[b]) * width_;
  }

  Index heads_;
  Index width_;
  std::vector<Index> capacities_;
  std::vector<Index> starts_;
  Matrix<Scalar> storage_;
};

/// Recurrent states: `slots` blocks of `size` scalars for every sequence.
template <class Scalar>
class CachedStates {
 public:
  CachedStates(const CacheSize& size, Index state_size)
      : slots_(size.slots), storage_(size.sequences() * size.slots, state_size) {}

  Scalar* at(Index sequence, Index slot) { return storage_.data() + (sequence * slots_ + slot) * storage_.cols(); }
  Index bytes() const { return storage_.size() * static_cast<Index>(sizeof(Scalar)); }

 private:
  Index slots_;
  Matrix<Scalar> storage_;
};

/// K or V of every sequence's memory, head-major, with the rows that each has: one contiguous [capacity x E] block per
/// (sequence, kv head).
template <class Scalar>
class CachedMemory {
 public:
  /// positions: how many rows a memory may have.
  CachedMemory(const CacheSize& size, Index positions, Index heads, Index width)
      : heads_(heads),
        capacity_(positions),
        rows_(static_cast<std::size_t>(size.sequences()), 0),
        storage_(size.sequences() * heads * positions, width) {}

  Index capacity() const { return capacity_; }
  Index rows(Index sequence) const { return rows_[static_cast<std::size_t>(sequence)]; }

  /// Replaces what was there by fresh [S_m x G E].
  void store(Index sequence, const View<Scalar>& fresh) {
    HEED_DEBUG_CHECK(fresh.rows() <= capacity_ && fresh.cols() == heads_ * storage_.cols());
    const Index width = storage_.cols();
    for (Index g = 0; g < heads_; ++g)
      mutable_view_of(block(sequence, g), fresh.rows(), width, width) = cols_of(fresh, g * width, width);
    rows_[static_cast<std::size_t>(sequence)] = fresh.rows();
  }
  /// The rows [S_m x E] of one head, without a gradient.
  HeadRows<Scalar> at(Index sequence, Index head) {
    return {block(sequence, head), nullptr, rows(sequence), storage_.cols(), storage_.cols(), 0};
  }

  Index bytes() const { return storage_.size() * static_cast<Index>(sizeof(Scalar)); }

 private:
  Scalar* block(Index sequence, Index head) {
    return storage_.data() + (sequence * heads_ + head) * capacity_ * storage_.cols();
  }

  Index heads_;
  Index capacity_;
  std::vector<Index> rows_;
  Matrix<Scalar> storage_;
};

/// What a part without a cache has, and what a part without a record has.
struct NoCache {
  template <class... Ignored>
  explicit NoCache(const Ignored&...) {}
  template <class F, class... C>
  static void visit(F&&, C&&...) {}
};
struct NoRecord {};

/// Bytes of a cache's tensors: visit(f, caches...) calls f(name, leaves...) for each, where leaves are CachedRows,
/// CachedStates or CachedMemory.
template <class Cache>
Index cache_bytes(const Cache& cache) {
  Index bytes = 0;
  heed::visit([&](std::string_view, const auto& leaf) { bytes += leaf.bytes(); }, cache);
  return bytes;
}

namespace detail {

/// A visitor that takes whatever a cache consists of.
struct AnyLeaf {
  template <class... Leaves>
  void operator()(std::string_view, Leaves&...) const {}
};

}  // namespace detail

/// Points the gradients of a table of whole sequences at the rows of d [T x heads E].
template <class Scalar>
void set_gradients(const HeadTable<HeadRows<Scalar>>& table, const Pass& pass, MutableView<Scalar> d) {
  for (Index b = 0; b < table.sequences; ++b)
    for (Index head = 0; head < table.heads; ++head) {
      HeadRows<Scalar>& entry = table.at(b, head);
      entry.gradient = d.data() + pass.rows.begin(b) * d.outerStride() + head * entry.width;
      entry.gradient_stride = d.outerStride();
    }
}

/// Stores fresh [T x n E], the new rows of n heads, behind those that are cached, and shows all visible rows in the table.
/// Returns d_fresh [T x n E], zero, where whoever reads the table adds gradients; at inference there is none.
template <class Scalar>
Scalar* publish_rows(CachedRows<Scalar>& cache, const HeadTable<HeadRows<Scalar>>& table, const Pass& pass,
                     const View<Scalar>& fresh) {
  cache.append_to(table, pass, fresh);
  if (!pass.training()) return nullptr;
  MutableView<Scalar> d_fresh = pass.kept.template zeros<Scalar>(fresh.rows(), fresh.cols());
  set_gradients(table, pass, d_fresh);
  return d_fresh.data();
}

}  // namespace heed::inline HEED_ABI
