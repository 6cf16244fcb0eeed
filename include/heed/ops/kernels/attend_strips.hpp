// Attention over one block of query rows on vector registers: attend_tiles.hpp, strip by strip.
//
//   strip    the lanes of three packets, as many as a block of a product holds in registers
//   tile     keys that all strips of the block go over before the next are fetched
//   piece    of a strip's tile: keys x packets that the mask lets through or cuts; what it hides whole is in no piece
//
//   S^T [keys x lanes] = K Q^T      for every piece      a strip's q, S^T and o lie row after row, a strip wide:
//   m, then P^T = e^(S - m), l      in the first cache   S^T stays in the first cache, K and V are broadcast from a
//   O^T [E_v x lanes]               += V^T P^T           copy whose rows touch
//
// What was summed before a tile is brought to the new maximum where the product of the values loads it.
// docs/kernels/attention.md tells what was measured.
#pragma once

#include "attend_tiles.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr Index strip_packets = product_packets;
template <class Scalar>
inline constexpr Index strip_lanes = strip_packets* full_width<Scalar>;
/// The lanes of a strip, for any instruction set that heed::compiled may choose.
template <class Scalar>
inline constexpr Index widest_strip = 3 * 64 / Index(sizeof(Scalar));
inline constexpr Index strip_tile_keys = 128;
inline constexpr Index piece_keys = 16;  // where a mask cuts through a tile, what it hides is found in steps of so many

/// Keys and packets of a strip's tile, counted from its corner.
struct Piece {
  Interval keys;
  Interval packets;
  bool cut;  // the mask hides some pair of it
};

/// The pieces of one tile of one strip.
struct Pieces {
  std::array<Piece, std::size_t(strip_tile_keys / piece_keys)> list;
  std::size_t count = 0;

  const Piece* begin() const { return list.data(); }
  const Piece* end() const { return list.data() + count; }

  void add(Piece piece) {
    if (count > 0 && list[count - 1].keys.end == piece.keys.begin && list[count - 1].packets == piece.packets &&
        list[count - 1].cut == piece.cut)
      list[count - 1].keys.end = piece.keys.end;
    else
      list[count++] = piece;
  }
};

/// The lanes in `strip`, over `keys`. `whole`: in one piece, whatever is hidden.
template <class Scalar>
Pieces pieces_of(const Stacked& s, Interval strip, Interval keys, bool whole) {
  constexpr Index width = full_width<Scalar>;
  const Index packets = strip.size() / width;
  const auto coverage = [&](Interval of_packets, Interval of_keys) {
    return s.coverage(s.rows_of({strip.begin + of_packets.begin * width, strip.begin + of_packets.end * width}), of_keys);
  };
  Pieces pieces;
  const Coverage of_all = coverage({0, packets}, keys);
  if (whole || of_all == Coverage::all) {
    pieces.add({{0, keys.size()}, {0, packets}, of_all != Coverage::all});
    return pieces;
  }
  for (Index begin = keys.begin; of_all != Coverage::none && begin < keys.end; begin += piece_keys) {
    const Interval step{begin, (std::min)(begin + piece_keys, keys.end)};
    Interval seen{packets, 0};
    bool cut = false;
    for (Index p = 0; p < packets; ++p) {
      const Coverage of_packet = coverage({p, p + 1}, step);
      if (of_packet != Coverage::all) cut = true;
      if (of_packet != Coverage::none) seen = {(std::min)(seen.begin, p), p + 1};
    }
    if (seen.empty()) continue;
    if (cut) {  // only what was left out?
      cut = false;
      for (Index p = seen.begin; p < seen.end; ++p) cut = cut || coverage({p, p + 1}, step) != Coverage::all;
    }
    pieces.add({{step.begin - keys.begin, step.end - keys.begin}, seen, cut});
  }
  return pieces;
}

/// f.operator()<n>(p) for packets p of the interval, n at a time.
template <class F>
void in_packets(Interval packets, F&& f) {
  Index p = packets.begin;
  if constexpr (strip_packets == 3)
    if (packets.size() == 3) return f.template operator()<3>(p);
  if (packets.end - p >= 2) f.template operator()<2>(p), p += 2;
  if (p < packets.end) f.template operator()<1>(p);
}

// m = max(m, the tile's columns)
template <int packets, class Scalar>
void take_maximum(Scalar* m, const Scalar* tile, Index stride, Index keys) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  constexpr std::size_t n = std::size_t(packets);
  Packet even[n], odd[n];  // two chains
  for (std::size_t p = 0; p < n; ++p) even[p] = odd[p] = Packet::load(m + Index(p) * width);
  Index j = 0;
  for (; j + 2 <= keys; j += 2)
    for (std::size_t p = 0; p < n; ++p) {
      even[p] = maximum(even[p], Packet::load(tile + j * stride + Index(p) * width));
      odd[p] = maximum(odd[p], Packet::load(tile + (j + 1) * stride + Index(p) * width));
    }
  for (std::size_t p = 0; p < n; ++p) {
    if (j < keys) even[p] = maximum(even[p], Packet::load(tile + j * stride + Index(p) * width));
    maximum(even[p], odd[p]).store(m + Index(p) * width);
  }
}

// tile = e^(tile - m), l += its columns' sums
template <int packets, class Scalar>
void take_exponentials(Scalar* tile, Index stride, Index keys, const Scalar* m, Scalar* l) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  constexpr std::size_t n = std::size_t(packets);
  Packet highest[n], sum[n];
  for (std::size_t p = 0; p < n; ++p) {
    highest[p] = Packet::load(m + Index(p) * width);
    sum[p] = Packet::load(l + Index(p) * width);
  }
  for (Index j = 0; j < keys; ++j)
    for (std::size_t p = 0; p < n; ++p) {
      Scalar* at = tile + j * stride + Index(p) * width;
      const Packet e = falling_exponential(Packet::load(at) - highest[p]);
      e.store(at);
      sum[p] = sum[p] + e;
    }
  for (std::size_t p = 0; p < n; ++p) sum[p].store(l + Index(p) * width);
}

/// O^T [E_v x strip] += V^T P^T over one piece; see add_values. from: what the sums start from.
template <class Scalar, class From>
void add_piece_values(Scalar* o, const Scalar* p, Index stride, const Piece& piece, Strided<Scalar> v, Index width,
                      From from) {
  constexpr Index packet = full_width<Scalar>;
  in_packets(piece.packets, [&]<int packets>(Index at) {
    accumulate_columns<packet, packets>(
        o + at * packet, stride, Strided<Scalar>{v.data + piece.keys.begin * v.row, 1, v.row},
        p + piece.keys.begin * stride + at * packet, stride, width, piece.keys.size(), from);
  });
}

/// What attend_tiled does, in the same order of keys.
template <class Scalar>
void attend_strips(const QueryGroup<Scalar>& group, Index row, Index count, const Intervals& keys, Partial<Scalar> out,
                   Arena& scratch) {
  const Stacked s = stacked<Scalar>(group.heads, count, group.past + row, group.mask);
  const Index width = group.k.width, value_width = group.v.width;
  Scalar* q = scratch.take<Scalar>(width * s.lanes);                           // [E x strip] of every strip, scaled
  Scalar* tile = scratch.take<Scalar>(strip_tile_keys * strip_lanes<Scalar>);  // [keys x strip]
  Scalar* o = scratch.take_zeroed<Scalar>(value_width * s.lanes);              // [E_v x strip] of every strip
  Scalar* m = scratch.take<Scalar>(s.lanes);
  Scalar* l = scratch.take_zeroed<Scalar>(s.lanes);
  Scalar* rescale = scratch.take<Scalar>(strip_lanes<Scalar>);
  Scalar* k_buffer = scratch.take<Scalar>(strip_tile_keys * width);
  Scalar* v_buffer = scratch.take<Scalar>(strip_tile_keys * value_width);
  const auto slopes = LaneSlopes<Scalar>::make(group, s, scratch);
  const bool whole = group.alters_logits();
  std::fill_n(m, s.lanes, std::numeric_limits<Scalar>::lowest());
  const auto for_each_strip = [&](auto&& f) {
    for (Index begin = 0; begin < s.lanes; begin += strip_lanes<Scalar>)
      f(Interval{begin, (std::min)(begin + strip_lanes<Scalar>, s.lanes)});
  };
  for_each_strip([&](Interval strip) {
    pack_lanes(q + strip.begin * width, s, strip, group.q + row * group.q_stride, group.q_stride, width, group.scale);
  });

  for_each_tile(s, keys, strip_tile_keys, [&](Interval in_tile, Coverage) {
    const Strided<Scalar> k_rows = packed_rows_in(group.k, in_tile, k_buffer);
    const Strided<Scalar> v_rows = packed_rows_in(group.v, in_tile, v_buffer);
    for_each_strip([&](Interval strip) {
      const Index n = strip.size();
      const Pieces pieces = pieces_of<Scalar>(s, strip, in_tile, whole);
      if (pieces.count == 0) return;
      Scalar* m_s = m + strip.begin;
      Scalar* l_s = l + strip.begin;
      constexpr Index packet = full_width<Scalar>;
      for (const Piece& piece : pieces) {
        Scalar* part = tile + piece.keys.begin * n;
        in_packets(piece.packets, [&]<int packets>(Index at) {
          accumulate_columns<packet, packets>(part + at * packet, n, k_rows.from(piece.keys.begin, 0),
                                              q + strip.begin * width + at * packet, n, piece.keys.size(), width,
                                              FromZero{});
        });
        const Interval its_keys{in_tile.begin + piece.keys.begin, in_tile.begin + piece.keys.end};
        if (group.alters_logits()) alter_tile(part, group, s, strip, row, its_keys, slopes);
        if (piece.cut)
          hide(part + piece.packets.begin * packet, n, s,
               Interval{strip.begin + piece.packets.begin * packet, strip.begin + piece.packets.end * packet}, its_keys,
               -std::numeric_limits<Scalar>::infinity());
        keep_logits(part, group, s, strip, row, its_keys);
      }
      std::copy_n(m_s, n, rescale);
      for (const Piece& piece : pieces)
        in_packets(piece.packets, [&]<int packets>(Index at) {
          take_maximum<packets>(m_s + at * packet, tile + piece.keys.begin * n + at * packet, n, piece.keys.size());
        });
      transform(
          n, rescale, [](auto before, auto now) { return falling_exponential(before - now); }, rescale, m_s);
      transform(
          n, l_s, [](auto x, auto y) { return x * y; }, l_s, rescale);
      for (const Piece& piece : pieces)
        in_packets(piece.packets, [&]<int packets>(Index at) {
          take_exponentials<packets>(tile + piece.keys.begin * n + at * packet, n, piece.keys.size(), m_s + at * packet,
                                     l_s + at * packet);
        });

      Scalar* o_s = o + strip.begin * value_width;
      const bool at_once = pieces.list[0].packets.size() * packet == n;
      if (!at_once)
        for (Index e = 0; e < value_width; ++e)
          transform(
              n, o_s + e * n, [](auto x, auto y) { return x * y; }, o_s + e * n, rescale);
      for (const Piece& piece : pieces) {
        const bool cut = piece.cut || group.bias != nullptr;
        if (cut && !is_finite(v_rows.from(piece.keys.begin, 0).data, v_rows.row, value_width, {0, piece.keys.size()})) {
          if (at_once && &piece == pieces.begin())
            for (Index e = 0; e < value_width; ++e)
              transform(
                  n, o_s + e * n, [](auto x, auto y) { return x * y; }, o_s + e * n, rescale);
          add_visible_values(o_s, n, tile + piece.keys.begin * n, n, s, strip, v_rows.from(piece.keys.begin, 0),
                             value_width, {in_tile.begin + piece.keys.begin, in_tile.begin + piece.keys.end},
                             [&](Index lane, Index key) { return group.hides(lane % s.heads, row + lane / s.heads, key); });
        } else if (at_once && &piece == pieces.begin()) {
          add_piece_values(o_s, tile, n, piece, v_rows, value_width, FromScaledC<Scalar>{rescale});
        } else {
          add_piece_values(o_s, tile, n, piece, v_rows, value_width, FromC{});
        }
      }
    });
  });

  leave_partial(out, s, m, l, value_width);
  for_each_strip([&](Interval strip) {
    add_lanes(out.o, value_width, count * value_width, s, strip, o + strip.begin * value_width, value_width);
  });
}

/// The kernel of this translation unit's instruction set, and of this scalar.
template <class Scalar>
void attend_rows(const QueryGroup<Scalar>& group, Index row, Index count, const Intervals& keys, Partial<Scalar> out,
                 Arena& scratch) {
  if constexpr (std::is_same_v<Scalar, float> && full_width < Scalar >> 1)
    attend_strips(group, row, count, keys, out, scratch);
  else
    attend_tiled(group, row, count, keys, out, scratch);
}

}  // namespace heed::inline HEED_ABI::detail
