// Which two features of a head turn together, and how weights go from one layout to the other.
//
//   half_split    (x_i, x_{i+r/2})         interleaved   (x_{2i}, x_{2i+1})         i = 0 .. r/2 - 1
//
// The two are one map up to a permutation of a head's first r features.
#pragma once

#include <array>
#include <string_view>
#include <utility>
#include "lanes.hpp"

namespace heed::inline HEED_ABI {

/// Which two features turn together.
enum class RotaryPairs {
  half_split,   ///< i with i + r/2: GPT-NeoX, and Llama as Hugging Face stores it
  interleaved,  ///< 2i with 2i + 1: GPT-J, and Llama as Meta stores it
};
constexpr std::array<std::pair<std::string_view, RotaryPairs>, 2> value_names(RotaryPairs) {
  return {{{"half_split", RotaryPairs::half_split}, {"interleaved", RotaryPairs::interleaved}}};
}

/// Returns W_q or W_k (or their biases, [1 x heads*E]) for the other pairs: the columns of every head are put where the
/// other layout looks for them, so that the scores stay the same.
///   w       [D x heads*E], E = head_width
///   width   r, the features that turn; 0: all
///   ShapeError unless E divides the columns, and r is even and at most E
template <class W>
Matrix<typename W::Scalar> convert_rotary_pairs(const Eigen::MatrixBase<W>& w, RotaryPairs from, RotaryPairs to,
                                                Index head_width, Index width = 0) {
  HEED_EXPECTS(ShapeError, head_width >= 1 && w.cols() % head_width == 0,
               "convert_rotary_pairs: w: expected the columns of heads of width ", head_width, ", found ", w.cols());
  if (width == 0) width = head_width;
  HEED_EXPECTS(ShapeError, width >= 0 && width <= head_width && width % 2 == 0,
               "convert_rotary_pairs: width: expected an even number up to ", head_width, ", found ", width);
  Matrix<typename W::Scalar> converted = w;
  if (from == to) return converted;
  const Index half = width / 2;
  for (Index head = 0; head < w.cols(); head += head_width)
    for (Index i = 0; i < half; ++i)
      for (const Index second : {Index(0), Index(1)}) {
        const Index split = head + i + second * half, interleaved = head + 2 * i + second;
        if (to == RotaryPairs::interleaved)
          converted.col(interleaved) = w.col(split);
        else
          converted.col(split) = w.col(interleaved);
      }
  return converted;
}

}  // namespace heed::inline HEED_ABI

namespace heed::inline HEED_ABI::detail {

enum class Direction { forth, back };

/// How the features of a row are turned.
struct RotaryLayout {
  Index head_width;  // E
  Index width;       // r
  RotaryPairs pairs;
  Direction direction;
};

/// The cosines and sines of one row's angles, [r/2] each.
template <class Scalar>
struct Turn {
  const Scalar* cosines;
  const Scalar* sines;
};

// (a, b) -> (a cos - b sin, b cos + a sin)
template <class Scalar>
void turn_pairs(Index n, Scalar* a, Scalar* b, Turn<Scalar> turn) {
  constexpr Index width = full_width<Scalar>;
  const auto turn_at = [&](Index i, auto&& load, auto&& store) {
    const auto a_i = load(a + i), b_i = load(b + i), cosine = load(turn.cosines + i), sine = load(turn.sines + i);
    store(a + i, a_i * cosine - b_i * sine);
    store(b + i, b_i * cosine + a_i * sine);
  };
  Index i = 0;
  for (; i + width <= n; i += width)
    turn_at(
        i, [](const Scalar* from) { return Lanes<Scalar>::load(from); },
        [](Scalar* to, Lanes<Scalar> lanes) { lanes.store(to); });
  if (i < n)
    turn_at(
        i, [&](const Scalar* from) { return load_first(from, n - i); },
        [&](Scalar* to, Lanes<Scalar> lanes) { store_first(to, lanes, n - i); });
}

/// Turns one head. parted [r]: room for interleaved pairs, which are parted, turned, and put back.
template <class Scalar>
void turn_head(const RotaryLayout& layout, Scalar* head, Turn<Scalar> turn, Scalar* parted) {
  const Index half = layout.width / 2;
  const bool interleaved = layout.pairs == RotaryPairs::interleaved;
  Scalar* a = interleaved ? parted : head;
  Scalar* b = a + half;
  for (Index i = 0; interleaved && i < half; ++i) {
    a[i] = head[2 * i];
    b[i] = head[2 * i + 1];
  }
  // back: (b, a) -> (b cos - a sin, a cos + b sin), the rotation by -phi of (a, b)
  if (layout.direction == Direction::forth)
    turn_pairs(half, a, b, turn);
  else
    turn_pairs(half, b, a, turn);
  for (Index i = 0; interleaved && i < half; ++i) {
    head[2 * i] = a[i];
    head[2 * i + 1] = b[i];
  }
}

}  // namespace heed::inline HEED_ABI::detail
