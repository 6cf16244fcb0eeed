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
      for (Index step = 0; step < shape.steps; ++step)
        fill_along(
            to + half * shape.steps + step, 2 * shape.steps, shape.terms,
            [&](Index i) {
              const Index key = half * tile_rows + i;
              return key < rows ? k.data + key * k.row + step * tile_columns : nullptr;
            },
            (std::min)(tile_columns, group.k.width - step * tile_columns), 1.0f);

    const auto v = rows_in(group.v, keys, v_buffer);
    to = packed.v + panel * shape.v_panel();
    for (Index tile = 0; tile < shape.v_tiles; ++tile) {
      const Index e = tile * tile_rows, n = (std::max)(Index(0), (std::min)(tile_rows, group.v.width - e));
      fill_across_transposed(to + tile, shape.v_tiles, shape.terms, n > 0 ? v.data + e : v.data, v.row, rows, n);
    }
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
  float* tile;  // [keys x lanes] S^T, then P^T
  PairTile* p;  // [terms][panels of a tile][lane tiles]
  float* o;     // [E_v x lanes], E_v padded

  Index lane_tiles() const { return s.lanes / tile_rows; }
  Index p_term() const { return term_tile_panels * lane_tiles(); }
};

/// tile [keys x lanes] = K Q^T of so many panels from `panel` on
template <class Tiles>
void score_panels(Tiles& tiles, const TermBlock& block, const PackedRows& packed, Interval panels) {
  const Index steps = block.shape.steps, lanes = block.s.lanes;
  for (Index panel = panels.begin; panel < panels.end; ++panel)
    for (Index lane = 0; lane < block.lane_tiles(); lane += 2) {
      tiles.zero();
      accumulate_terms(tiles, block.shape.terms, TermTiles{packed.k + panel * block.shape.k_panel(), 2 * steps, steps, 1},
                       TermTiles{block.q + lane * steps, block.lane_tiles() * steps, steps, 1}, steps);
      tiles.store(block.tile + (panel - panels.begin) * panel_keys * lanes + lane * tile_rows, lanes);
    }
}

/// o [E_v x lanes] += V^T P^T of panels `panels`; `first` is the tile's first panel.
template <class Tiles>
void add_panels(Tiles& tiles, const TermBlock& block, const PackedRows& packed, Index first, Interval panels) {
  const Index lanes = block.s.lanes;
  const PairTile* v = packed.v + panels.begin * block.shape.v_panel();
  const PairTile* p = block.p + (panels.begin - first) * block.lane_tiles();
  for (Index e = 0; e < block.shape.v_tiles; e += 2)
    for (Index lane = 0; lane < block.lane_tiles(); lane += 2) {
      float* o = block.o + e * tile_rows * lanes + lane * tile_rows;
      tiles.load(o, lanes);
      accumulate_terms(tiles, block.shape.terms, TermTiles{v + e, block.shape.v_tiles, 1, block.shape.v_panel()},
                       TermTiles{p + lane, block.p_term(), 1, block.lane_tiles()}, panels.size());
      tiles.store(o, lanes);
    }
}

/// p = tile [keys x lanes] in terms. Rows from `keys` to the end of a panel are zero.
inline void pack_probabilities(const TermBlock& block, Index keys) {
  const Index lanes = block.s.lanes, panels = in_steps(keys);
  std::fill(block.tile + keys * lanes, block.tile + panels * panel_keys * lanes, 0.0f);
  for (Index k = 0; k < panels * tile_rows; ++k)
    for (Index lane = 0; lane < block.lane_tiles(); ++lane) {
      const float* even = block.tile + 2 * k * lanes + lane * tile_rows;
      fill_row(block.p + k / tile_rows * block.lane_tiles() + lane, block.p_term(), block.shape.terms, k % tile_rows, even,
               even + lanes);
    }
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
        const float p = sum_of_terms(block.tile[(key - first_key) * block.s.lanes + lane], block.shape.terms);
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
    for (Index step = 0; step < shape.steps; ++step)
      fill_along_transposed(
          block.q + lane * shape.steps + step, block.lane_tiles() * shape.steps, shape.terms,
          [&](Index i) {
            const Index at = lane * tile_rows + i, of_row = at / group.heads, h = at % group.heads;
            return of_row < count ? group.q + (row + of_row) * group.q_stride + h * group.k.width + step * tile_columns
                                  : nullptr;
          },
          (std::min)(tile_columns, group.k.width - step * tile_columns), group.scale);

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
      softmax_tile(block.tile, keys.size(), s.lanes, m, l, rescale);
      pack_probabilities(block, keys.size());
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
