// What caches are made of: rows that grow with the positions, and states of constant size.
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
  Index per_state = 0;  // per state slot

  friend CachePlan operator+(CachePlan a, CachePlan b) {
    return {a.per_position + b.per_position, a.per_state + b.per_state};
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

/// What a part without a cache has, and what a part without a record has.
struct NoCache {
  template <class... Ignored>
  explicit NoCache(const Ignored&...) {}
  template <class F, class... C>
  static void visit(F&&, C&&...) {}
};
struct NoRecord {};

/// Bytes of a cache's tensors: visit(f, caches...) calls f(name, CachedRows... or CachedStates...) for each.
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

}  // namespace heed::inline HEED_ABI
