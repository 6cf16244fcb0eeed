// B of a product, copied in strips: what runs together in `accumulate` lies together.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../../core/storage.hpp"
#include "../product.hpp"
#include "../transpose.hpp"

namespace heed::inline HEED_ABI::detail {

/// Copies b [K x N] into strips, one after another, each [K x strip] with touching rows; the last may be narrower. The rows
/// or the columns of b are contiguous.
template <class Scalar>
void pack(Scalar* to, Strided<Scalar> b, Index K, Index N, Index strip) {
  constexpr Index width = full_width<Scalar>;
  if (b.col == 1) {
    for (Index k = 0; k < K; ++k)
      for (Index j = 0; j < N; j += strip) {
        const Index columns = (std::min)(strip, N - j);
        const Scalar* from = b.data + k * b.row + j;
        Scalar* row = to + j * K + k * columns;
        Index i = 0;
        for (; i + width <= columns; i += width) Lanes<Scalar>::load(from + i).store(row + i);
        for (; i < columns; ++i) row[i] = from[i];
      }
    return;
  }
  HEED_DEBUG_CHECK(b.row == 1);
  for (Index j = 0; j < N; j += strip) {
    const Index columns = (std::min)(strip, N - j);
    const Scalar* from = b.data + j * b.col;
    Scalar* at = to + j * K;
    Index i = 0;
    for (; i + width <= columns; i += width) {
      Index k = 0;
      for (; k + width <= K; k += width) transpose_square(at + k * columns + i, columns, from + k + i * b.col, b.col);
      for (; k < K; ++k)
        for (Index lane = 0; lane < width; ++lane) at[k * columns + i + lane] = from[k + (i + lane) * b.col];
    }
    for (; i < columns; ++i)
      for (Index k = 0; k < K; ++k) at[k * columns + i] = from[k + i * b.col];
  }
}

/// A B of weights in 16 bits.
struct NarrowStrided {
  Storage storage;
  const std::uint16_t* data;
  Index row;
  Index col;

  NarrowStrided from(Index i, Index j) const { return {storage, data + i * row + j * col, row, col}; }
};

/// The same, widened.
template <class Scalar>
void pack(Scalar* to, NarrowStrided b, Index K, Index N, Index strip) {
  constexpr Index width = full_width<Scalar>;
  if (b.col == 1) {
    for (Index k = 0; k < K; ++k)
      for (Index j = 0; j < N; j += strip) {
        const Index columns = (std::min)(strip, N - j);
        widen(b.storage, b.data + k * b.row + j, columns, to + j * K + k * columns);
      }
    return;
  }
  HEED_DEBUG_CHECK(b.row == 1);
  for (Index j = 0; j < N; j += strip) {
    const Index columns = (std::min)(strip, N - j);
    for (Index i = 0; i < columns; i += width)
      for (Index k = 0; k < K; k += width) {
        const Index lanes = (std::min)(width, columns - i), terms = (std::min)(width, K - k);
        Scalar square[static_cast<std::size_t>(width * width)];  // [lanes x terms]
        for (Index lane = 0; lane < lanes; ++lane)
          widen(b.storage, b.data + (j + i + lane) * b.col + k, terms, square + lane * width);
        Scalar* at = to + j * K + k * columns + i;
        if (lanes == width && terms == width)
          transpose_square(at, columns, square, width);
        else
          for (Index term = 0; term < terms; ++term)
            for (Index lane = 0; lane < lanes; ++lane) at[term * columns + lane] = square[lane * width + term];
      }
  }
}

}  // namespace heed::inline HEED_ABI::detail
