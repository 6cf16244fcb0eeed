// Rotary positions (RoPE), half-split: every head's features turn in pairs (i, i + E/2) by an angle that grows with the
// position.
//
//   x'_i = x_i cos(phi) - x_{i+E/2} sin(phi),   x'_{i+E/2} = x_{i+E/2} cos(phi) + x_i sin(phi),   phi = p theta^(-2i/E)
//
// Angles are formed in double, so that late positions keep their digits, and once a row: the heads share them.
// Source: Su et al. 2021 (arXiv 2104.09864), eq. 15 and 34, with the pairs of GPT-NeoX and Llama.
#pragma once

#include <cmath>
#include <span>

#include "../core/sequences.hpp"
#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

struct Rotary {
  double theta = 10000;  // the base of the frequencies
};

namespace detail {

struct SineCosine {
  Lanes<double> sine;
  Lanes<double> cosine;
};

/// Both to 2 eps, for |x| < 10^6. The polynomials and the three parts of pi/2 are those of fdlibm.
inline SineCosine sine_and_cosine(Lanes<double> x) {
  using namespace Eigen::internal;
  using Packet = Lanes<double>::Packet;
  const auto all = [](double value) { return Lanes<double>::all(value); };
  const auto nearest = [](Lanes<double> v) { return Lanes<double>{print(v.raw)}; };
  // x = n pi/2 + r; the parts have 33 bits each, so n times a part is exact
  const Lanes<double> n = nearest(x * all(6.36619772367581382433e-01));
  const Lanes<double> r = ((x - n * all(1.57079632673412561417e+00)) - n * all(6.07710050630396597660e-11)) -
                          n * all(2.02226624879595063154e-21);
  const Lanes<double> z = r * r;
  const auto horner = [&](auto... coefficients) {
    Lanes<double> sum = all(0);
    ((sum = multiply_add(sum, z, all(coefficients))), ...);
    return sum;
  };
  const Lanes<double> sine =
      multiply_add(r * z,
                   horner(1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
                          -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01),
                   r);
  const Lanes<double> cosine =
      multiply_add(z * z,
                   horner(-1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
                          2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02),
                   multiply_add(z, all(-0.5), all(1)));
  // the quadrant n mod 4 says which of the two, and with which sign
  const Lanes<double> quadrant = n - all(4) * nearest(multiply_add(n, all(0.25), all(-0.375)));
  const auto is = [&](double q) { return pcmp_eq(quadrant.raw, all(q).raw); };
  const auto choose = [](Packet mask, Lanes<double> yes, Lanes<double> no) {
    return Lanes<double>{pselect(mask, yes.raw, no.raw)};
  };
  const Packet odd = por(is(1), is(3));
  const Lanes<double> sine_of_x = choose(odd, cosine, sine), cosine_of_x = choose(odd, sine, cosine);
  return {choose(por(is(2), is(3)), all(0) - sine_of_x, sine_of_x),
          choose(por(is(1), is(2)), all(0) - cosine_of_x, cosine_of_x)};
}

/// The cosines and sines of one row's angles.
template <class Scalar>
struct Turn {
  Scalar* cosines;
  Scalar* sines;
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

/// Turns every row by direction times its angles.
template <class Scalar>
void turn_rows(const Rotary& rotary, Division rows, std::span<const Index> past, Index head_width, double direction,
               MutableView<Scalar> x, Workers& workers) {
  constexpr Index width = full_width<double>;
  if (head_width == 0) return;
  const Index half = head_width / 2;
  const Index padded = (half + width - 1) / width * width;
  const Index heads = x.cols() / head_width;
  const RowBlocks blocks(heads > 0 ? x.rows() : 0, x.cols());
  workers.run(blocks.size(), [&](Index block, Arena& scratch) {
    double* frequencies = scratch.take_zeroed<double>(padded);
    double* angles = scratch.take<double>(2 * padded);  // cosines, then sines
    const Turn<Scalar> turn{scratch.take<Scalar>(half), scratch.take<Scalar>(half)};
    for (Index i = 0; i < half; ++i)
      frequencies[i] = std::pow(rotary.theta, -2 * static_cast<double>(i) / static_cast<double>(head_width));
    Index sequence = 0;
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t) {
      while (t >= rows.begin(sequence) + rows.rows(sequence)) ++sequence;
      const Index position = past[static_cast<std::size_t>(sequence)] + t - rows.begin(sequence);
      const Lanes<double> p = Lanes<double>::all(static_cast<double>(position));
      for (Index i = 0; i < half; i += width) {
        const SineCosine both = sine_and_cosine(p * Lanes<double>::load(frequencies + i));
        both.cosine.store(angles + i);
        both.sine.store(angles + padded + i);
      }
      for (Index i = 0; i < half; ++i) {
        turn.cosines[i] = static_cast<Scalar>(angles[i]);
        turn.sines[i] = static_cast<Scalar>(direction * angles[padded + i]);
      }
      for (Index head = 0; head < heads; ++head) {
        Scalar* row = row_of(x, t) + head * head_width;
        turn_pairs(half, row, row + half, turn);
      }
    }
  });
}

}  // namespace detail

/// Turns x in place: row i of sequence b is at position past[b] + i.
///   x   [T x heads*E], E = head_width, even
template <class X>
void apply_rotary(const Rotary& rotary, Division rows, std::span<const Index> past, Index head_width,
                  const Eigen::MatrixBase<X>& x, Workers& workers) {
  HEED_DEBUG_CHECK(head_width % 2 == 0 && x.rows() == rows.rows());
  detail::turn_rows(rotary, rows, past, head_width, +1.0, mutable_view_of(x), workers);
}

/// Turns the gradient d_x in place, back by the same angles: the transpose of a rotation is the rotation back.
template <class DX>
void apply_rotary_backward(const Rotary& rotary, Division rows, std::span<const Index> past, Index head_width,
                           const Eigen::MatrixBase<DX>& d_x, Workers& workers) {
  HEED_DEBUG_CHECK(head_width % 2 == 0 && d_x.rows() == rows.rows());
  // x' = R(phi) x   =>   d_x = R(-phi) d_x'
  detail::turn_rows(rotary, rows, past, head_width, -1.0, mutable_view_of(d_x), workers);
}

}  // namespace heed::inline HEED_ABI
