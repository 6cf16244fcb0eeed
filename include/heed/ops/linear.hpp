// Linear maps of rows, forward and backward.
//
//   linear              y += x w         x [T x in]  w [in x out]  y [T x out]
//   linear_transposed   y += x w^T       x [T x in]  w [out x in]  y [T x out]      (a tied head: w is the embedding)
//
// Everything adds, so that the residual stream is an argument and not a temporary. Every product is C += A B in blocks of a
// fixed shape; where an element takes its terms one after another (all of them but x w^T for few rows), its bits depend
// neither on the number of rows, nor on the blocks, nor on the workers.
//
// Where Eigen has a BLAS (EIGEN_USE_BLAS), products of many rows and plain weights are its: blocks of a fixed shape as
// well.
//
// Weights that are stored in 16 bits are widened block by block, as B is packed, or for few rows in registers: the bits of
// y are those that the rounded weights give.
#pragma once

#include <algorithm>

#include "../compiled/kernels.hpp"
#include "../core/weight.hpp"
#include "../core/workers.hpp"
#include "kernels/blas_product.hpp"
#include "kernels/few_rows.hpp"
#include "kernels/pack.hpp"
#include "product.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr Index packed_side = 128;                  // rows and columns of C in one job
inline constexpr Index large_packed_side = 256;            // the same, where there are 8 jobs even so
inline constexpr Index few_rows = 16;                      // fewer do not repay packing
inline constexpr Index few_rows_columns = 512;             // of C in one job
inline constexpr Index large_few_rows_columns = 1024;      // the same, where there are 4 jobs even so
inline constexpr Index small_matrix = Index(1) << 14;      // B of no more numbers is not worth asking ahead for
inline constexpr Index few_rows_depth = 16;                // rows of B that are read side by side
inline constexpr Index few_columns = 4;                    // columns of a B in 16 bits that are widened for a dot product
inline constexpr Index blas_rows = 512;                    // of C in one job of a BLAS, if there is one
inline constexpr Index one_job_products = Index(1) << 16;  // below this many multiply-adds there is one job

/// The terms taken at a time: a strip of B then fits the first cache, a packed panel the second.
template <class Scalar>
inline constexpr Index packed_depth = 1024 / Index(sizeof(Scalar));

/// The columns of B that run together in `accumulate`.
template <class Scalar>
inline constexpr Index strip_columns = 2 * full_width<Scalar>;

/// C [M x N] += A [M x K] B [K x N], where B is copied in strips, and A too, so that its rows touch: rows of a matrix whose
/// width is a power of two would drive each other from the first cache.
template <class Scalar, class B>
void multiply_packed(Scalar* c, Index c_row, Strided<Scalar> a, B b, Index M, Index N, Index K, Arena& scratch) {
  constexpr Index strip = strip_columns<Scalar>;
  const Index depth = (std::min)(K, packed_depth<Scalar>);
  Scalar* b_strips = scratch.take<Scalar>(depth * N);
  Scalar* a_rows = scratch.take<Scalar>(M * depth);  // [M x depth]
  for (Index k = 0; k < K; k += depth) {
    const Index depth_k = (std::min)(depth, K - k);
    pack(b_strips, b.from(k, 0), depth_k, N, strip);
    pack(a_rows, a.from(0, k), M, depth_k, depth_k);
    const Strided<Scalar> a_k{a_rows, depth_k, 1};
    for (Index j = 0; j < N; j += strip) {
      const Index columns = (std::min)(strip, N - j);
      accumulate(c + j, c_row, a_k, b_strips + j * depth_k, columns, M, columns, depth_k);
    }
  }
}

/// The same without a copy, for few rows or few terms.
template <class Scalar>
void multiply_in_place(Scalar* c, Index c_row, Strided<Scalar> a, Strided<Scalar> b, Index M, Index N, Index K,
                       Arena& scratch) {
  if (b.col != 1) {
    HEED_DEBUG_CHECK(a.col == 1 && b.row == 1);
    accumulate_dots(c, c_row, a.data, a.row, PlainRows<Scalar>{b.data, b.col}, M, N, K);
    return;
  }
  if (M < few_rows && N * K > small_matrix)
    return multiply_few_rows(c, c_row, a, PlainRows<Scalar>{b.data, b.row}, M, N, K, scratch);
  accumulate(c, c_row, a, b.data, b.row, M, N, K);
}

/// The same for weights in 16 bits. What is not widened in registers is widened beside B, as much as is read together.
template <class Scalar>
void multiply_in_place(Scalar* c, Index c_row, Strided<Scalar> a, NarrowStrided b, Index M, Index N, Index K,
                       Arena& scratch) {
  if (b.col != 1) {
    HEED_DEBUG_CHECK(a.col == 1 && b.row == 1);
    if constexpr (widens_in_order<Scalar>) {
      if (b.storage == Storage::bfloat16)
        return accumulate_dots(c, c_row, a.data, a.row, BfloatRows<Scalar>{b.data, b.col}, M, N, K);
      // Without a conversion of its own, a half is a dozen instructions for every four rows.
      if (converts_in_order<full_width<Scalar>> || M <= 4)
        return accumulate_dots(c, c_row, a.data, a.row, HalfRows<Scalar>{b.data, b.col}, M, N, K);
    }
    Scalar* columns = scratch.take<Scalar>(few_columns * K);  // [few_columns x K]
    for (Index j = 0; j < N; j += few_columns) {
      const Index columns_j = (std::min)(few_columns, N - j);
      for (Index i = 0; i < columns_j; ++i) widen(b.storage, b.data + (j + i) * b.col, K, columns + i * K);
      accumulate_dots(c + j, c_row, a.data, a.row, PlainRows<Scalar>{columns, K}, M, columns_j, K);
    }
    return;
  }
  if constexpr (widens_in_lanes<Scalar>) {
    if (M < few_rows) {
      if (b.storage == Storage::bfloat16)
        return multiply_few_rows(c, c_row, a, BfloatRows<Scalar>{b.data, b.row}, M, N, K, scratch);
      return multiply_few_rows(c, c_row, a, HalfRows<Scalar>{b.data, b.row}, M, N, K, scratch);
    }
  }
  Scalar* rows = scratch.take<Scalar>((std::min)(few_rows_depth, K) * N);  // [few_rows_depth x N]
  for (Index k = 0; k < K; k += few_rows_depth) {
    const Index depth = (std::min)(few_rows_depth, K - k);
    for (Index i = 0; i < depth; ++i) widen(b.storage, b.data + (k + i) * b.row, N, rows + i * N);
    accumulate(c, c_row, a.from(0, k), rows, N, M, N, depth);
  }
}

/// The parts of that size that cover n.
inline Index parts(Index n, Index size) {
  return (n + size - 1) / size;
}

/// C [M x N] += A [M x K] B [K x N]
template <class Scalar, class B>
void multiply(MutableView<Scalar> c, Strided<Scalar> a, B b, Index K, Workers& workers) {
  if constexpr (is_compiled<Scalar>)
    return run_compiled<Scalar>(
        std::is_same_v<B, NarrowStrided> ? compiled::Operation::multiply_narrow : compiled::Operation::multiply, c, a, b, K,
        workers);
  const Index M = c.rows(), N = c.cols();
  if (M == 0 || N == 0 || K == 0) return;
  const bool in_place = M < few_rows || (K < few_rows && b.col == 1);
  const bool one_job = M * N * K < one_job_products;
#if defined(EIGEN_USE_BLAS)
  if constexpr (std::is_same_v<B, Strided<Scalar>>)
    if (!in_place && !one_job)
      return workers.run(parts(M, blas_rows), [=, to = c.data(), to_row = c.outerStride()](Index job, Arena&) {
        const Index i = job * blas_rows;
        multiply_by_blas(to + i * to_row, to_row, a.from(i, 0), b, (std::min)(blas_rows, M - i), N, K);
      });
#endif
  const bool is_large =
      in_place ? parts(N, large_few_rows_columns) >= 4 : parts(M, large_packed_side) * parts(N, large_packed_side) >= 8;
  const Index side = is_large ? large_packed_side : packed_side;
  const Index rows = one_job ? M : side;
  const Index columns = one_job ? N : !in_place ? side : is_large ? large_few_rows_columns : few_rows_columns;
  const Index panels = parts(N, columns), blocks = parts(M, rows);
  Scalar* c_data = c.data();
  const Index c_row = c.outerStride();
  workers.run(blocks * panels, [=](Index job, Arena& scratch) {
    const Index i = job / panels * rows, j = job % panels * columns;
    const Index M_i = (std::min)(rows, M - i), N_j = (std::min)(columns, N - j);
    Scalar* c_ij = c_data + i * c_row + j;
    if (in_place)
      multiply_in_place(c_ij, c_row, a.from(i, 0), b.from(0, j), M_i, N_j, K, scratch);
    else
      multiply_packed(c_ij, c_row, a.from(i, 0), b.from(0, j), M_i, N_j, K, scratch);
  });
}

template <class Scalar>
Strided<Scalar> strided(View<Scalar> view) {
  return {view.data(), view.outerStride(), 1};
}
template <class Scalar>
Strided<Scalar> transposed(View<Scalar> view) {
  return {view.data(), 1, view.outerStride()};
}

}  // namespace heed::inline HEED_ABI::detail

namespace heed::inline HEED_ABI {

/// y += x w
///   x [T x in]   w [in x out]   y [T x out]
template <class X, class W, class Y>
void linear(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<W>& w, const Eigen::MatrixBase<Y>& y, Workers& workers) {
  HEED_DEBUG_CHECK(x.cols() == w.rows() && y.rows() == x.rows() && y.cols() == w.cols());
  detail::multiply(mutable_view_of(y), detail::strided(view_of(x)), detail::strided(view_of(w)), x.cols(), workers);
}

/// The same for weights in any storage.
template <class X, class Scalar, class Y>
void linear(const Eigen::MatrixBase<X>& x, const Weight<Scalar>& w, const Eigen::MatrixBase<Y>& y, Workers& workers) {
  HEED_DEBUG_CHECK(x.cols() == w.rows() && y.rows() == x.rows() && y.cols() == w.cols());
  if (w.is_narrow())
    detail::multiply(mutable_view_of(y), detail::strided(view_of(x)),
                     detail::NarrowStrided{w.storage(), w.bits().data(), w.cols(), 1}, x.cols(), workers);
  else
    detail::multiply(mutable_view_of(y), detail::strided(view_of(x)), detail::strided(view_of(w)), x.cols(), workers);
}

/// The gradient of dot(y, d_y) for y = x w.
template <class X, class W, class DY, class DX, class DW>
void linear_backward(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<W>& w, const Eigen::MatrixBase<DY>& d_y,
                     const Eigen::MatrixBase<DX>& d_x, const Eigen::MatrixBase<DW>& d_w, Workers& workers) {
  HEED_DEBUG_CHECK(d_x.rows() == x.rows() && d_x.cols() == x.cols() && d_w.rows() == w.rows() && d_w.cols() == w.cols());
  HEED_DEBUG_CHECK(x.cols() == w.rows() && d_y.rows() == x.rows() && d_y.cols() == w.cols());
  // y = x w   =>   d_x += d_y w^T,   d_w += x^T d_y
  detail::multiply(mutable_view_of(d_x), detail::strided(view_of(d_y)), detail::transposed(view_of(w)), d_y.cols(),
                   workers);
  detail::multiply(mutable_view_of(d_w), detail::transposed(view_of(x)), detail::strided(view_of(d_y)), x.rows(), workers);
}

/// y += x w^T
///   x [T x in]   w [out x in]   y [T x out]
template <class X, class W, class Y>
void linear_transposed(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<W>& w, const Eigen::MatrixBase<Y>& y,
                       Workers& workers) {
  HEED_DEBUG_CHECK(x.cols() == w.cols() && y.rows() == x.rows() && y.cols() == w.rows());
  detail::multiply(mutable_view_of(y), detail::strided(view_of(x)), detail::transposed(view_of(w)), x.cols(), workers);
}

/// The same for weights in any storage.
template <class X, class Scalar, class Y>
void linear_transposed(const Eigen::MatrixBase<X>& x, const Weight<Scalar>& w, const Eigen::MatrixBase<Y>& y,
                       Workers& workers) {
  HEED_DEBUG_CHECK(x.cols() == w.cols() && y.rows() == x.rows() && y.cols() == w.rows());
  if (w.is_narrow())
    detail::multiply(mutable_view_of(y), detail::strided(view_of(x)),
                     detail::NarrowStrided{w.storage(), w.bits().data(), 1, w.cols()}, x.cols(), workers);
  else
    detail::multiply(mutable_view_of(y), detail::strided(view_of(x)), detail::transposed(view_of(w)), x.cols(), workers);
}

/// The gradient of dot(y, d_y) for y = x w^T.
template <class X, class W, class DY, class DX, class DW>
void linear_transposed_backward(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<W>& w,
                                const Eigen::MatrixBase<DY>& d_y, const Eigen::MatrixBase<DX>& d_x,
                                const Eigen::MatrixBase<DW>& d_w, Workers& workers) {
  HEED_DEBUG_CHECK(d_x.rows() == x.rows() && d_x.cols() == x.cols() && d_w.rows() == w.rows() && d_w.cols() == w.cols());
  HEED_DEBUG_CHECK(x.cols() == w.cols() && d_y.rows() == x.rows() && d_y.cols() == w.rows());
  // y = x w^T   =>   d_x += d_y w,   d_w += d_y^T x
  detail::multiply(mutable_view_of(d_x), detail::strided(view_of(d_y)), detail::strided(view_of(w)), d_y.cols(), workers);
  detail::multiply(mutable_view_of(d_w), detail::transposed(view_of(d_y)), detail::strided(view_of(x)), x.rows(), workers);
}

}  // namespace heed::inline HEED_ABI
