// Matrices on huge pages, where the system has them: with small ones, what is timed is often the page table.
#pragma once

#include <algorithm>

#include <heed/core/pages.hpp>

namespace bench {

using heed::Index;

/// Numbers there, from zero on.
template <class Scalar>
heed::detail::Pages<Scalar> huge_zeros(Index size) {
  heed::detail::Pages<Scalar> made(static_cast<std::size_t>(size));
  std::fill_n(made.data(), size, Scalar(0));
  return made;
}

/// A matrix there, its rows one after another.
template <class Scalar>
class HugeMatrix {
 public:
  HugeMatrix() = default;
  HugeMatrix(Index rows, Index cols) : numbers_(huge_zeros<Scalar>(rows * cols)), rows_(rows), cols_(cols) {}

  heed::View<Scalar> view() const { return heed::view_of(data(), rows_, cols_, cols_); }
  /// Like an output argument of Eigen: of a const matrix too.
  heed::MutableView<Scalar> mutable_view() const { return heed::mutable_view_of(numbers_.data(), rows_, cols_, cols_); }
  const Scalar* data() const { return numbers_.data(); }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }

 private:
  mutable heed::detail::Pages<Scalar> numbers_;
  Index rows_ = 0;
  Index cols_ = 0;
};

}  // namespace bench
