// A tensor of weights that can be stored in 16 bits while a model answers, and is a Matrix while it learns.
//
//   arithmetic         a Matrix<Scalar>, with all that a Matrix has
//   bfloat16, half     [rows x cols] numbers of 16 bits; the Matrix is empty, its memory given back
//
// Projections, embeddings and heads keep theirs in a Weight. `linear` and `embed` widen what they read, block by block, so
// that what they compute is, to the bit, what they compute with the rounded weights.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "storage.hpp"
#include "visit.hpp"

namespace heed::inline HEED_ABI {

/// rows(), cols() and size() are those of the tensor, however it is stored; everything else of a Matrix is there for
/// Storage::arithmetic only.
template <class Scalar>
class Weight : public Matrix<Scalar> {
 public:
  Weight() = default;
  Weight(Index rows, Index cols) : Matrix<Scalar>(rows, cols) {}
  template <class Derived>
  Weight(const Eigen::DenseBase<Derived>& numbers) : Matrix<Scalar>(numbers.derived()) {}  // NOLINT: a Matrix is weights
  /// Takes the numbers, rounded if they are stored in 16 bits. (A Weight is copied with its storage.)
  template <class Derived>
  Weight& operator=(const Eigen::DenseBase<Derived>& numbers) {
    const Storage kept = storage_;
    bits_.resize(0, 0);
    storage_ = Storage::arithmetic;
    Matrix<Scalar>::operator=(numbers.derived());
    store(kept);
    return *this;
  }

  Index rows() const { return is_narrow() ? bits_.rows() : Matrix<Scalar>::rows(); }
  Index cols() const { return is_narrow() ? bits_.cols() : Matrix<Scalar>::cols(); }
  Index size() const { return rows() * cols(); }
  Storage storage() const { return storage_; }
  bool is_narrow() const { return storage_ != Storage::arithmetic; }
  /// [rows x cols] numbers as they are stored in 16 bits; rows touch. Empty for Storage::arithmetic.
  const Matrix<std::uint16_t>& bits() const { return bits_; }
  Index bytes() const { return size() * bytes_of<Scalar>(storage_); }

  using Matrix<Scalar>::setZero;
  Weight& setZero() {  // NOLINT(readability-identifier-naming): Eigen's name
    Matrix<Scalar>::setZero();
    bits_.setZero();  // zero in every storage
    return *this;
  }

  /// From now on in this storage. To 16 bits it rounds; back to Storage::arithmetic it widens, exactly, what was rounded.
  void store(Storage storage) {
    if (storage == storage_) return;
    if (is_narrow()) {
      Matrix<Scalar>::resize(bits_.rows(), bits_.cols());
      widen(storage_, bits_.data(), bits_.size(), this->data());
      bits_.resize(0, 0);
    }
    storage_ = storage;
    if (is_narrow()) {
      bits_.resize(Matrix<Scalar>::rows(), Matrix<Scalar>::cols());
      narrow(storage, static_cast<const Scalar*>(this->data()), bits_.size(), bits_.data());
      Matrix<Scalar>::resize(0, 0);
    }
  }
  /// Becomes numbers that are stored as these already are.
  void set_bits(Storage storage, Matrix<std::uint16_t> bits) {
    Matrix<Scalar>::resize(0, 0);
    bits_ = std::move(bits);
    storage_ = storage;
  }

 private:
  Matrix<std::uint16_t> bits_;  // [rows x cols], or empty
  Storage storage_ = Storage::arithmetic;
};

namespace detail {

template <class T>
inline constexpr bool is_weight = false;
template <class Scalar>
inline constexpr bool is_weight<Weight<Scalar>> = true;

}  // namespace detail

/// Every Weight among the tensors is stored so from now on; other tensors stay as they are.
template <class Params>
void store_weights(Params&& params, Storage storage) {
  visit(
      [&]([[maybe_unused]] std::string_view name, Role, auto& tensor) {
        if constexpr (detail::is_weight<std::remove_cvref_t<decltype(tensor)>>) tensor.store(storage);
      },
      params);
}

/// The bytes of all tensors.
template <class Params>
Index weight_bytes(const Params& params) {
  Index bytes = 0;
  visit(
      [&](std::string_view, Role, const auto& tensor) {
        using Tensor = std::remove_cvref_t<decltype(tensor)>;
        if constexpr (detail::is_weight<Tensor>)
          bytes += tensor.bytes();
        else
          bytes += tensor.size() * Index(sizeof(typename Tensor::Scalar));
      },
      params);
  return bytes;
}

/// ShapeError, naming the tensor, if one is stored in 16 bits: nothing is learned there.
///   what   put before the tensor's name
template <class Params>
void expects_arithmetic(std::string_view what, const Params& params) {
  visit(
      [&]([[maybe_unused]] std::string_view name, Role, const auto& tensor) {
        if constexpr (detail::is_weight<std::remove_cvref_t<decltype(tensor)>>)
          HEED_EXPECTS(ShapeError, !tensor.is_narrow(), what, name, ": expected weights in arithmetic storage, found ",
                       name_of(tensor.storage()), "; store_weights(Storage::arithmetic) widens them");
      },
      params);
}

}  // namespace heed::inline HEED_ABI
