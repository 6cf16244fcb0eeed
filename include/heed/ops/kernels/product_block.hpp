// A block of a matrix C [M x N] that stays in registers through several products, for kernels that do more to it than
// `accumulate` does.
//
//   C  <- what is there, zero, or each row times a factor
//   C  += A B                        A [M x K] with any strides; rows of B [K x N] are contiguous
//   C  += lower(A) B                 a square A: C_i += sum_{j <= i} A_ij B_j
//   C  += lower(A)^T B               C_j += sum_{i >= j} A_ij B_i
//
// An element takes its terms in order, by one multiply-add each. What lies above the diagonal is not touched, not even
// times zero.
#pragma once

#include <utility>

#include "../product.hpp"

namespace heed::inline HEED_ABI::detail {

template <class Scalar, int width, int row_count, int packet_count>
struct ProductBlock {
  using Packet = Lanes<Scalar, width>;
  static constexpr Index rows = row_count;
  static constexpr Index packets = packet_count;
  static constexpr std::size_t n = std::size_t(packet_count);
  using All = std::make_index_sequence<std::size_t(row_count) * n>;

  Packet sum[std::size_t(row_count) * n];  // [rows x packets]

  EIGEN_ALWAYS_INLINE void set_zero() { set_zero(All()); }
  EIGEN_ALWAYS_INLINE void load(const Scalar* c, Index c_row) { load(All(), c, c_row); }
  EIGEN_ALWAYS_INLINE void store(Scalar* c, Index c_row) const { store(All(), c, c_row); }
  /// C_r = factors[r step] C_r
  EIGEN_ALWAYS_INLINE void scale_rows(const Scalar* factors, Index step) { scale_rows(All(), factors, step); }
  /// C_r += factors x_r, column by column; x_r and the factors begin where the columns of C do.
  EIGEN_ALWAYS_INLINE void add_scaled(const Packet* factors, const Scalar* x, Index x_row) {
    add_scaled(All(), factors, x, x_row);
  }
  /// C += A B
  EIGEN_ALWAYS_INLINE void add(Strided<Scalar> a, const Scalar* b, Index b_row, Index K) {
    const Scalar* a_r[std::size_t(row_count)];
    for (int r = 0; r < row_count; ++r) a_r[r] = a.data + r * a.row;
    for (Index k = 0; k < K; ++k) add_term<0, row_count>(a_r, k * a.col, b + k * b_row);
  }
  /// C += lower(A) B, where C and A begin at row i
  EIGEN_ALWAYS_INLINE void add_lower(Strided<Scalar> a, const Scalar* b, Index b_row, Index i) {
    add(a, b, b_row, i);
    const Scalar* a_r[std::size_t(row_count)];
    for (int r = 0; r < row_count; ++r) a_r[r] = a.data + r * a.row + i * a.col;
    add_triangle<0>(a_r, a.col, b + i * b_row, b_row);
  }
  /// C += lower(A)^T B, where C begins at row j, A at its element (j, j), and B at row j of `terms` that are left
  EIGEN_ALWAYS_INLINE void add_lower_transposed(Strided<Scalar> a, const Scalar* b, Index b_row, Index terms) {
    const Scalar* a_r[std::size_t(row_count)];
    for (int r = 0; r < row_count; ++r) a_r[r] = a.data + r * a.col;
    add_triangle_transposed<0>(a_r, a.row, b, b_row);
    add({a.data + rows * a.row, a.col, a.row}, b + rows * b_row, b_row, terms - rows);
  }

 private:
  template <std::size_t... I>
  EIGEN_ALWAYS_INLINE void set_zero(std::index_sequence<I...>) {
    ((sum[I] = Packet::all(Scalar(0))), ...);
  }
  template <std::size_t... I>
  EIGEN_ALWAYS_INLINE void load(std::index_sequence<I...>, const Scalar* c, Index c_row) {
    ((sum[I] = Packet::load(c + Index(I / n) * c_row + Index(I % n) * width)), ...);
  }
  template <std::size_t... I>
  EIGEN_ALWAYS_INLINE void store(std::index_sequence<I...>, Scalar* c, Index c_row) const {
    (sum[I].store(c + Index(I / n) * c_row + Index(I % n) * width), ...);
  }
  template <std::size_t... I>
  EIGEN_ALWAYS_INLINE void scale_rows(std::index_sequence<I...>, const Scalar* factors, Index step) {
    ((sum[I] = Packet::all(factors[Index(I / n) * step]) * sum[I]), ...);
  }
  template <std::size_t... I>
  EIGEN_ALWAYS_INLINE void add_scaled(std::index_sequence<I...>, const Packet* factors, const Scalar* x, Index x_row) {
    ((sum[I] = multiply_add(factors[I % n], Packet::load(x + Index(I / n) * x_row + Index(I % n) * width), sum[I])), ...);
  }
  // C_r += a_r[r][at] b for the rows from `first` to `end`
  template <int first, int end>
  EIGEN_ALWAYS_INLINE void add_term(const Scalar* const* a_r, Index at, const Scalar* b) {
    add_term<std::size_t(first)>(std::make_index_sequence<std::size_t(end - first) * n>(),
                                 std::make_index_sequence<std::size_t(end - first)>(), std::make_index_sequence<n>(), a_r,
                                 at, b);
  }
  template <std::size_t first, std::size_t... I, std::size_t... R, std::size_t... P>
  EIGEN_ALWAYS_INLINE void add_term(std::index_sequence<I...>, std::index_sequence<R...>, std::index_sequence<P...>,
                                    const Scalar* const* a_r, Index at, const Scalar* b) {
    const Packet b_p[] = {Packet::load(b + Index(P) * width)...};
    const Packet factor[] = {Packet::all(a_r[first + R][at])...};
    ((sum[first * n + I] = multiply_add(factor[I / n], b_p[I % n], sum[first * n + I])), ...);
  }
  template <int s>
  EIGEN_ALWAYS_INLINE void add_triangle(const Scalar* const* a_r, Index a_col, const Scalar* b, Index b_row) {
    add_term<s, row_count>(a_r, s * a_col, b + s * b_row);
    if constexpr (s + 1 < row_count) add_triangle<s + 1>(a_r, a_col, b, b_row);
  }
  template <int t>
  EIGEN_ALWAYS_INLINE void add_triangle_transposed(const Scalar* const* a_r, Index a_row, const Scalar* b, Index b_row) {
    add_term<0, t + 1>(a_r, t * a_row, b + t * b_row);
    if constexpr (t + 1 < row_count) add_triangle_transposed<t + 1>(a_r, a_row, b, b_row);
  }
};

/// f(block, i, j) for blocks that cover M x N, one at (i, j); all rows of a few columns, then those of the next.
template <class Scalar, int width = full_width<Scalar>, class F>
void for_blocks(Index M, Index N, F&& f, Index j = 0) {
  const auto rows_at = [&]<int packets>(Index at) {
    Index i = 0;
    for (; i + product_rows <= M; i += product_rows) f(ProductBlock<Scalar, width, product_rows, packets>(), i, at);
    if constexpr (product_rows > 4)
      if (M - i >= 4) {
        f(ProductBlock<Scalar, width, 4, packets>(), i, at);
        i += 4;
      }
    for (; i < M; ++i) f(ProductBlock<Scalar, width, 1, packets>(), i, at);
  };
  if constexpr (width == full_width<Scalar>)
    for (; j + 2 * width <= N; j += 2 * width) rows_at.template operator()<2>(j);
  for (; j + width <= N; j += width) rows_at.template operator()<1>(j);
  if constexpr (width > 1)
    if (j < N) for_blocks<Scalar, narrower_width<Scalar, width>>(M, N, f, j);
}

}  // namespace heed::inline HEED_ABI::detail
