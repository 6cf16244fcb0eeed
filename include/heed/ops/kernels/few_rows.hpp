// The product of few rows with a large matrix, which is bound by reading the matrix.
//
//   C [M x N] += A [M x K] B [K x N]
//
// Four rows of B at a time are added to C, which the first cache holds; every row of B is read once, in order, and asked
// for before it is needed. Rows in 16 bits are widened in registers; C is arranged as their lanes come, and put in order at
// the end. An element takes its terms in order, by one multiply-add each, so its bits are those of `accumulate`.
#pragma once

#include <algorithm>

#include "../../core/arena.hpp"
#include "../product.hpp"
#include "stored_rows.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr int few_terms = 4;  // rows of B that are added at a time

// c [rows x N in whole loads] += the terms k, ..., k + terms - 1
template <int rows, int terms, class Rows, class Scalar>
void add_few_terms(Scalar* c, Index c_row, Strided<Scalar> a, Rows b, Index N) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>, load = load_width<Rows>;
  constexpr std::size_t packets = Rows::packets;
  [&]<std::size_t... I, std::size_t... F, std::size_t... T>(std::index_sequence<I...>, std::index_sequence<F...>,
                                                            std::index_sequence<T...>) {
    constexpr std::size_t n = std::size_t(terms);
    const Packet factor[] = {Packet::all(a.data[Index(F / n) * a.row + Index(F % n) * a.col])...};  // [rows x terms]
    Scalar* at[] = {(c + Index(I / packets) * c_row + Index(I % packets) * width)...};
    const auto add = [&](Index j, const auto& read) {
      Packet sum[] = {Packet::load(at[I] + j)...};
      const Loaded<Scalar, packets> b_t[] = {read(b.data + Index(T) * b.stride + j)...};
      const auto term = [&]<std::size_t t>(std::integral_constant<std::size_t, t>) {
        ((sum[I] = multiply_add(factor[I / packets * n + t], b_t[t][I % packets], sum[I])), ...);
      };
      (term(std::integral_constant<std::size_t, T>()), ...);
      (sum[I].store(at[I] + j), ...);
    };
    [[maybe_unused]] const auto *soon = b.data + few_terms * b.stride, *end = soon + N;
    Index j = 0;
    for (; j + load <= N; j += load) {
      // The next rows, line by line in the order in which they lie.
#if defined(__GNUC__)
      (__builtin_prefetch(soon + Index(T) * load, 0, 2), ...);
      soon += terms * load;
      if (soon >= end) end += b.stride, soon = end - N;
#endif
      add(j, [](const auto* from) { return Rows::load(from); });
    }
    if (j < N) add(j, [&](const auto* from) { return load_last<Rows>(from, N - j); });
  }
  (std::make_index_sequence<std::size_t(rows) * packets>(), std::make_index_sequence<std::size_t(rows * terms)>(),
   std::make_index_sequence<std::size_t(terms)>());
}

/// C [M x N] += A [M x K] B [K x N]
template <class Rows, class Scalar>
void multiply_few_rows(Scalar* c, Index c_row, Strided<Scalar> a, Rows b, Index M, Index N, Index K, Arena& scratch) {
  constexpr int together = product_rows / 2;
  const Index row = whole_loads<Scalar>(N);
  Scalar* sums = scratch.take_zeroed<Scalar>(M * row);  // [M x row]  C, arranged as the lanes of B
  for (Index i = 0; i < M; ++i)
    if constexpr (Rows::packets == 1)
      std::copy_n(c + i * c_row, N, sums + i * row);
    else
      for (Index j = 0; j < N; ++j) sums[i * row + place_of<Rows>(j)] = c[i * c_row + j];
  const auto add = [&]<int terms>(Index k) {
    const Rows b_k{b.data + k * b.stride, b.stride};
    Index i = 0;
    for (; i + together <= M; i += together) add_few_terms<together, terms>(sums + i * row, row, a.from(i, k), b_k, N);
    for (; i < M; ++i) add_few_terms<1, terms>(sums + i * row, row, a.from(i, k), b_k, N);
  };
  Index k = 0;
  for (; k + few_terms <= K; k += few_terms) add.template operator()<few_terms>(k);
  for (; k < K; ++k) add.template operator()<1>(k);
  for (Index i = 0; i < M; ++i)
    if constexpr (Rows::packets == 1)
      std::copy_n(sums + i * row, N, c + i * c_row);
    else
      for (Index j = 0; j < N; ++j) c[i * c_row + j] = sums[i * row + place_of<Rows>(j)];
}

}  // namespace heed::inline HEED_ABI::detail
