// The two products of decoding, whose lanes go along the head: rows of K and V are read once for four query rows.
//
//   S [rows x keys] = Q K^T        up to W dot products side by side, whose lanes are summed together at the end
//   O [rows x E_v]  = f O + P V    four packets of columns, or two, are held in registers while the keys run
//
// Q and O are arranged as the packets of K and V are (stored_rows.hpp), and padded with zeros to whole loads.
#pragma once

#include <array>
#include <cstring>
#include <utility>

#include "../product.hpp"
#include "stored_rows.hpp"
#include "sums_avx512.hpp"

namespace heed::inline HEED_ABI::detail {

/// Lane i is the sum of x[i]'s lanes, for `width` of them; every sum has the same order.
template <class Scalar, int width>
EIGEN_ALWAYS_INLINE Lanes<Scalar, width> sums(const Lanes<Scalar, width> (&x)[std::size_t(width)]) {
  if constexpr (width == 1) {
    return x[0];
  } else {
    Eigen::internal::PacketBlock<typename Lanes<Scalar, width>::Packet, width> block;
    for (int i = 0; i < width; ++i) block.packet[i] = x[i].raw;
    Eigen::internal::ptranspose(block);
    for (int half = width / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) block.packet[i] = Eigen::internal::padd(block.packet[i], block.packet[i + half]);
    return {block.packet[0]};
  }
}

/// Where rows lie that will be read soon: they are asked for line by line, in the order in which they lie. (Processors
/// guess what comes next from such an order, and from hardly any other: four rows read side by side come at a quarter of
/// the rate.)
struct Soon {
  const char* at = nullptr;
  bool wanted = false;

  /// `bytes` more. Without a condition, in the innermost loop: what is not wanted is one line, asked for again and again.
  EIGEN_ALWAYS_INLINE void ask([[maybe_unused]] Index bytes) {
#if defined(__GNUC__)
    __builtin_prefetch(at, 0, 2);  // to the second cache: the first has not as many lines under way
    at += wanted ? bytes : 0;
#endif
  }
};

/// Asks for nothing.
struct Never {
  EIGEN_ALWAYS_INLINE void ask(Index) {}
};

/// Keys whose dot products with `rows` rows run side by side: few, so that rows of K are read in the order in which they
/// lie.
template <int rows>
inline constexpr int keys_side_by_side = rows == 2 ? 2 : 1;

/// Dot products that are summed over lanes together.
template <int rows, class Scalar>
inline constexpr int keys_at_once = (std::max)(full_width<Scalar> / rows, keys_side_by_side<rows>);

/// The dot products of q [rows x width] with `keys` rows of k, not yet summed over lanes: [rows x keys].
template <int rows, int keys, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
EIGEN_ALWAYS_INLINE auto unsummed_dots(const Scalar* q, Index q_stride, Rows k, Index width, Ahead& soon) {
  using Packet = Lanes<Scalar>;
  using Element = typename Rows::Element;
  constexpr Index lanes = full_width<Scalar>, step = load_width<Rows>;
  constexpr std::size_t n = std::size_t(keys), size = std::size_t(rows) * n;
  return [&]<std::size_t... I, std::size_t... R, std::size_t... J, std::size_t... P>(
      std::index_sequence<I...>, std::index_sequence<R...>, std::index_sequence<J...>, std::index_sequence<P...>) {
    typename Packet::Packet sum[] = {((void)I, Packet::all(Scalar(0)).raw)...};
    for (Index e = 0; e < width; e += step) {
      const Loaded<Scalar, Rows::packets> k_e[] = {Rows::load(k.data + Index(J) * k.stride + e)...};
      ((void(J), soon.ask(step * Index(sizeof(Element)))), ...);
      const auto packet = [&](std::size_t p) {
        const typename Packet::Packet q_e[] = {Packet::load(q + Index(R) * q_stride + e + Index(p) * lanes).raw...};
        ((sum[I] = multiply_add(Packet{q_e[I / n]}, k_e[I % n][p], Packet{sum[I]}).raw), ...);
      };
      (packet(P), ...);
    }
    return std::array<typename Packet::Packet, size>{sum[I]...};
  }
  (std::make_index_sequence<size>(), std::make_index_sequence<std::size_t(rows)>(), std::make_index_sequence<n>(),
   std::make_index_sequence<Rows::packets>());
}

/// out [rows x keys_at_once] = q k^T over `width` columns, in whole loads; rows of out `stride` apart.
template <int rows, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
Ahead dots_of_few(Scalar* out, Index stride, const Scalar* q, Index q_stride, Rows k, Index width, Ahead soon) {
  constexpr std::size_t lanes = std::size_t(full_width<Scalar>), keys = std::size_t(keys_side_by_side<rows>);
  constexpr std::size_t at_once = std::size_t(keys_at_once<rows, Scalar>);
  [&]<std::size_t... I, std::size_t... G, std::size_t... S, std::size_t... L>(
      std::index_sequence<I...>, std::index_sequence<G...>, std::index_sequence<S...>, std::index_sequence<L...>) {
    const std::array<typename Lanes<Scalar>::Packet, std::size_t(rows) * keys> dots[] = {
        unsummed_dots<rows, int(keys)>(q, q_stride, Rows{k.data + Index(G * keys) * k.stride, k.stride}, width, soon)...};
    const auto dot = [&](std::size_t i) {  // [rows x at_once]
      const std::size_t row = i / at_once, key = i % at_once;
      return Lanes<Scalar>{dots[key / keys][row * keys + key % keys]};
    };
    Scalar sum[sizeof...(I)];
    const auto add_up = [&](std::size_t s) {
      const Lanes<Scalar> some[] = {dot(s * lanes + L)...};
      sums<Scalar, int(lanes)>(some).store(sum + s * lanes);
    };
    (add_up(S), ...);
    for (std::size_t r = 0; r < std::size_t(rows); ++r)
      std::memcpy(out + Index(r) * stride, sum + r * at_once, at_once * sizeof(Scalar));
  }
  (std::make_index_sequence<std::size_t(rows) * at_once>(), std::make_index_sequence<at_once / keys>(),
   std::make_index_sequence<std::size_t(rows) * at_once / lanes>(), std::make_index_sequence<lanes>());
  return soon;
}

/// scores [rows x keys] = q k^T, rows of scores `stride` apart.
template <int rows, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
void score_rows(Scalar* scores, Index stride, const Scalar* q, Index q_stride, Rows k, Index keys, Index width,
                Ahead soon) {
  constexpr int at_once = keys_at_once<rows, Scalar>;
  static_assert(rows * at_once % full_width<Scalar> == 0);
  const Index whole = width / load_width<Rows> * load_width<Rows>;
  Index key = 0;
  for (; key + at_once <= keys; key += at_once)
    soon = dots_of_few<rows>(scores + key, stride, q, q_stride, Rows{k.data + key * k.stride, k.stride}, whole, soon);
  for (; key < keys; ++key) {  // each of the last keys stands for all
    Scalar out[std::size_t(rows * at_once)];
    dots_of_few<rows>(out, at_once, q, q_stride, Rows{k.data + key * k.stride, 0}, whole, Never{});
    for (int r = 0; r < rows; ++r) scores[r * stride + key] = out[r * at_once];
  }
  if (whole == width) return;
  for (key = 0; key < keys; ++key) {
    const auto k_e = load_last<Rows>(k.data + key * k.stride + whole, width - whole);
    for (int r = 0; r < rows; ++r)
      for (std::size_t p = 0; p < Rows::packets; ++p)
        scores[r * stride + key] +=
            (Lanes<Scalar>::load(q + r * q_stride + whole + Index(p) * full_width<Scalar>) * k_e[p]).sum();
  }
}

/// scores [count x keys] = q k^T for any number of rows.
template <class Rows, class Scalar = typename Rows::Scalar>
void score_few(Scalar* scores, Index stride, const Scalar* q, Index q_stride, Index count, Rows k, Index keys, Index width,
               Soon soon) {
  const auto block = [&]<int rows>(Index i) {
    if (rows == 1 && !soon.wanted)
      score_rows<rows>(scores + i * stride, stride, q + i * q_stride, q_stride, k, keys, width, Never{});
    else
      score_rows<rows>(scores + i * stride, stride, q + i * q_stride, q_stride, k, keys, width, soon);
    soon.wanted = false;
  };
  Index i = 0;
  for (; i + 4 <= count; i += 4) block.template operator()<4>(i);
  if (count - i >= 2) block.template operator()<2>(i), i += 2;
  if (count - i >= 1) block.template operator()<1>(i);
}

/// o [rows x packets] = factor o + weights [rows x keys] v: the columns from `e` on, in as many packets. One row of output
/// is one chain of multiply-adds: with fewer than four rows several keys run side by side, and are added up last.
template <int rows, int packets, bool whole, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
Ahead add_columns(Scalar* o, Index o_stride, const Scalar* factor, const Scalar* weights, Index stride, Rows v, Index keys,
                  Index columns, Ahead soon) {
  using Packet = Lanes<Scalar>;
  constexpr Index lanes = full_width<Scalar>;
  constexpr std::size_t phases = 4 / std::size_t(rows);
  constexpr std::size_t loads = std::size_t(packets) / Rows::packets;
  [&]<std::size_t... I, std::size_t... R, std::size_t... L, std::size_t... F>(
      std::index_sequence<I...>, std::index_sequence<R...>, std::index_sequence<L...>, std::index_sequence<F...>) {
    using Raw = typename Packet::Packet;
    constexpr std::size_t n = std::size_t(packets), block = sizeof...(I);
    const auto at = [&](std::size_t i) { return o + Index(i / n) * o_stride + Index(i % n) * lanes; };
    Raw sum[phases][block] = {{(Packet::all(factor[I / n]) * Packet::load(at(I))).raw...}};
    for (std::size_t phase = 1; phase < phases; ++phase) ((sum[phase][I] = Packet::all(Scalar(0)).raw), ...);
    const typename Rows::Element* from = v.data;
    const Scalar* weight = weights;
    const auto add = [&](std::size_t phase) {
      const auto load = [&](std::size_t l) {
        const Index column = Index(l) * load_width<Rows>;
        soon.ask(load_width<Rows> * Index(sizeof(typename Rows::Element)));
        if constexpr (whole)
          return Rows::load(from + column);
        else
          return load_last<Rows>(from + column, columns - column);
      };
      const Loaded<Scalar, Rows::packets> v_e[] = {load(L)...};
      const Raw w[] = {Packet::all(weight[Index(R) * stride]).raw...};
      ((sum[phase][I] =
            multiply_add(Packet{w[I / n]}, v_e[I % n / Rows::packets][I % n % Rows::packets], Packet{sum[phase][I]}).raw),
       ...);
      from += v.stride;
      ++weight;
    };
    Index key = 0;
    for (; key + Index(phases) <= keys; key += Index(phases)) (add(F), ...);
    if constexpr (phases > 1)
      for (; key < keys; ++key) add(0);
    for (std::size_t half = phases / 2; half > 0; half /= 2)
      for (std::size_t phase = 0; phase < half; ++phase)
        ((sum[phase][I] = Eigen::internal::padd(sum[phase][I], sum[phase + half][I])), ...);
    (Packet{sum[0][I]}.store(at(I)), ...);
  }
  (std::make_index_sequence<std::size_t(rows * packets)>(), std::make_index_sequence<std::size_t(rows)>(),
   std::make_index_sequence<loads>(), std::make_index_sequence<phases>());
  return soon;
}

/// o [rows x width] = factor o + weights [rows x keys] v [keys x width]
template <int rows, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
Ahead add_rows(Scalar* o, Index o_stride, const Scalar* factor, const Scalar* weights, Index stride, Rows v, Index keys,
               Index width, Ahead soon) {
  constexpr int packets = product_rows == 8 ? 4 : 2;  // of 32 registers, or of 16
  constexpr int least = int(Rows::packets);
  constexpr Index lanes = full_width<Scalar>;
  Index e = 0;
  const auto columns_from = [&] { return Rows{v.data + e, v.stride}; };
  for (; e + packets * lanes <= width; e += packets * lanes)
    soon =
        add_columns<rows, packets, true>(o + e, o_stride, factor, weights, stride, columns_from(), keys, width - e, soon);
  for (; e + least * lanes <= width; e += least * lanes)
    soon = add_columns<rows, least, true>(o + e, o_stride, factor, weights, stride, columns_from(), keys, width - e, soon);
  if (e < width)
    add_columns<rows, least, false>(o + e, o_stride, factor, weights, stride, columns_from(), keys, width - e, soon);
  return soon;
}

/// o [count x width] = factor o + weights v for any number of rows.
template <class Rows, class Scalar = typename Rows::Scalar>
void add_few(Scalar* o, Index o_stride, const Scalar* factor, const Scalar* weights, Index stride, Index count, Rows v,
             Index keys, Index width, Soon soon) {
  const auto block = [&]<int rows>(Index i) {
    if (rows == 1 && !soon.wanted)
      add_rows<rows>(o + i * o_stride, o_stride, factor + i, weights + i * stride, stride, v, keys, width, Never{});
    else
      soon = add_rows<rows>(o + i * o_stride, o_stride, factor + i, weights + i * stride, stride, v, keys, width, soon);
    soon.wanted = false;
  };
  Index i = 0;
  for (; i + 4 <= count; i += 4) block.template operator()<4>(i);
  if (count - i >= 2) block.template operator()<2>(i), i += 2;
  if (count - i >= 1) block.template operator()<1>(i);
}

}  // namespace heed::inline HEED_ABI::detail
