// What caches are made of: rows that grow with the positions, states of constant size, and rows of another sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
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
  std::vector<Index> positions;           // by sequence
  Index slots = 2;                        // state slots of each sequence
  Storage storage = Storage::arithmetic;  // of rows that grow with the positions

  Index sequences() const { return static_cast<Index>(positions.size()); }
};

namespace detail {

template <class Scalar>
std::string name_of_numbers(Storage storage) {
  if (storage != Storage::arithmetic) return std::string(name_of(storage));
  return sizeof(Scalar) == sizeof(float) ? "float" : "double";
}

}  // namespace detail

/// What of a sequence's tensors is in use.
struct Filled {
  Index positions;
  std::span<const Index> slots;  // of states
  Index own_rows = 0;            // of a leaf that counts rows itself
};

/// What a cache consists of, whatever its scalar. What is in use of a sequence lies in parts, each of them contiguous.
class CacheLeaf {
 public:
  /// All that is allocated.
  virtual Index bytes() const = 0;
  /// In words: leaves of the same layout can take each other's parts.
  virtual std::string layout() const = 0;
  virtual Index parts(const Filled& filled) const = 0;
  virtual std::span<std::byte> part(Index sequence, Index part, const Filled& filled) = 0;
  /// Rows that a sequence has here whatever its positions, and how many it may have: those of a memory.
  virtual Index own_rows(Index) const { return 0; }
  virtual Index own_capacity() const { return 0; }
  virtual void set_own_rows(Index, Index) {}
  std::span<const std::byte> part(Index sequence, Index part, const Filled& filled) const {
    return const_cast<CacheLeaf*>(this)->part(sequence, part, filled);
  }

 protected:
  CacheLeaf() = default;
  CacheLeaf(const CacheLeaf&) = default;
  CacheLeaf& operator=(const CacheLeaf&) = default;
  CacheLeaf(CacheLeaf&&) = default;
  CacheLeaf& operator=(CacheLeaf&&) = default;
  ~CacheLeaf() = default;
};

/// K or V of B sequences, head-major: one contiguous [capacity x E] block per (sequence, kv head). Stored in 16 bits if so
/// chosen: then what is read back is what was appended, rounded.
template <class Scalar>
class CachedRows final : public CacheLeaf {
 public:
  CachedRows(const CacheSize& size, Index heads, Index width) : heads_(heads), width_(width), storage_(size.storage) {
    Index rows = 0;
    for (const Index positions : size.positions) {
      capacities_.push_back(positions);
      starts_.push_back(rows);
      rows += positions * heads;
    }
    if (storage_ == Storage::arithmetic)
      rows_ = detail::Pages<Scalar>(static_cast<std::size_t>(rows * width));
    else
      narrow_ = detail::Pages<std::uint16_t>(static_cast<std::size_t>(rows * width));
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
        const View<Scalar> fresh_of_head = cols_of(rows, g * width_, width_);
        HeadRows<Scalar>& entry = table.at(b, g);
        entry = {nullptr, nullptr, pass.visible(b), width_, width_, 0};
        if (storage_ == Storage::arithmetic) {
          Scalar* head = rows_.data() + start(b, g);
          mutable_view_of(head + past * width_, rows.rows(), width_, width_) = fresh_of_head;
          entry.data = head;
        } else {
          std::uint16_t* head = narrow_.data() + start(b, g);
          for (Index t = 0; t < rows.rows(); ++t)
            narrow(storage_, fresh_of_head.data() + t * fresh_of_head.outerStride(), width_, head + (past + t) * width_);
          entry.storage = storage_;
          entry.narrow = head;
        }
      }
    }
  }

  Index bytes() const override { return static_cast<Index>(rows_.bytes() + narrow_.bytes()); }
  std::string layout() const override {
    return "rows of " + std::to_string(heads_) + " heads of width " + std::to_string(width_) + " in " +
           detail::name_of_numbers<Scalar>(storage_);
  }
  Index parts(const Filled&) const override { return heads_; }
  std::span<std::byte> part(Index sequence, Index head, const Filled& filled) override {
    const auto size = static_cast<std::size_t>(filled.positions * width_);
    if (storage_ == Storage::arithmetic)
      return std::as_writable_bytes(std::span(rows_.data() + start(sequence, head), size));
    return std::as_writable_bytes(std::span(narrow_.data() + start(sequence, head), size));
  }
  using CacheLeaf::part;

 private:
  // Where the rows of a head begin, in numbers.
  Index start(Index sequence, Index head) const {
    const auto b = static_cast<std::size_t>(sequence);
    return (starts_[b] + head * capacities_[b]) * width_;
  }

  Index heads_;
  Index width_;
  Storage storage_;
  std::vector<Index> capacities_;
  std::vector<Index> starts_;
  detail::Pages<Scalar> rows_;           // as they are computed with,
  detail::Pages<std::uint16_t> narrow_;  // or in 16 bits: one of the two is empty
};

/// Recurrent states: `slots` blocks of `size` scalars for every sequence.
template <class Scalar>
class CachedStates final : public CacheLeaf {
 public:
  CachedStates(const CacheSize& size, Index state_size)
      : slots_(size.slots), storage_(size.sequences() * size.slots, state_size) {}

  Scalar* at(Index sequence, Index slot) { return storage_.data() + (sequence * slots_ + slot) * storage_.cols(); }
  Index bytes() const override { return storage_.size() * static_cast<Index>(sizeof(Scalar)); }
  std::string layout() const override {
    return "states of " + std::to_string(storage_.cols()) + " numbers in " +
           detail::name_of_numbers<Scalar>(Storage::arithmetic);
  }
  Index parts(const Filled& filled) const override { return static_cast<Index>(filled.slots.size()); }
  std::span<std::byte> part(Index sequence, Index part, const Filled& filled) override {
    return std::as_writable_bytes(
        std::span(at(sequence, filled.slots[static_cast<std::size_t>(part)]), static_cast<std::size_t>(storage_.cols())));
  }
  using CacheLeaf::part;

 private:
  Index slots_;
  Matrix<Scalar> storage_;
};

/// K or V of every sequence's memory, head-major, with the rows that each has: one contiguous [capacity x E] block per
/// (sequence, kv head).
template <class Scalar>
class CachedMemory final : public CacheLeaf {
 public:
  /// positions: how many rows a memory may have.
  CachedMemory(const CacheSize& size, Index positions, Index heads, Index width)
      : heads_(heads),
        capacity_(positions),
        width_(width),
        rows_(static_cast<std::size_t>(size.sequences()), 0),
        storage_(static_cast<std::size_t>(size.sequences() * heads * positions * width)) {}

  Index capacity() const { return capacity_; }
  Index rows(Index sequence) const { return rows_[static_cast<std::size_t>(sequence)]; }

  /// Replaces what was there by fresh [S_m x G E].
  void store(Index sequence, const View<Scalar>& fresh) {
    HEED_DEBUG_CHECK(fresh.rows() <= capacity_ && fresh.cols() == heads_ * width_);
    for (Index g = 0; g < heads_; ++g)
      mutable_view_of(block(sequence, g), fresh.rows(), width_, width_) = cols_of(fresh, g * width_, width_);
    rows_[static_cast<std::size_t>(sequence)] = fresh.rows();
  }
  /// The rows [S_m x E] of one head, without a gradient.
  HeadRows<Scalar> at(Index sequence, Index head) {
    return {block(sequence, head), nullptr, rows(sequence), width_, width_, 0};
  }

  Index bytes() const override { return static_cast<Index>(storage_.bytes()); }
  std::string layout() const override {
    return "memory of " + std::to_string(heads_) + " heads of width " + std::to_string(width_) + " in " +
           detail::name_of_numbers<Scalar>(Storage::arithmetic);
  }
  Index parts(const Filled&) const override { return heads_; }
  std::span<std::byte> part(Index sequence, Index head, const Filled& filled) override {
    return std::as_writable_bytes(std::span(block(sequence, head), static_cast<std::size_t>(filled.own_rows * width_)));
  }
  using CacheLeaf::part;
  Index own_rows(Index sequence) const override { return rows(sequence); }
  Index own_capacity() const override { return capacity_; }
  void set_own_rows(Index sequence, Index rows) override { rows_[static_cast<std::size_t>(sequence)] = rows; }

 private:
  Scalar* block(Index sequence, Index head) { return storage_.data() + (sequence * heads_ + head) * capacity_ * width_; }

  Index heads_;
  Index capacity_;
  Index width_;
  std::vector<Index> rows_;
  detail::Pages<Scalar> storage_;
};

/// Bytes of a cache's tensors.
template <class Cache>
Index cache_bytes(const Cache& cache) {
  Index bytes = 0;
  heed::visit([&](std::string_view, const CacheLeaf& leaf) { bytes += leaf.bytes(); }, cache);
  return bytes;
}

struct NamedLeaf {
  std::string name;
  CacheLeaf* leaf;
};
/// What a cache consists of, by name.
template <class Cache>
std::vector<NamedLeaf> leaves_of(Cache& cache) {
  std::vector<NamedLeaf> list;
  heed::visit([&](std::string_view name, CacheLeaf& leaf) { list.push_back({std::string(name), &leaf}); }, cache);
  return list;
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
