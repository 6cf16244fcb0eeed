// Rotary positions (RoPE): every head's features turn in pairs by an angle that grows with the position.
//
//   a' = m (a cos(phi_i) - b sin(phi_i)),   b' = m (b cos(phi_i) + a sin(phi_i)),   phi_i = p f_i,   i = 0 .. r/2 - 1
//
//   half_split    a = x_i, b = x_{i+r/2}           interleaved   a = x_{2i}, b = x_{2i+1}
//
// r of a head's E features turn, the first ones; the rest passes through. The frequencies f_i and the magnitude m (1, but
// for YaRN and LongRoPE) are those of rotary_scaling.hpp.
//
// Angles are formed in double, so that late positions keep their digits, and once a row: the heads share them.
// Source: Su et al. 2021 (arXiv 2104.09864), eq. 15 and 34.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "../core/sequences.hpp"
#include "rotary_pairs.hpp"
#include "rotary_scaling.hpp"
#include "row_blocks.hpp"
#include "sine_cosine.hpp"

namespace heed::inline HEED_ABI {

struct Rotary {
  static constexpr std::string_view name = "rotary";

  double theta = 10000;  // the base of the frequencies
  Index width = 0;       // r: features of a head that turn, the first ones; 0: all
  RotaryPairs pairs = RotaryPairs::half_split;
  RotaryScaling scaling = {};

  template <class F, class C>
  static void fields(F&& f, C& rotary) {
    f("theta", rotary.theta);
    f("width", rotary.width);
    f("pairs", rotary.pairs);
    f("scaling", rotary.scaling);
  }
};

/// Cosines and sines that were formed elsewhere, a row for each position.
template <class Scalar>
struct RotaryTable {
  View<Scalar> cosines;  // [positions x r/2]
  View<Scalar> sines;    // [positions x r/2]
  RotaryPairs pairs = RotaryPairs::half_split;
};

/// ConfigError, beginning with `layer`, unless the heads of width E can turn so.
inline void check_rotary(const Rotary& rotary, Index head_width, std::string_view layer) {
  if (rotary.width == 0)
    HEED_EXPECTS(ConfigError, head_width % 2 == 0, layer, ": head_width: expected an even number (rotary pairs), found ",
                 head_width);
  HEED_EXPECTS(ConfigError, rotary.width >= 0 && rotary.width % 2 == 0 && rotary.width <= head_width, layer,
               ": rotary: width: expected an even number from 0 to the head width ", head_width, ", found ", rotary.width);
  detail::ScalingOption{layer, "theta"}.expects_positive(rotary.theta);
  const Index width = rotary.width == 0 ? head_width : rotary.width;
  std::visit([&](const auto& scaling) { detail::check_scaling(scaling, rotary.theta, width, layer); }, rotary.scaling);
}

namespace detail {

inline Index rotary_width(const Rotary& rotary, Index head_width) {
  return rotary.width == 0 ? head_width : rotary.width;
}

/// f [r/2] is assigned; returns m.
inline double inverse_frequencies_into(const Rotary& rotary, Index head_width, double* f) {
  const Index width = rotary_width(rotary, head_width);
  for (Index i = 0; i < width / 2; ++i)
    f[i] = std::pow(rotary.theta, -2 * static_cast<double>(i) / static_cast<double>(width));
  return std::visit([&](const auto& scaling) { return scale_frequencies(scaling, rotary.theta, width, f); },
                    rotary.scaling);
}

}  // namespace detail

struct RotaryFrequencies {
  std::vector<double> inverse;  // f_i [r/2], radians a position
  double magnitude;             // m
};

/// The frequencies of heads of width E, and the magnitude of the turned rows.
inline RotaryFrequencies inverse_frequencies(const Rotary& rotary, Index head_width) {
  check_rotary(rotary, head_width, "inverse_frequencies");
  std::vector<double> inverse(static_cast<std::size_t>(detail::rotary_width(rotary, head_width) / 2));
  const double magnitude = detail::inverse_frequencies_into(rotary, head_width, inverse.data());
  return {std::move(inverse), magnitude};
}

namespace detail {

/// The turns of positions, by their angles.
template <class Scalar>
class Angles {
 public:
  Angles(const Rotary& rotary, Index head_width, Arena& scratch)
      : half_(rotary_width(rotary, head_width) / 2),
        padded_((half_ + lanes - 1) / lanes * lanes),
        frequencies_(scratch.take_zeroed<double>(padded_)),
        in_double_(scratch.take<double>(2 * padded_)),
        cosines_(scratch.take<Scalar>(half_)),
        sines_(scratch.take<Scalar>(half_)),
        magnitude_(inverse_frequencies_into(rotary, head_width, frequencies_)) {
    for (Index i = 0; i < half_; ++i) fastest_ = (std::max)(fastest_, frequencies_[i]);
  }

  Turn<Scalar> at(Index position) {
    const double p = static_cast<double>(position);
    if (std::abs(p) * fastest_ <= largest_angle)
      for (Index i = 0; i < half_; i += lanes) {
        const SineCosine both = sine_and_cosine(p * Lanes<double>::load(frequencies_ + i));
        both.cosine.store(in_double_ + i);
        both.sine.store(in_double_ + padded_ + i);
      }
    else
      for (Index i = 0; i < half_; ++i) {
        in_double_[i] = std::cos(p * frequencies_[i]);
        in_double_[padded_ + i] = std::sin(p * frequencies_[i]);
      }
    for (Index i = 0; i < half_; ++i) {
      cosines_[i] = static_cast<Scalar>(magnitude_ * in_double_[i]);
      sines_[i] = static_cast<Scalar>(magnitude_ * in_double_[padded_ + i]);
    }
    return {cosines_, sines_};
  }

 private:
  static constexpr Index lanes = full_width<double>;
  Index half_;
  Index padded_;
  double* frequencies_;  // [r/2], then zeros
  double* in_double_;    // cosines, then sines
  Scalar* cosines_;
  Scalar* sines_;
  double magnitude_;
  double fastest_ = 0;
};

/// The positions of packed rows; asked for in order.
struct PackedPositions {
  Division rows;
  std::span<const Index> past;
  Index sequence = 0;

  Index operator()(Index t) {
    while (t >= rows.begin(sequence) + rows.rows(sequence)) ++sequence;
    return past[static_cast<std::size_t>(sequence)] + t - rows.begin(sequence);
  }
};

/// Turns every row t of x by turns(scratch)(t).
template <class Scalar, class Turns>
void turn_rows(const RotaryLayout& layout, MutableView<Scalar> x, Workers& workers, Turns&& turns) {
  const Index heads = layout.head_width > 0 && layout.width > 0 ? x.cols() / layout.head_width : 0;
  const RowBlocks blocks(heads > 0 ? x.rows() : 0, x.cols());
  workers.run(blocks.size(), [&](Index block, Arena& scratch) {
    Scalar* parted = scratch.take<Scalar>(layout.width);
    auto turn_of = turns(scratch);
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t) {
      const Turn<Scalar> turn = turn_of(t);
      for (Index head = 0; head < heads; ++head) turn_head(layout, row_of(x, t) + head * layout.head_width, turn, parted);
    }
  });
}

template <class Scalar, class PositionOf>
void turn_rows(const Rotary& rotary, Index head_width, Direction direction, MutableView<Scalar> x, Workers& workers,
               const PositionOf& position_of) {
  const RotaryLayout layout{head_width, rotary_width(rotary, head_width), rotary.pairs, direction};
  turn_rows(layout, x, workers, [&](Arena& scratch) {
    return [angles = Angles<Scalar>(rotary, head_width, scratch), position = position_of](Index t) mutable {
      return angles.at(position(t));
    };
  });
}

template <class Scalar>
void turn_rows(const RotaryTable<Scalar>& table, std::span<const Index> positions, Index head_width, Direction direction,
               MutableView<Scalar> x, Workers& workers) {
  const RotaryLayout layout{head_width, 2 * table.cosines.cols(), table.pairs, direction};
  turn_rows(layout, x, workers, [&](Arena&) {
    return [&](Index t) {
      const Index position = positions[static_cast<std::size_t>(t)];
      return Turn<Scalar>{row_of(table.cosines, position), row_of(table.sines, position)};
    };
  });
}

}  // namespace detail

/// Turns x in place: row i of sequence b is at position past[b] + i.
///   x   [T x heads*E], E = head_width, for which check_rotary holds
template <class X>
void apply_rotary(const Rotary& rotary, Division rows, std::span<const Index> past, Index head_width,
                  const Eigen::MatrixBase<X>& x, Workers& workers) {
  HEED_DEBUG_CHECK(detail::rotary_width(rotary, head_width) % 2 == 0 && x.rows() == rows.rows());
  detail::turn_rows(rotary, head_width, detail::Direction::forth, mutable_view_of(x), workers,
                    detail::PackedPositions{rows, past});
}

/// Turns the gradient d_x in place, back by the same angles.
template <class DX>
void apply_rotary_backward(const Rotary& rotary, Division rows, std::span<const Index> past, Index head_width,
                           const Eigen::MatrixBase<DX>& d_x, Workers& workers) {
  HEED_DEBUG_CHECK(detail::rotary_width(rotary, head_width) % 2 == 0 && d_x.rows() == rows.rows());
  // x' = m R(phi) x   =>   d_x = m R(-phi) d_x': the transpose of a rotation is the rotation back
  detail::turn_rows(rotary, head_width, detail::Direction::back, mutable_view_of(d_x), workers,
                    detail::PackedPositions{rows, past});
}

namespace detail {

template <class X>
void check_turn(const Eigen::MatrixBase<X>& x, std::span<const Index> positions, Index head_width) {
  HEED_EXPECTS(ShapeError, head_width >= 1 && x.cols() % head_width == 0,
               "rotary: x: expected the columns of heads of width ", head_width, ", found ", x.cols());
  HEED_EXPECTS(ShapeError, positions.size() == static_cast<std::size_t>(x.rows()),
               "rotary: positions: expected one for each of ", x.rows(), " rows, found ", positions.size());
}

template <class Scalar>
void check_table(const RotaryTable<Scalar>& table, std::span<const Index> positions, Index head_width) {
  const Index rows = table.cosines.rows(), pairs = table.cosines.cols();
  expects_shape("rotary: sines", table.sines, rows, pairs);
  HEED_EXPECTS(ShapeError, 2 * pairs <= head_width, "rotary: cosines: expected at most ", head_width / 2,
               " columns for heads of width ", head_width, ", found ", pairs);
  for (const Index position : positions)
    HEED_EXPECTS(ShapeError, position >= 0 && position < rows, "rotary: positions: expected 0 to ", rows - 1, ", found ",
                 position);
}

}  // namespace detail

/// Turns x in place, row t to positions[t], whichever they are.
///   x   [T x heads*E], E = head_width
///   ShapeError unless the shapes are these; ConfigError unless check_rotary holds
template <class X>
void apply_rotary(const Rotary& rotary, std::span<const Index> positions, Index head_width, const Eigen::MatrixBase<X>& x,
                  Workers& workers) {
  detail::check_turn(x, positions, head_width);
  check_rotary(rotary, head_width, "apply_rotary");
  detail::turn_rows(rotary, head_width, detail::Direction::forth, mutable_view_of(x), workers,
                    [positions](Index t) { return positions[static_cast<std::size_t>(t)]; });
}

/// Turns the gradient d_x in place, back by the same angles.
template <class DX>
void apply_rotary_backward(const Rotary& rotary, std::span<const Index> positions, Index head_width,
                           const Eigen::MatrixBase<DX>& d_x, Workers& workers) {
  detail::check_turn(d_x, positions, head_width);
  check_rotary(rotary, head_width, "apply_rotary_backward");
  // x' = m R(phi) x   =>   d_x = m R(-phi) d_x'
  detail::turn_rows(rotary, head_width, detail::Direction::back, mutable_view_of(d_x), workers,
                    [positions](Index t) { return positions[static_cast<std::size_t>(t)]; });
}

/// Turns x in place, row t by row positions[t] of the table.
///   x   [T x heads*E], E = head_width
///   ShapeError unless the shapes are these and the table has the positions
template <class X>
void apply_rotary(const RotaryTable<typename X::Scalar>& table, std::span<const Index> positions, Index head_width,
                  const Eigen::MatrixBase<X>& x, Workers& workers) {
  detail::check_turn(x, positions, head_width);
  detail::check_table(table, positions, head_width);
  detail::turn_rows(table, positions, head_width, detail::Direction::forth, mutable_view_of(x), workers);
}

/// Turns the gradient d_x in place: the transpose.
template <class DX>
void apply_rotary_backward(const RotaryTable<typename DX::Scalar>& table, std::span<const Index> positions,
                           Index head_width, const Eigen::MatrixBase<DX>& d_x, Workers& workers) {
  detail::check_turn(d_x, positions, head_width);
  detail::check_table(table, positions, head_width);
  // (a', b') = (a cos - b sin, b cos + a sin)   =>   (d_a, d_b) = (d_a' cos + d_b' sin, d_b' cos - d_a' sin)
  detail::turn_rows(table, positions, head_width, detail::Direction::back, mutable_view_of(d_x), workers);
}

/// Returns x with row t turned to positions[t].
///   x [T x heads*E], E = head_width, of float or double
///   ShapeError, ConfigError as above
template <class X>
Matrix<typename X::Scalar> rotate(const Eigen::MatrixBase<X>& x, std::span<const Index> positions, Index head_width,
                                  const Rotary& rotary = {}) {
  Matrix<typename X::Scalar> turned = x;
  Workers workers;
  apply_rotary(rotary, positions, head_width, turned, workers);
  return turned;
}

}  // namespace heed::inline HEED_ABI
