// The two small products under everything else, on memory that others own.
//
//   accumulate        C [M x N] += A [M x K]  B [K x N]        A has any strides; rows of B and C are contiguous
//   accumulate_dots   C [M x N] += A [M x K] (B [N x K])^T     rows of A and B are contiguous; for few rows of A
//
// In `accumulate` an element of C takes its K terms one after another, in order, by one multiply-add each. So its bits
// depend neither on M, nor on how rows, columns or K are cut into blocks, nor on addresses.
#pragma once

#include <algorithm>
#include <utility>

#include "kernels/in_register.hpp"
#include "lanes.hpp"

namespace heed::inline HEED_ABI::detail {

/// A(i, j) = data[i row + j col]
template <class Scalar>
struct Strided {
  const Scalar* data;
  Index row;
  Index col;

  Strided from(Index i, Index j) const { return {data + i * row + j * col, row, col}; }
};

// A block of C in registers: rows x packets sums, a row of B, and one element of A at a time. Of three packets a row, one
// load from memory feeds more than two multiply-adds.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int product_rows = 8, product_packets = 3;  // 24 sums of 32 registers
#elif defined(__FMA__)
inline constexpr int product_rows = 4, product_packets = 3;  // 12 of 16
#else
inline constexpr int product_rows = 4, product_packets = 2;  // 8 of 16: a product needs a register of its own
#endif

// What a block starts from.
struct FromC {
  template <class Packet, class Scalar>
  Packet start(const Scalar* c, Index) const {
    return Packet::load(c);
  }
};
struct FromZero {
  template <class Packet, class Scalar>
  Packet start(const Scalar*, Index) const {
    return Packet::all(Scalar(0));
  }
};
/// Every column of C times a factor of its own.
template <class Scalar>
struct FromScaledC {
  const Scalar* factors;  // [N]

  template <class Packet>
  Packet start(const Scalar* c, Index column) const {
    return Packet::load(c) * Packet::load(factors + column);
  }
};

// One block of C, held in registers while K runs. Row by row of A in the loop: with all of its elements at once, the sums
// would not fit beside them. Arguments by value, since what is referred to is loaded again after every store to C.
template <int width, class Scalar, class From, std::size_t... R, std::size_t... P>
void accumulate_block(Scalar* c, Index c_row, Strided<Scalar> a, const Scalar* b, Index b_row, Index K, From from,
                      std::index_sequence<R...>, std::index_sequence<P...>) {
  using Packet = Lanes<Scalar, width>;
  constexpr std::size_t n = sizeof...(P);
  Packet sum[sizeof...(R) * n];
  const auto start_row = [&sum, from](std::size_t r, const Scalar* c_r) {
    ((sum[r * n + P] = from.template start<Packet>(c_r + Index(P) * width, Index(P) * width)), ...);
  };
  (start_row(R, c + Index(R) * c_row), ...);
  const Scalar* a_k[] = {(a.data + Index(R) * a.row)...};
  for (Index k = 0; k < K; ++k) {
    const Packet b_k[] = {Packet::load(b + k * b_row + Index(P) * width)...};
    const auto add_row = [&sum, &b_k](std::size_t r, Scalar a_rk) {
      const Packet a_r = Packet::all(a_rk);
      ((sum[r * n + P] = multiply_add(a_r, b_k[P], sum[r * n + P])), ...);
    };
    (add_row(R, a_k[R][k * a.col]), ...);
  }
  const auto store_row = [&sum](std::size_t r, Scalar* c_r) { (sum[r * n + P].store(c_r + Index(P) * width), ...); };
  (store_row(R, c + Index(R) * c_row), ...);
}

// All rows of C over `packets` packets of columns.
template <int width, int packets, class Scalar, class From = FromC>
void accumulate_columns(Scalar* c, Index c_row, Strided<Scalar> a, const Scalar* b, Index b_row, Index M, Index K,
                        From from = {}) {
  const auto block = [&]<int rows>(Index i) {
    accumulate_block<width>(c + i * c_row, c_row, a.from(i, 0), b, b_row, K, from,
                            std::make_index_sequence<std::size_t(rows)>(),
                            std::make_index_sequence<std::size_t(packets)>());
  };
  Index i = 0;
  for (; i + product_rows <= M; i += product_rows) block.template operator()<product_rows>(i);
  if (product_rows > 4 && M - i >= 4) block.template operator()<4>(i), i += 4;
  if (M - i >= 2) block.template operator()<2>(i), i += 2;
  if (M - i >= 1) block.template operator()<1>(i);
}

// The columns from j on; what does not fill a packet goes to narrower ones.
template <int width, class Scalar>
void accumulate_from(Index j, Scalar* c, Index c_row, Strided<Scalar> a, const Scalar* b, Index b_row, Index M, Index N,
                     Index K) {
  if (M <= 2)  // few rows: more columns at once hide the latency of the multiply-add
    for (; j + 8 * width <= N; j += 8 * width) accumulate_columns<width, 8>(c + j, c_row, a, b + j, b_row, M, K);
  if constexpr (product_packets == 3)
    for (Index left = (N - j) / width; left == 3 || left >= 5; left -= 3, j += 3 * width)  // 4 are 2 + 2
      accumulate_columns<width, 3>(c + j, c_row, a, b + j, b_row, M, K);
  for (; j + 2 * width <= N; j += 2 * width) accumulate_columns<width, 2>(c + j, c_row, a, b + j, b_row, M, K);
  for (; j + width <= N; j += width) accumulate_columns<width, 1>(c + j, c_row, a, b + j, b_row, M, K);
  if constexpr (width > 1)
    if (j < N) accumulate_from<narrower_width<Scalar, width>>(j, c, c_row, a, b, b_row, M, N, K);
}

/// C [M x N] += A [M x K] B [K x N]
template <class Scalar>
void accumulate(Scalar* c, Index c_row, Strided<Scalar> a, const Scalar* b, Index b_row, Index M, Index N, Index K) {
  accumulate_from<full_width<Scalar>>(0, c, c_row, a, b, b_row, M, N, K);
}

// Whether dots_block asks for the rows of B that come next.
enum class Ahead { nothing, next_rows };

inline constexpr Index dots_panel = 16;                   // columns of C for which all rows of A are taken in turn
inline constexpr Index asked_ahead_for = Index(1) << 17;  // a B of so many numbers is not expected in the second cache

// The n < full width numbers at `from`, followed by zeros.
template <class Rows>
auto load_last_in_order(const typename Rows::Element* from, Index n) {
  typename Rows::Element padded[std::size_t(full_width<typename Rows::Scalar>)] = {};
  for (Index i = 0; i < n; ++i) padded[i] = from[i];
  return Rows::load_in_order(padded);
}

// rows x columns dot products at once: lane l of a sum takes the terms k with k mod W = l, one after another, and lanes are
// added at the end. Those rows of B are read side by side; the next ones are asked for line by line in the order in which
// they lie, as memory reads fastest.
template <int rows, int columns, Ahead ahead, class Rows, class Scalar>
void dots_block(Scalar* c, Index c_row, const Scalar* a, Index a_row, Rows b, Index K) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  const auto body = [&]<std::size_t... I, std::size_t... R, std::size_t... J>(
      std::index_sequence<I...>, std::index_sequence<R...>, std::index_sequence<J...>) {
    constexpr std::size_t n = sizeof...(J);
    constexpr Index step = Index(n) * width;  // numbers of B at a time
    [[maybe_unused]] constexpr Index lines = (std::max)(Index(1), step * Index(sizeof(typename Rows::Element)) / 64);
    [[maybe_unused]] const auto *soon = b.data + Index(n) * b.stride, *end = soon + K;
    Packet sum[] = {((void)I, Packet::all(Scalar(0)))...};
    const auto add = [&sum](const auto& a_k, const auto& b_k) {
      ((sum[I] = multiply_add(a_k[I / n], b_k[I % n], sum[I])), ...);
    };
    Index k = 0;
    for (; k + width <= K; k += width) {
#if defined(__GNUC__)
      if constexpr (ahead == Ahead::next_rows) {
        for (Index line = 0; line < lines; ++line) __builtin_prefetch(soon + line * (step / lines), 0, 2);
        soon += step;
        if (soon >= end) end += b.stride, soon = end - K;
      }
#endif
      const Packet a_k[] = {in_register(Packet::load(a + Index(R) * a_row + k))...};
      const Packet b_k[] = {in_register(Rows::load_in_order(b.data + Index(J) * b.stride + k))...};
      add(a_k, b_k);
    }
    if (k < K) {  // in lanes as well: a compiler may round scalar products here and not there
      const Packet a_k[] = {load_first(a + Index(R) * a_row + k, K - k)...};
      const Packet b_k[] = {load_last_in_order<Rows>(b.data + Index(J) * b.stride + k, K - k)...};
      add(a_k, b_k);
    }
    ((c[Index(I / n) * c_row + Index(I % n)] += sum[I].sum()), ...);
  };
  body(std::make_index_sequence<std::size_t(rows) * std::size_t(columns)>(), std::make_index_sequence<std::size_t(rows)>(),
       std::make_index_sequence<std::size_t(columns)>());
}

/// C [M x N] += A [M x K] (B [N x K])^T, where B is of any row type of kernels/stored_rows.hpp that loads in order: an
/// element's bits depend on the numbers in B, not on how they are stored.
template <class Rows, class Scalar>
void accumulate_dots(Scalar* c, Index c_row, const Scalar* a, Index a_row, Rows b, Index M, Index N, Index K) {
  const auto block = [&]<int rows, int columns, Ahead ahead>(Index i, Index j) {
    dots_block<rows, columns, ahead>(c + i * c_row + j, c_row, a + i * a_row, a_row, Rows{b.data + j * b.stride, b.stride},
                                     K);
  };
  const bool asks = N * K >= asked_ahead_for;
  for (Index panel = 0; panel < N; panel += dots_panel) {
    const Index end = (std::min)(N, panel + dots_panel);
    const auto rows_from = [&]<int rows>(Index i) {
      Index j = panel;
      if (asks && i == 0)
        for (; j + 4 <= end; j += 4) block.template operator()<rows, 4, Ahead::next_rows>(i, j);
      else
        for (; j + 4 <= end; j += 4) block.template operator()<rows, 4, Ahead::nothing>(i, j);
      for (; j < end; ++j) block.template operator()<rows, 1, Ahead::nothing>(i, j);
    };
    Index i = 0;
    for (; i + 4 <= M; i += 4) rows_from.template operator()<4>(i);
    if (M - i >= 2) rows_from.template operator()<2>(i), i += 2;
    if (M - i >= 1) rows_from.template operator()<1>(i);
  }
}

}  // namespace heed::inline HEED_ABI::detail
