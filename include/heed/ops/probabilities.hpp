// The attention probabilities of one query head of one sequence, kept for layers above.
//
//   A [T x S] = softmax(mask(scale q k^T))     post-softmax: rows sum to one, or are zero where a row sees nothing
//
// Readers apply A through `attend` and look at it row by row; how it is stored is this file's affair: key-major [S x T],
// because the kernels' lanes are query rows, with the gradient laid out alike.
#pragma once

#include "../core/arena.hpp"
#include "mask.hpp"
#include "score_bias.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
class Probabilities {
 public:
  /// No rows: not kept.
  Probabilities() = default;

  /// All zero, in the arena. T new rows over S keys; `past` is the position of row 0, S - T unless the operand has offsets;
  /// `bias` is the operand's, where it has any: pairs that it hides stay zero.
  static Probabilities make(Arena& arena, Index rows, Index keys, const Mask& mask, Index past, bool with_gradient,
                            const ScoreBias<Scalar>& bias = {}) {
    Probabilities made;
    made.by_key_ = arena.take_zeroed<Scalar>(keys * rows);
    if (with_gradient) made.gradient_ = arena.take_zeroed<Scalar>(keys * rows);
    made.rows_ = rows;
    made.keys_ = keys;
    made.past_ = past;
    made.mask_ = mask;
    made.bias_ = bias;
    return made;
  }
  /// What `make` takes from the arena.
  static std::size_t bytes(Index rows, Index keys, bool with_gradient) {
    return Arena::bytes_of<Scalar>(keys * rows) * (with_gradient ? 2 : 1);
  }

  Index rows() const { return rows_; }
  Index keys() const { return keys_; }
  bool kept() const { return rows_ > 0; }
  bool has_gradient() const { return gradient_ != nullptr; }

  const Mask& mask() const { return mask_; }
  Index past() const { return past_; }
  /// The keys that the mask lets `row` see. All others are zero, and so are their gradients.
  Intervals visible(Index row) const { return mask_.visible(past_ + row, keys_); }
  /// What hides pairs beside the mask.
  const ScoreBias<Scalar>& bias() const { return bias_; }

  Scalar operator()(Index row, Index key) const { return by_key_[key * rows_ + row]; }
  Scalar gradient(Index row, Index key) const { return gradient_[key * rows_ + row]; }

  /// out [S] = row `row` of A
  void read_row(Index row, Scalar* out) const {
    for (Index key = 0; key < keys_; ++key) out[key] = (*this)(row, key);
  }
  void read_gradient_row(Index row, Scalar* out) const {
    for (Index key = 0; key < keys_; ++key) out[key] = gradient(row, key);
  }
  /// For whoever forms probabilities in another way: the visible part of `values` [S] becomes row `row`.
  void write_row(Index row, const Scalar* values) const {
    for_each_seen(row, [&](Index key) { by_key_[key * rows_ + row] = values[key]; });
  }
  void add_gradient_row(Index row, const Scalar* values) const {
    for_each_seen(row, [&](Index key) { gradient_[key * rows_ + row] += values[key]; });
  }

  /// The storage, for kernels: [S x T], its rows T apart.
  Scalar* by_key() const { return by_key_; }
  Scalar* gradient_by_key() const { return gradient_; }

 private:
  template <class F>
  void for_each_seen(Index row, F&& f) const {
    for (const Interval part : visible(row))
      for (Index key = part.begin; key < part.end; ++key)
        if (!bias_.hides(row, key)) f(key);
  }

  Scalar* by_key_ = nullptr;
  Scalar* gradient_ = nullptr;
  Index rows_ = 0;
  Index keys_ = 0;
  Index past_ = 0;
  Mask mask_ = {};
  ScoreBias<Scalar> bias_ = {};
};

}  // namespace heed::inline HEED_ABI
