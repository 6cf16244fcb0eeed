// What happens to logits between the product and the mask.
//
//   z = scale q . k     z <- cap tanh(z / cap)     z <- z - slope |p - j|     z <- z + bias_pj, -inf where hidden
//
// The cap comes first: after the others it would raise -inf to -cap. Sources: soft-cap, Gemma Team 2024 (arXiv 2408.00118),
// section 2; slopes, Press et al. 2021 (ALiBi, arXiv 2108.12409), section 3.
#pragma once

#include "attend_group.hpp"

namespace heed::inline HEED_ABI::detail {

/// z [n] <- cap tanh(z / cap)
template <class Scalar>
void soft_cap(Scalar* z, Index n, Scalar cap) {
  const auto c = Lanes<Scalar>::all(cap);
  transform(
      n, z, [&](auto x) { return c * hyperbolic_tangent(x / c); }, z);
}

/// y = cap tanh(z / cap)   =>   dy/dz = 1 - (y / cap)^2, written to `derivative` [n]
template <class Scalar>
void soft_cap_derivative(Scalar* derivative, const Scalar* y, Index n, Scalar cap) {
  const auto c = Lanes<Scalar>::all(cap);
  transform(
      n, derivative,
      [&](auto x) {
        const auto t = x / c;
        return Scalar(1) - t * t;
      },
      y);
}

/// The slope and the row of every lane, for add_distances.
template <class Scalar>
struct LaneSlopes {
  Scalar* slope = nullptr;  // [lanes]
  Scalar* row = nullptr;    // [lanes], from 0 in each head

  static LaneSlopes make(const QueryGroup<Scalar>& group, const Stacked& s, Arena& scratch) {
    if (group.slopes == nullptr) return {};
    LaneSlopes made{scratch.take_zeroed<Scalar>(s.lanes), scratch.take_zeroed<Scalar>(s.lanes)};
    for (Index h = 0; h < s.heads; ++h)
      for (Index i = 0; i < s.rows; ++i) {
        made.slope[h * s.rows + i] = group.slopes[h];
        made.row[h * s.rows + i] = static_cast<Scalar>(i);
      }
    return made;
  }
};

/// tile [keys x lanes] <- tile - slope |p - j|. Distances are whole numbers, and exact.
template <class Scalar>
void add_distances(Scalar* tile, const Stacked& s, Interval keys, const LaneSlopes<Scalar>& lanes) {
  for (Index key = keys.begin; key < keys.end; ++key, tile += s.lanes) {
    const auto from_row_0 = Lanes<Scalar>::all(static_cast<Scalar>(key - s.position));
    transform(
        s.lanes, tile, [&](auto z, auto slope, auto row) { return z - slope * magnitude(row - from_row_0); }, tile,
        lanes.slope, lanes.row);
  }
}

/// f(lane, row, key) for every pair of head h that its bias hides in the tile [keys x lanes]; row 0 of the block is `row`.
template <class Scalar, class F>
void for_each_hidden(const ScoreBias<Scalar>& bias, Index h, const Stacked& s, Index row, Interval keys, F&& f) {
  if (bias.empty()) return;
  for (Index i = 0; i < s.rows; ++i)
    for (Index key = keys.begin; key < keys.end; ++key)
      if (bias.hides(row + i, key)) f(h * s.rows + i, key - keys.begin);
}

/// tile [keys x lanes] <- tile + bias; -inf where it hides, whatever stood there.
template <class Scalar>
void add_bias(Scalar* tile, const QueryGroup<Scalar>& group, const Stacked& s, Index row, Interval keys) {
  for (Index h = 0; h < s.heads; ++h) {
    const ScoreBias<Scalar>& bias = group.bias[h];
    Scalar* of_head = tile + h * s.rows;
    if (bias.added != nullptr)
      for (Index i = 0; i < s.rows; ++i) {
        const Scalar* added = bias.added + (row + i) * bias.stride + keys.begin;
        for (Index j = 0; j < keys.size(); ++j) of_head[j * s.lanes + i] += added[j];
      }
    for_each_hidden(bias, h, s, row, keys,
                    [&](Index lane, Index j) { tile[j * s.lanes + lane] = -std::numeric_limits<Scalar>::infinity(); });
  }
}

/// The tile [keys x lanes] as the mask takes it. With `derivative` [keys x lanes], d(logit)/d(scale q . k) is written
/// there.
template <class Scalar>
void alter_tile(Scalar* tile, const QueryGroup<Scalar>& group, const Stacked& s, Index row, Interval keys,
                const LaneSlopes<Scalar>& lanes, Scalar* derivative = nullptr) {
  const Index n = keys.size() * s.lanes;
  if (group.soft_cap > 0) {
    soft_cap(tile, n, group.soft_cap);
    if (derivative != nullptr) soft_cap_derivative(derivative, tile, n, group.soft_cap);
  }
  if (group.slopes != nullptr) add_distances(tile, s, keys, lanes);
  if (group.bias != nullptr) add_bias(tile, group, s, row, keys);
}

/// The same of row `row` of head h alone: z [keys], and distance [keys] = |p - j| where there are slopes.
template <class Scalar>
void alter_row(Scalar* z, const QueryGroup<Scalar>& group, Index h, Index row, Interval keys, const Scalar* distance) {
  if (group.soft_cap > 0) soft_cap(z, keys.size(), group.soft_cap);
  if (group.slopes != nullptr) {
    const auto slope = Lanes<Scalar>::all(group.slopes[h]);
    transform(
        keys.size(), z, [&](auto x, auto d) { return x - slope * d; }, z, distance);
  }
  if (group.bias == nullptr) return;
  const ScoreBias<Scalar>& bias = group.bias[h];
  if (bias.added != nullptr)
    transform(
        keys.size(), z, [](auto x, auto b) { return x + b; }, z, bias.added + row * bias.stride + keys.begin);
  if (bias.empty()) return;
  for (Index key = keys.begin; key < keys.end; ++key)
    if (bias.hides(row, key)) z[key - keys.begin] = -std::numeric_limits<Scalar>::infinity();
}

}  // namespace heed::inline HEED_ABI::detail
