// Memory on huge pages, where the system has them for whoever asks: with small ones, what is timed is often the page table.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include <heed/core/matrix.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bench {

using heed::Index;

/// Zeroed and touched.
template <class T>
class HugePages {
 public:
  HugePages() = default;
  explicit HugePages(Index size) : size_(size) {
    constexpr std::size_t page = std::size_t(1) << 21;
    const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(T) + page - 1) / page * page;
    data_.reset(static_cast<T*>(std::aligned_alloc(page, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    madvise(data_.get(), bytes, MADV_HUGEPAGE);
#endif
    std::uninitialized_value_construct_n(data_.get(), size);
  }

  T* data() const {
    return data_.get();
  }
  Index size() const {
    return size_;
  }

 private:
  struct Release {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Release> data_;
  Index size_ = 0;
};

/// A matrix there, its rows one after another.
template <class Scalar>
class HugeMatrix {
 public:
  HugeMatrix() = default;
  HugeMatrix(Index rows, Index cols) : numbers_(rows * cols), rows_(rows), cols_(cols) {}

  heed::View<Scalar> view() const { return heed::view_of(data(), rows_, cols_, cols_); }
  heed::MutableView<Scalar> mutable_view() const { return heed::mutable_view_of(numbers_.data(), rows_, cols_, cols_); }
  const Scalar* data() const { return numbers_.data(); }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }

 private:
  HugePages<Scalar> numbers_;
  Index rows_ = 0;
  Index cols_ = 0;
};

}  // namespace bench
