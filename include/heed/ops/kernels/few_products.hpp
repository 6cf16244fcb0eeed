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
#include "in_register.hpp"
#include "stored_rows.hpp"
#include "sums_avx512.hpp"

/// A lambda that is part of the loop around it: a call there would cost more than what it does.
#if defined(__GNUC__)
#define HEED_INLINED_LAMBDA __attribute__((always_inline))
#else
#define HEED_INLINED_LAMBDA
#endif

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

/// What is read before this is read first: compilers would read rows side by side, see Soon.
EIGEN_ALWAYS_INLINE void read_in_order() {
#if defined(__GNUC__)
  asm volatile("" : : : "memory");
#endif
}

/// Keys whose dot products are summed over lanes together: a packet of sums.
template <int rows, class Scalar>
inline constexpr int keys_at_once = (std::max)(full_width<Scalar> / rows, 1);

/// Keys whose dot products run side by side, so that a load of Q serves them all. For one row just one, so that rows of K
/// are read in the order in which they lie.
template <int rows, class Scalar>
inline constexpr int keys_side_by_side = rows == 1 ? 1 : keys_at_once<rows, Scalar>;

/// The dot products of q [rows x width] with `keys` rows of k, not yet summed over lanes: [rows x keys]. `loads` of a row,
/// if they are known: then q stays in registers.
template <int rows, int keys, int loads, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
EIGEN_ALWAYS_INLINE auto unsummed_dots(const Scalar* q, Index q_stride, Rows k, Index width, Ahead& soon) {
  using Packet = Lanes<Scalar>;
  using Element = typename Rows::Element;
  constexpr Index lanes = full_width<Scalar>, step = load_width<Rows>;
  constexpr std::size_t n = std::size_t(keys), size = std::size_t(rows) * n;
  return [&]<std::size_t... I, std::size_t... R, std::size_t... J, std::size_t... P>(
      std::index_sequence<I...>, std::index_sequence<R...>, std::index_sequence<J...>, std::index_sequence<P...>)
      HEED_INLINED_LAMBDA {
    typename Packet::Packet sum[] = {((void)I, Packet::all(Scalar(0)).raw)...};
    const auto add = [&](Index e) HEED_INLINED_LAMBDA {
      const Loaded<Scalar, Rows::packets> k_e[] = {Rows::load(k.data + Index(J) * k.stride + e)...};
      ((void(J), soon.ask(step * Index(sizeof(Element)))), ...);
      const auto packet = [&](std::size_t p) HEED_INLINED_LAMBDA {
        const typename Packet::Packet q_e[] = {
            in_register(Packet::load(q + Index(R) * q_stride + e + Index(p) * lanes)).raw...};
        const auto key = [&](std::size_t j) HEED_INLINED_LAMBDA {
          ((sum[R * n + j] = multiply_add(Packet{q_e[R]}, k_e[j][p], Packet{sum[R * n + j]}).raw), ...);
        };
        (key(J), ...);
      };
      (packet(P), ...);
    };
    if constexpr (loads > 0) [&]<std::size_t... L>(std::index_sequence<L...>) HEED_INLINED_LAMBDA {
        (add(Index(L) * step), ...);
      }
    (std::make_index_sequence<std::size_t(loads)>());
    else for (Index e = 0; e < width; e += step) add(e);
    read_in_order();
    return std::array<typename Packet::Packet, size>{sum[I]...};
  }
  (std::make_index_sequence<size>(), std::make_index_sequence<std::size_t(rows)>(), std::make_index_sequence<n>(),
   std::make_index_sequence<Rows::packets>());
}

/// out [rows x keys_at_once] = q k^T over `width` columns, in whole loads; rows of out `stride` apart.
template <int rows, int loads, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
EIGEN_ALWAYS_INLINE Ahead dots_of_few(Scalar* out, Index stride, const Scalar* q, Index q_stride, Rows k, Index width,
                                      Ahead soon) {
  constexpr std::size_t lanes = std::size_t(full_width<Scalar>), keys = std::size_t(keys_side_by_side<rows, Scalar>);
  constexpr std::size_t at_once = std::size_t(keys_at_once<rows, Scalar>);
  [&]<std::size_t... I, std::size_t... G, std::size_t... S, std::size_t... L>(
      std::index_sequence<I...>, std::index_sequence<G...>, std::index_sequence<S...>, std::index_sequence<L...>)
      HEED_INLINED_LAMBDA {
    const std::array<typename Lanes<Scalar>::Packet, std::size_t(rows) * keys> dots[] = {
        unsummed_dots<rows, int(keys), loads>(q, q_stride, Rows{k.data + Index(G * keys) * k.stride, k.stride}, width,
                                              soon)...};
    const auto dot = [&](std::size_t i) HEED_INLINED_LAMBDA {  // [rows x at_once]
      const std::size_t row = i / at_once, key = i % at_once;
      return Lanes<Scalar>{dots[key / keys][row * keys + key % keys]};
    };
    Scalar sum[sizeof...(I)];
    const auto add_up = [&](std::size_t s) HEED_INLINED_LAMBDA {
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

/// scores [rows x keys] = q k^T over `width` columns, in whole loads; rows of scores `stride` apart.
template <int rows, int loads, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
void score_loads(Scalar* scores, Index stride, const Scalar* q, Index q_stride, Rows k, Index keys, Index width,
                 Ahead soon) {
  constexpr int at_once = keys_at_once<rows, Scalar>;
  static_assert(rows * at_once % full_width<Scalar> == 0);
  Index key = 0;
  for (; key + at_once <= keys; key += at_once)
    soon =
        dots_of_few<rows, loads>(scores + key, stride, q, q_stride, Rows{k.data + key * k.stride, k.stride}, width, soon);
  for (; key < keys; ++key) {  // each of the last keys stands for all
    Scalar out[std::size_t(rows * at_once)];
    dots_of_few<rows, loads>(out, at_once, q, q_stride, Rows{k.data + key * k.stride, 0}, width, Never{});
    for (int r = 0; r < rows; ++r) scores[r * stride + key] = out[r * at_once];
  }
}

/// scores [rows x keys] = q k^T, rows of scores `stride` apart.
template <int rows, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
void score_rows(Scalar* scores, Index stride, const Scalar* q, Index q_stride, Rows k, Index keys, Index width,
                Ahead soon) {
  const Index whole = width / load_width<Rows> * load_width<Rows>;
  const auto score = [&]<int loads> { score_loads<rows, loads>(scores, stride, q, q_stride, k, keys, whole, soon); };
  if constexpr (rows == 1) {
    if (whole == 4 * load_width<Rows>)
      score.template operator()<4>();
    else
      score.template operator()<0>();
  } else {
    score.template operator()<0>();
  }
  if (whole == width) return;
  for (Index key = 0; key < keys; ++key) {
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

/// Packets of columns that are held in registers: of 32 of them, or of 16.
inline constexpr int packets_at_once = product_rows == 8 ? 4 : 2;

/// Columns of V that are read in one pass over its rows.
template <class Scalar>
inline constexpr Index columns_at_once = packets_at_once* full_width<Scalar>;

/// Rows of weights, `stride` apart, which lie there.
template <class Scalar>
struct Weights {
  Scalar* data;
  Index stride;

  Weights from_row(Index i) const { return {data + i * stride, stride}; }
  template <int rows>
  void make(Index) const {}
};

/// Weights that are made of scores just before they are wanted, a packet of keys at a time: exponentials hide behind the
/// reading of V. s = exp(s - m), l += s, lane by lane.
template <class Scalar>
struct Exponentials {
  Scalar* data;  // s
  Index stride;
  const Scalar* m;  // [rows]
  Scalar* l;        // [rows x lanes]

  Exponentials from_row(Index i) const { return {data + i * stride, stride, m + i, l + i * full_width<Scalar>}; }
  template <int rows>
  EIGEN_ALWAYS_INLINE void make(Index key) const {
    for (Index r = 0; r < rows; ++r) {
      const auto weight = falling_exponential(Lanes<Scalar>::load(data + r * stride + key) - Lanes<Scalar>::all(m[r]));
      weight.store(data + r * stride + key);
      (Lanes<Scalar>::load(l + r * full_width<Scalar>) + weight).store(l + r * full_width<Scalar>);
    }
  }
};

/// o [rows x packets] = factor o + weights [rows x keys] v: the columns from `e` on, in as many packets. One row of output
/// is one chain of multiply-adds: with fewer than four rows several keys run side by side, and are added up last.
template <int rows, int packets, bool whole, class Weigh, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
Ahead add_columns(Scalar* o, Index o_stride, const Scalar* factor, Weigh weights, Rows v, Index keys, Index columns,
                  Ahead soon) {
  using Packet = Lanes<Scalar>;
  constexpr Index lanes = full_width<Scalar>;
  constexpr std::size_t phases = 4 / std::size_t(rows);
  constexpr std::size_t loads = std::size_t(packets) / Rows::packets;
  [&]<std::size_t... I, std::size_t... R, std::size_t... L, std::size_t... F>(
      std::index_sequence<I...>, std::index_sequence<R...>, std::index_sequence<L...>, std::index_sequence<F...>)
      HEED_INLINED_LAMBDA {
    using Raw = typename Packet::Packet;
    constexpr std::size_t n = std::size_t(packets), block = sizeof...(I);
    const auto at = [&](std::size_t i) HEED_INLINED_LAMBDA { return o + Index(i / n) * o_stride + Index(i % n) * lanes; };
    Raw sum[phases][block];
    ((sum[0][I] = (Packet::all(factor[I / n]) * Packet::load(at(I))).raw), ...);
    for (std::size_t phase = 1; phase < phases; ++phase) ((sum[phase][I] = Packet::all(Scalar(0)).raw), ...);
    const typename Rows::Element* from = v.data;
    const Scalar* weight = weights.data;
    const auto add = [&](std::size_t phase) HEED_INLINED_LAMBDA {
      const auto load = [&](std::size_t l) HEED_INLINED_LAMBDA {
        const Index column = Index(l) * load_width<Rows>;
        soon.ask(load_width<Rows> * Index(sizeof(typename Rows::Element)));
        if constexpr (whole)
          return Rows::load(from + column);
        else
          return load_last<Rows>(from + column, columns - column);
      };
      const Loaded<Scalar, Rows::packets> v_e[] = {load(L)...};
      const Raw w[] = {Packet::all(weight[Index(R) * weights.stride]).raw...};
      ((sum[phase][I] =
            multiply_add(Packet{w[I / n]}, v_e[I % n / Rows::packets][I % n % Rows::packets], Packet{sum[phase][I]}).raw),
       ...);
      from += v.stride;
      ++weight;
    };
    for (Index begin = 0; begin < keys; begin += lanes) {
      weights.template make<rows>(begin);
      const Index end = (std::min)(begin + lanes, keys);
      Index key = begin;
      for (; key + Index(phases) <= end; key += Index(phases)) (add(F), ...);
      if constexpr (phases > 1)
        for (; key < end; ++key) add(0);
    }
    const auto join = [&](std::size_t phase, std::size_t other) HEED_INLINED_LAMBDA {
      ((sum[phase][I] = Eigen::internal::padd(sum[phase][I], sum[other][I])), ...);
    };
    if constexpr (phases == 4) join(0, 2), join(1, 3);
    if constexpr (phases >= 2) join(0, 1);
    (Packet{sum[0][I]}.store(at(I)), ...);
  }
  (std::make_index_sequence<std::size_t(rows * packets)>(), std::make_index_sequence<std::size_t(rows)>(),
   std::make_index_sequence<loads>(), std::make_index_sequence<phases>());
  return soon;
}

/// o [rows x width] = factor o + weights [rows x keys] v [keys x width]
template <int rows, class Weigh, class Rows, class Ahead, class Scalar = typename Rows::Scalar>
Ahead add_rows(Scalar* o, Index o_stride, const Scalar* factor, Weigh weights, Rows v, Index keys, Index width,
               Ahead soon) {
  constexpr int packets = packets_at_once;
  constexpr int least = int(Rows::packets);
  constexpr Index lanes = full_width<Scalar>;
  Index e = 0;
  const auto add = [&]<int wide, bool whole>(auto of) {
    soon = add_columns<rows, wide, whole>(o + e, o_stride, factor, of, Rows{v.data + e, v.stride}, keys, width - e, soon);
  };
  const Weights<Scalar> made{weights.data, weights.stride};
  if (width == 0) {  // but the weights are summed
    for (Index key = 0; key < keys; key += lanes) weights.template make<rows>(key);
  } else if (packets * lanes <= width) {
    add.template operator()<packets, true>(weights);
    e = packets * lanes;
  } else {
    if (least * lanes <= width)
      add.template operator()<least, true>(weights);
    else
      add.template operator()<least, false>(weights);
    e = least * lanes;
  }
  for (; e + packets * lanes <= width; e += packets * lanes) add.template operator()<packets, true>(made);
  for (; e + least * lanes <= width; e += least * lanes) add.template operator()<least, true>(made);
  if (e < width) add.template operator()<least, false>(made);
  return soon;
}

/// o [count x width] = factor o + weights v for any number of rows.
template <class Weigh, class Rows, class Scalar = typename Rows::Scalar>
void add_few(Scalar* o, Index o_stride, const Scalar* factor, Weigh weights, Index count, Rows v, Index keys, Index width,
             Soon soon) {
  const auto block = [&]<int rows>(Index i) {
    const auto add = [&](auto ahead) {
      return add_rows<rows>(o + i * o_stride, o_stride, factor + i, weights.from_row(i), v, keys, width, ahead);
    };
    if (rows == 1 && !soon.wanted)
      add(Never{});
    else
      soon = add(soon);
    soon.wanted = false;
  };
  Index i = 0;
  for (; i + 4 <= count; i += 4) block.template operator()<4>(i);
  if (count - i >= 2) block.template operator()<2>(i), i += 2;
  if (count - i >= 1) block.template operator()<1>(i);
}

}  // namespace heed::inline HEED_ABI::detail

#undef HEED_INLINED_LAMBDA
