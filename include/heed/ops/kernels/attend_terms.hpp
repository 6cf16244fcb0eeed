// Attention over one block of query rows whose products are formed of bf16 terms, in tiles.
//
//   S^T [keys x lanes] = K Q^T          left operand K, right operand Q
//   O^T [E_v x lanes] += V^T P^T        left operand V^T, right operand P: S^T after its softmax, rounded to terms
//
// As in attend_tiles.hpp lanes are query rows, so maxima and sums need no horizontal reductions. K and V^T are packed once
// for each kv head, in panels of 32 keys, and shared by all its blocks; Q and P are packed by the block.
//
//   operand    [terms][pairs of 16 rows or columns][steps of 32]     tiles of 1 KiB
#pragma once

#include <algorithm>
#include <limits>

#include "../precision.hpp"
#include "../tiles.hpp"
#include "attend_tiles.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr Index panel_keys = 32;
inline constexpr Index term_tile_panels = 4;  // keys of one softmax: S^T and P of a block stay in the nearer caches
inline constexpr Index term_block_lanes = 64;
inline constexpr Index term_rows = 16;  // fewer query rows would leave most of a tile idle

/// Whether a group's products are formed of terms.
template <class Scalar>
constexpr bool in_terms(Precision precision, Index stacked_rows) {
  return std::is_same_v<Scalar, float> && precision != Precision::full && stacked_rows >= term_rows;
}

/// n numbers in steps or pairs of tiles: 32 each.
constexpr Index in_steps(Index n) {
  return (n + tile_columns - 1) / tile_columns;
}

/// How the operands of a call are laid out.
struct TermShape {
  int terms;
  Index steps;    // of E
  Index v_tiles;  // of 16 rows of V^T; even

  TermShape(int of_terms, Index width, Index value_width)
      : terms(of_terms), steps(in_steps(width)), v_tiles(2 * in_steps(value_width)) {}
  Index k_panel() const { return terms * 2 * steps; }  // tiles
  Index v_panel() const { return terms * v_tiles; }
  Index values() const { return v_tiles * tile_rows; }  // E_v, padded
};

/// K and V of one kv head.
struct PackedRows {
  PairTile* k;   // per panel [terms][2][steps]
  PairTile* v;   // per panel [terms][v_tiles]
  bool* finite;  // per panel: no NaN and no infinity among the terms of V
};

/// Asks for a row before its turn: where other heads' columns lie between, every row is in a page of its own, and no
/// prefetcher of the processor goes from page to page.
EIGEN_ALWAYS_INLINE void ask_for_row_of(const HeadRows<float>& x, Index row) {
  if (x.storage == Storage::arithmetic && row < x.rows) ask_for_row(x.data + row * x.stride, x.width);
}

/// Panels [panels] of the group's rows.
inline void pack_panels(const QueryGroup<float>& group, const TermShape& shape, Interval panels, PackedRows packed,
                        Arena& scratch) {
  float* k_buffer = take_buffer(group.k, scratch);
  float* v_buffer = take_buffer(group.v, scratch);
  for (Index panel = panels.begin; panel < panels.end; ++panel) {
    const Interval keys = Interval{panel * panel_keys, (panel + 1) * panel_keys}.cut(0, group.k.rows);
    const Index rows = keys.size();
    const auto k = rows_in(group.k, keys, k_buffer);
    PairTile* to = packed.k + panel * shape.k_panel();
    for (Index half = 0; half < 2; ++half)
      fill_along(
          to + half * shape.steps, 2 * shape.steps, shape.terms,
          [&](Index i) {
            const Index key = half * tile_rows + i;
            ask_for_row_of(group.k, keys.begin + key + panel_keys);
            ask_for_row_of(group.v, keys.begin + key);
            return key < rows ? k.data + key * k.row : nullptr;
          },
          group.k.width, 1.0f);

    const auto v = rows_in(group.v, keys, v_buffer);
    fill_across_transposed(packed.v + panel * shape.v_panel(), shape.v_tiles, shape.terms, shape.v_tiles, v.data, v.row,
                           rows, group.v.width);
    // What rounds to infinity in bf16 becomes it here too.
    float zero = 0;
    for (Index key = 0; key < rows; ++key)
      zero += sum_over(
          group.v.width, [](auto x) { return 0.0f * (1.0078125f * x); }, v.data + key * v.row);
    packed.finite[panel] = zero == 0.0f;
  }
}

/// Tiles of an operand of a product: two for each term and step.
struct TermTiles {
  const PairTile* first;
  Index term;    // from a term to the next
  Index beside;  // from one of the two to the other
  Index step;

  const PairTile* at(Index of_term, Index of_step) const { return first + of_term * term + of_step * step; }
};

/// c [32 x 32] += a b over so many steps, of the products a_i b_j of terms i + j < terms. Each takes one operand over from
/// the product before it.
template <int terms, class Tiles>
void accumulate_terms(Tiles& tiles, TermTiles a, TermTiles b, Index steps) {
  for (Index step = 0; step < steps; ++step) {
    const auto left = [&](Index term) { tiles.left(a.at(term, step), a.at(term, step) + a.beside); };
    const auto right = [&](Index term) { tiles.right(b.at(term, step), b.at(term, step) + b.beside); };
    if constexpr (terms == 3) {
      left(0), right(2), tiles.dot();
      right(1), tiles.dot();
      left(1), tiles.dot();
      right(0), tiles.dot();
      left(2), tiles.dot();
      left(0), tiles.dot();
    } else if constexpr (terms == 2) {
      left(0), right(1), tiles.dot();
      right(0), tiles.dot();
      left(1), tiles.dot();
    } else {
      left(0), right(0), tiles.dot();
    }
  }
}
template <class Tiles>
void accumulate_terms(Tiles& tiles, int terms, TermTiles a, TermTiles b, Index steps) {
  if (terms == 1) accumulate_terms<1>(tiles, a, b, steps);
  if (terms == 2) accumulate_terms<2>(tiles, a, b, steps);
  if (terms == 3) accumulate_terms<3>(tiles, a, b, steps);
}

/// A block's part of a tile of keys, and what its products need.
struct TermBlock {
  TermShape shape;
  Stacked s;    // lanes: whole pairs of tiles
  PairTile* q;  // [terms][lane tiles][steps]
  float* tile;  // [keys x lanes] S^T
  PairTile* p;  // [terms][panels of a tile][lane tiles]
  float* o;     // [E_v x lanes], E_v padded

  Index lane_tiles() const { return s.lanes / tile_rows; }
  Index p_term() const { return term_tile_panels * lane_tiles(); }
};

/// f(left, right) for every pair of pairs of tiles. A right operand of up to 24 KiB stays in the first cache, and what is
/// on the left comes once, from the second; of a larger one a part stays, and what is on the left comes for every part.
template <class F>
void for_each_pair(Index left_pairs, Index right_pairs, Index right_tiles, F&& f) {
  if (right_tiles <= 24)
    for (Index left = 0; left < left_pairs; ++left)
      for (Index right = 0; right < right_pairs; ++right) f(left, right);
  else
    for (Index right = 0; right < right_pairs; ++right)
      for (Index left = 0; left < left_pairs; ++left) f(left, right);
}

/// tile [keys x lanes] = K Q^T of `panels`
template <class Tiles>
void score_panels(Tiles& tiles, const TermBlock& block, const PackedRows& packed, Interval panels) {
  const Index steps = block.shape.steps, lanes = block.s.lanes, q_term = block.lane_tiles() * steps;
  const PairTile* k = packed.k + panels.begin * block.shape.k_panel();
  for_each_pair(panels.size(), lanes / tile_columns, block.shape.terms * q_term, [&](Index panel, Index pair) {
    tiles.zero();
    accumulate_terms(tiles, block.shape.terms, TermTiles{k + panel * block.shape.k_panel(), 2 * steps, steps, 1},
                     TermTiles{block.q + 2 * pair * steps, q_term, steps, 1}, steps);
    tiles.store(block.tile + panel * panel_keys * lanes + pair * tile_columns, lanes);
  });
}

/// o [E_v x lanes] += V^T P^T of `panels`; `first` is the tile's first panel.
template <class Tiles>
void add_panels(Tiles& tiles, const TermBlock& block, const PackedRows& packed, Index first, Interval panels) {
  const Index lanes = block.s.lanes;
  const PairTile* v = packed.v + panels.begin * block.shape.v_panel();
  const PairTile* p = block.p + (panels.begin - first) * block.lane_tiles();
  for_each_pair(
      block.shape.v_tiles / 2, lanes / tile_columns, block.shape.terms * block.p_term(), [&](Index e, Index pair) {
        float* o = block.o + e * tile_columns * lanes + pair * tile_columns;
        tiles.load(o, lanes);
        accumulate_terms(tiles, block.shape.terms, TermTiles{v + 2 * e, block.shape.v_tiles, 1, block.shape.v_panel()},
                         TermTiles{p + 2 * pair, block.p_term(), 1, block.lane_tiles()}, panels.size());
        tiles.store(o, lanes);
      });
}

/// e^x for x <= 0 to 2^-17 of itself, which is more than bf16 shows; exactly zero below -87. NaN stays NaN.
///   2^n p(f),  n = round(x log2 e),  p a polynomial on |f| <= 1/2 with p(0) = 1
template <class Scalar>
Lanes<Scalar> rounded_exponential(Lanes<Scalar> x) {
  if constexpr (full_width<Scalar> == 1) {
    return exponential(x);
  } else {
    using namespace Eigen::internal;
    using Packet = typename Lanes<Scalar>::Packet;
    using Bits = typename unpacket_traits<Packet>::integer_packet;
    const auto log2_e = Lanes<Scalar>::all(1.44269504f);
    const auto rounding = Lanes<Scalar>::all(12583039.0f);  // 1.5 2^23 + 127: the last bits of n + it are 2^n's exponent
    const auto n = multiply_add(x, log2_e, rounding), f = multiply_add(x, log2_e, rounding - n);
    auto p = Lanes<Scalar>::all(0.00958285429f);
    for (const float c : {0.0559064333f, 0.240240986f, 0.693124192f, 1.0f}) p = multiply_add(p, f, Lanes<Scalar>::all(c));
    const Packet power = preinterpret<Packet>(Bits(plogical_shift_left<23>(Bits(preinterpret<Bits>(n.raw)))));
    return {pandnot(pmul(p.raw, power), pcmp_lt(x.raw, pset1<Packet>(-87.0f)))};
  }
}

/// P of two keys and 32 lanes, in terms: row `row` of two tiles for each term. Their sums join l.
template <class Exponential>
void pack_pair(PairTile* p, Index apart, int terms, Index row, const float* even, const float* odd, const Lanes<float>* m,
               Lanes<float>* l, Exponential&& exponential_of) {
  constexpr Index width = full_width<float>;
  constexpr Index packets = tile_columns / width;
  float at_even[tile_columns], at_odd[tile_columns];
  for (Index i = 0; i < packets; ++i) {
    const Lanes<float> first = exponential_of(Lanes<float>::load(even + i * width) - m[i]);
    const Lanes<float> second = exponential_of(Lanes<float>::load(odd + i * width) - m[i]);
    l[i] = l[i] + first + second;
    first.store(at_even + i * width);
    second.store(at_odd + i * width);
  }
  fill_row(p, apart, terms, row, at_even, at_odd);
  fill_row(p + 1, apart, terms, row, at_even + tile_rows, at_odd + tile_rows);
}

/// p = e^(tile - m) in terms, after m [lanes] has taken in the maximum of tile [keys x lanes]; l and what was summed before
/// are brought to the new m: rescale = e^(m before - m). Rows of p from `keys` to the end of a panel are zero. See
/// softmax_tile for why m starts at the lowest number.
inline void softmax_terms(const TermBlock& block, Index keys, float* m, float* l, float* rescale) {
  constexpr Index width = full_width<float>;
  constexpr Index packets = tile_columns / width;
  const Index lanes = block.s.lanes, panels = in_steps(keys);
  std::fill(block.tile + keys * lanes, block.tile + panels * panel_keys * lanes, -std::numeric_limits<float>::infinity());
  for (Index lane = 0; lane < lanes; lane += tile_columns) {
    Lanes<float> high[packets], sum[packets];
    for (Index i = 0; i < packets; ++i) high[i] = Lanes<float>::load(m + lane + i * width);
    for (Index key = 0; key < keys; ++key)
      for (Index i = 0; i < packets; ++i)
        high[i] = maximum(high[i], Lanes<float>::load(block.tile + key * lanes + lane + i * width));
    for (Index i = 0; i < packets; ++i) {
      falling_exponential(Lanes<float>::load(m + lane + i * width) - high[i]).store(rescale + lane + i * width);
      high[i].store(m + lane + i * width);
      sum[i] = Lanes<float>::all(0);
    }
    for (Index k = 0; k < panels * tile_rows; ++k) {
      const float* even = block.tile + 2 * k * lanes + lane;
      PairTile* p = block.p + k / tile_rows * block.lane_tiles() + lane / tile_rows;
      if (block.shape.terms == 1)
        pack_pair(p, block.p_term(), 1, k % tile_rows, even, even + lanes, high, sum,
                  [](Lanes<float> x) { return rounded_exponential(x); });
      else
        pack_pair(p, block.p_term(), block.shape.terms, k % tile_rows, even, even + lanes, high, sum,
                  [](Lanes<float> x) { return falling_exponential(x); });
    }
    for (Index i = 0; i < packets; ++i) {
      float* to = l + lane + i * width;
      multiply_add(Lanes<float>::load(to), Lanes<float>::load(rescale + lane + i * width), sum[i]).store(to);
    }
  }
}

/// The sum of the terms of P at a key, counted from the tile's first, and a lane.
inline float probability(const TermBlock& block, Index key, Index lane) {
  const PairTile* tile = block.p + key / panel_keys * block.lane_tiles() + lane / tile_rows;
  float sum = 0;
  for (int term = 0; term < block.shape.terms; ++term) {
    const std::uint32_t pair = tile[term * block.p_term()].pairs[key % panel_keys / 2][lane % tile_rows];
    sum += std::bit_cast<float>(key % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  }
  return sum;
}

/// o += P V of the pairs of one panel that are visible: what a row does not see may be NaN.
template <class Hides>
void add_visible(const TermBlock& block, const HeadRows<float>& v, float* buffer, Index first_key, Interval keys,
                 Hides&& hides) {
  const auto rows = rows_in(v, keys, buffer);
  for (Index key = keys.begin; key < keys.end; ++key) {
    const Interval seen = block.s.seen_by(key);
    const float* v_j = rows.data + (key - keys.begin) * rows.row;
    for (Index h = 0; h < block.s.heads; ++h)
      for (Index i = seen.begin; i < seen.end; ++i) {
        if (hides(h, i, key)) continue;
        const Index lane = block.s.lane(h, i);
        const float p = probability(block, key - first_key, lane);
        for (Index e = 0; e < v.width; ++e)
          block.o[e * block.s.lanes + lane] += p * sum_of_terms(v_j[e], block.shape.terms);
      }
  }
}

/// The panels that hold `keys`; a panel that two intervals share is in one of them.
inline Intervals panels_of(const Intervals& keys) {
  Intervals panels;
  for (std::size_t part = 0; part < 2; ++part)
    if (!keys.parts[part].empty())
      panels.parts[part] = {keys.parts[part].begin / panel_keys, in_steps(keys.parts[part].end)};
  if (!panels.parts[0].empty() && panels.parts[1].begin < panels.parts[0].end)
    panels.parts[1].begin = (std::min)(panels.parts[0].end, panels.parts[1].end);
  return panels;
}

/// o [E_v x lanes] *= rescale [lanes], but where all are one.
inline void rescale_lanes(float* o, const float* rescale, Index lanes, Index values) {
  if (std::all_of(rescale, rescale + lanes, [](float x) { return x == 1.0f; })) return;
  for (Index e = 0; e < values; ++e)
    transform(
        lanes, o + e * lanes, [](auto x, auto y) { return x * y; }, o + e * lanes, rescale);
}

/// rows [heads*T x E_v] = o^T
inline void copy_lanes(float* rows, const TermBlock& block, Index value_width) {
  const Stacked& s = block.s;
  const Index count = s.heads * s.rows;
  alignas(64) float part[tile_rows * tile_rows];
  for (Index lane = 0; lane < count; lane += tile_rows)
    for (Index e = 0; e < value_width; e += tile_rows) {
      const float* o = block.o + e * s.lanes + lane;
      const Index n = (std::min)(tile_rows, value_width - e), m = (std::min)(tile_rows, count - lane);
      if (s.heads == 1 && n == tile_rows && m == tile_rows) {
        transpose_16(o, s.lanes, rows + lane * value_width + e, value_width);
        continue;
      }
      transpose_16(o, s.lanes, part, tile_rows);
      for (Index i = 0; i < m; ++i) {
        const Index at = (lane + i) % s.heads * s.rows + (lane + i) / s.heads;
        std::copy_n(part + i * tile_rows, n, rows + at * value_width + e);
      }
    }
}

/// Rows [row, row + count) of every head of the group over the keys of `panels`. The logits of kept heads are left in their
/// storage.
template <class Tiles>
void attend_in_tiles(const QueryGroup<float>& group, const TermShape& shape, const PackedRows& packed, Index row,
                     Index count, const Intervals& panels, Partial<float> out, Arena& scratch) {
  TermBlock block{shape,  stacked<float>(group.heads, count, group.past + row, group.mask), nullptr, nullptr, nullptr,
                  nullptr};
  Stacked& s = block.s;
  s.lanes = in_steps(group.heads * count) * tile_columns;
  block.q = scratch.take<PairTile>(shape.terms * block.lane_tiles() * shape.steps);
  block.tile = scratch.take<float>(term_tile_panels * panel_keys * s.lanes);
  block.p = scratch.take<PairTile>(shape.terms * block.p_term());
  block.o = scratch.take_zeroed<float>(shape.values() * s.lanes);
  float* m = scratch.take<float>(s.lanes);
  float* l = scratch.take_zeroed<float>(s.lanes);
  float* rescale = scratch.take<float>(s.lanes);
  float* v_buffer = take_buffer(group.v, scratch);
  const auto lanes = LaneSlopes<float>::make(group, s, scratch);
  std::fill_n(m, s.lanes, std::numeric_limits<float>::lowest());
  for (Index lane = 0; lane < block.lane_tiles(); ++lane)
    fill_along_transposed(
        block.q + lane * shape.steps, block.lane_tiles() * shape.steps, shape.terms,
        [&](Index i) {
          const auto row_of = [&](Index at) {
            return group.q + (row + at / group.heads) * group.q_stride + at % group.heads * group.k.width;
          };
          const Index at = lane * tile_rows + i, ahead = at + tile_rows;
          if (ahead < group.heads * count) ask_for_row(row_of(ahead), group.k.width);
          return at < group.heads * count ? row_of(at) : nullptr;
        },
        group.k.width, group.scale);

  Tiles tiles;
  bool first = true;
  for (const Interval part : panels)
    for (Index begin = part.begin; begin < part.end; begin += term_tile_panels) {
      const Interval of_tile{begin, (std::min)(begin + term_tile_panels, part.end)};
      const Interval keys = Interval{of_tile.begin * panel_keys, of_tile.end * panel_keys}.cut(0, group.k.rows);
      const Coverage coverage = s.coverage(keys);
      if (coverage == Coverage::none) continue;
      score_panels(tiles, block, packed, of_tile);
      if (group.alters_logits()) alter_tile(block.tile, group, s, Interval{0, s.lanes}, row, keys, lanes);
      if (coverage == Coverage::partial) hide(block.tile, s, keys, -std::numeric_limits<float>::infinity());
      keep_logits(block.tile, group, s, Interval{0, s.lanes}, row, keys);
      softmax_terms(block, keys.size(), m, l, rescale);
      if (!first) rescale_lanes(block.o, rescale, s.lanes, shape.values());
      first = false;
      // A hidden pair has P = 0, but 0 NaN = NaN.
      const bool all_seen = coverage == Coverage::all && group.bias == nullptr;
      if (all_seen || std::all_of(packed.finite + of_tile.begin, packed.finite + of_tile.end, [](bool f) { return f; })) {
        add_panels(tiles, block, packed, of_tile.begin, of_tile);
        continue;
      }
      for (Index panel = of_tile.begin; panel < of_tile.end; ++panel) {
        const Interval in_panel = Interval{panel * panel_keys, (panel + 1) * panel_keys}.cut(keys.begin, keys.end);
        if (packed.finite[panel])
          add_panels(tiles, block, packed, of_tile.begin, Interval{panel, panel + 1});
        else
          add_visible(block, group.v, v_buffer, keys.begin, in_panel,
                      [&](Index h, Index i, Index key) { return group.hides(h, row + i, key); });
      }
    }

  leave_partial(out, s, m, l, group.v.width);
  copy_lanes(out.o, block, group.v.width);
}

}  // namespace heed::inline HEED_ABI::detail
