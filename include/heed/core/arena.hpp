// Scratch memory: a bump allocator over chained blocks.
//
// A block is never moved or freed while the arena lives, so a view into the arena stays valid until its scope ends. Sized
// well when it is made, an arena allocates nothing afterwards; too small, it chains one more block and keeps it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "pages.hpp"

namespace heed::inline HEED_ABI {

class Arena {
 public:
  static constexpr std::size_t alignment = detail::line_bytes;

  /// The bytes that take<T>(n) uses up.
  template <class T>
  static constexpr std::size_t bytes_of(Index n) {
    return (static_cast<std::size_t>(n) * sizeof(T) + alignment - 1) / alignment * alignment;
  }

  Arena() = default;
  explicit Arena(std::size_t bytes) { reserve(bytes); }

  // Scratch is not part of the value: a copy is an empty arena of the same size.
  Arena(const Arena& other) { reserve(other.capacity()); }
  Arena& operator=(const Arena& other) {
    if (this != &other) {
      Arena copy(other);
      *this = std::move(copy);
    }
    return *this;
  }
  Arena(Arena&&) = default;
  Arena& operator=(Arena&&) = default;
  ~Arena() = default;

  /// n uninitialised elements, aligned to 64 bytes.
  template <class T>
  T* take(Index n) {
    static_assert(std::is_trivially_destructible_v<T>, "heed: an arena never destroys what it holds");
    const std::size_t bytes = bytes_of<T>(n);
    while (block_ < blocks_.size() && blocks_[block_].size() - used_ < bytes) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) add_block((std::max)(bytes, capacity()));
    std::byte* at = blocks_[block_].data() + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(at);
  }

  /// n value-initialised elements.
  template <class T>
  T* take_zeroed(Index n) {
    T* data = take<T>(n);
    std::uninitialized_value_construct_n(data, n);
    return data;
  }

  template <class Scalar>
  MutableView<Scalar> matrix(Index rows, Index cols) {
    return mutable_view_of(take<Scalar>(rows * cols), rows, cols, cols);
  }
  template <class Scalar>
  MutableView<Scalar> zeros(Index rows, Index cols) {
    return mutable_view_of(take_zeroed<Scalar>(rows * cols), rows, cols, cols);
  }

  /// Gives back, when it ends, whatever was taken since it began.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
    ~Scope() {
      arena_.block_ = block_;
      arena_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t block_;
    std::size_t used_;
  };

  /// Gives back everything; the blocks stay.
  void reset() { block_ = used_ = 0; }

  std::size_t blocks() const { return blocks_.size(); }
  std::size_t capacity() const {
    std::size_t sum = 0;
    for (const auto& block : blocks_) sum += block.size();
    return sum;
  }

 private:
  void reserve(std::size_t bytes) {
    if (bytes > 0) add_block(bytes);
    reset();
  }
  void add_block(std::size_t bytes) {
    blocks_.emplace_back(bytes);
    block_ = blocks_.size() - 1;
    used_ = 0;
  }

  std::vector<detail::Pages<std::byte>> blocks_;
  std::size_t block_ = 0;
  std::size_t used_ = 0;
};

}  // namespace heed::inline HEED_ABI
