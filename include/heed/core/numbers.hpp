// Numbers and flags of a caller, seen and not owned, whose scalar is known when a call is made: what options hold.
#pragma once

#include <span>
#include <type_traits>
#include <vector>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// A matrix or a list of float or double; or nothing.
class Numbers {
 public:
  Numbers() = default;
  template <class Derived>
  Numbers(const Eigen::MatrixBase<Derived>& matrix) {  // NOLINT: options take matrices as they are
    if constexpr (bool(Derived::IsVectorAtCompileTime)) {
      HEED_DEBUG_CHECK(matrix.derived().innerStride() == 1);
      set(matrix.derived().data(), 1, matrix.size(), matrix.size());
    } else {
      const auto view = view_of(matrix);
      set(view.data(), view.rows(), view.cols(), view.outerStride());
    }
  }
  template <class Scalar>
  Numbers(std::span<const Scalar> list) {  // NOLINT
    set(list.data(), 1, static_cast<Index>(list.size()), static_cast<Index>(list.size()));
  }
  template <class Scalar>
  Numbers(const std::vector<Scalar>& list) : Numbers(std::span<const Scalar>(list)) {}  // NOLINT
  // Options may outlive the expression that makes them.
  template <class Scalar>
  Numbers(std::vector<Scalar>&&) = delete;
  template <class Derived>
  Numbers(Eigen::PlainObjectBase<Derived>&&) = delete;

  bool given() const { return given_; }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }
  Index stride() const { return stride_; }

  template <class Scalar>
  const Scalar* data() const {
    if constexpr (std::is_same_v<Scalar, float>)
      return float_;
    else
      return double_;
  }
  /// Whether they are of this scalar.
  template <class Scalar>
  bool are() const {
    return !given_ || size() == 0 || data<Scalar>() != nullptr;
  }
  /// Number i of the first row, in any scalar.
  double at(Index i) const { return float_ != nullptr ? static_cast<double>(float_[i]) : double_[i]; }

 private:
  template <class Scalar>
  void set(const Scalar* data, Index rows, Index cols, Index stride) {
    static_assert(std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>,
                  "heed: numbers of options are float or double");
    given_ = true;
    rows_ = rows, cols_ = cols, stride_ = stride;
    if constexpr (std::is_same_v<Scalar, float>)
      float_ = data;
    else
      double_ = data;
  }

  const float* float_ = nullptr;
  const double* double_ = nullptr;
  bool given_ = false;
  Index rows_ = 0;
  Index cols_ = 0;
  Index stride_ = 0;
};

/// A matrix of bool; or nothing.
class Flags {
 public:
  Flags() = default;
  template <class Derived>
  Flags(const Eigen::MatrixBase<Derived>& matrix) {  // NOLINT
    static_assert(std::is_same_v<typename Derived::Scalar, bool>, "heed: flags are bool");
    const auto view = view_of(matrix);
    data_ = view.data();
    given_ = true;
    rows_ = view.rows(), cols_ = view.cols(), stride_ = view.outerStride();
  }
  template <class Derived>
  Flags(Eigen::PlainObjectBase<Derived>&&) = delete;

  bool given() const { return given_; }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index stride() const { return stride_; }
  const bool* data() const { return data_; }

 private:
  const bool* data_ = nullptr;
  bool given_ = false;
  Index rows_ = 0;
  Index cols_ = 0;
  Index stride_ = 0;
};

}  // namespace heed::inline HEED_ABI
