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
        made.slope[s.lane(h, i)] = group.slopes[h];
        made.row[s.lane(h, i)] = static_cast<Scalar>(i);
      }
    return made;
  }
};

/// tile [keys x part.size()] <- tile - slope |p - j|. Distances are whole numbers, and exact.
template <class Scalar>
void add_distances(Scalar* tile, const Stacked& s, Interval part, Interval keys, const LaneSlopes<Scalar>& lanes) {
  for (Index key = keys.begin; key < keys.end; ++key, tile += part.size()) {
    const auto from_row_0 = Lanes<Scalar>::all(static_cast<Scalar>(key - s.position));
    transform(
        part.size(), tile, [&](auto z, auto slope, auto row) { return z - slope * magnitude(row - from_row_0); }, tile,
        lanes.slope + part.begin, lanes.row + part.begin);
  }
}

/// f(lane, key) for every pair of the tile, counted from its corner, that a bias hides; row 0 of the block is `row`.
template <class Scalar, class F>
void for_each_hidden(const QueryGroup<Scalar>& group, const Stacked& s, Interval part, Index row, Interval keys, F&& f) {
  for (Index lane = part.begin; lane < (std::min)(part.end, s.heads * s.rows); ++lane) {
    const ScoreBias<Scalar>& bias = group.bias[lane % s.heads];
    for (Index key = keys.begin; !bias.empty() && key < keys.end; ++key)
      if (bias.hides(row + lane / s.heads, key)) f(lane - part.begin, key - keys.begin);
  }
}

/// tile [keys x part.size()] <- tile + bias; -inf where it hides, whatever stood there.
template <class Scalar>
void add_bias(Scalar* tile, const QueryGroup<Scalar>& group, const Stacked& s, Interval part, Index row, Interval keys) {
  for (Index lane = part.begin; lane < (std::min)(part.end, s.heads * s.rows); ++lane) {
    const ScoreBias<Scalar>& bias = group.bias[lane % s.heads];
    if (bias.added == nullptr) continue;
    const Scalar* added = bias.added + (row + lane / s.heads) * bias.stride + keys.begin;
    for (Index j = 0; j < keys.size(); ++j) tile[j * part.size() + lane - part.begin] += added[j];
  }
  for_each_hidden(group, s, part, row, keys,
                  [&](Index lane, Index j) { tile[j * part.size() + lane] = -std::numeric_limits<Scalar>::infinity(); });
}

/// The tile [keys x part.size()], of the lanes in `part`, as the mask takes it. With `derivative`, of the same shape,
/// d(logit)/d(scale q . k) is written there.
template <class Scalar>
void alter_tile(Scalar* tile, const QueryGroup<Scalar>& group, const Stacked& s, Interval part, Index row, Interval keys,
                const LaneSlopes<Scalar>& lanes, Scalar* derivative = nullptr) {
  const Index n = keys.size() * part.size();
  if (group.soft_cap > 0) {
    soft_cap(tile, n, group.soft_cap);
    if (derivative != nullptr) soft_cap_derivative(derivative, tile, n, group.soft_cap);
  }
  if (group.slopes != nullptr) add_distances(tile, s, part, keys, lanes);
  if (group.bias != nullptr) add_bias(tile, group, s, part, row, keys);
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
