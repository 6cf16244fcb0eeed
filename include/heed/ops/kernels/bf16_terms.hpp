// Floats as sums of bf16 terms, laid in tiles of pairs, which is how products of tiles read them.
//
//   A tile is 16 rows of 16 pairs.
//   left operand    row m holds a_m0 a_m1, a_m2 a_m3, ...         32 consecutive numbers of row m of A
//   right operand   row k holds b_2k,n b_2k+1,n for n < 16        two consecutive rows of B, number by number
//
// So a left tile is filled with pairs along rows; a right tile with pairs across rows; and a transposed one by transposing
// its pairs.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "../../core/matrix.hpp"
#include "bf16_terms_avx512.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr Index tile_rows = 16;     // of pairs
inline constexpr Index tile_columns = 32;  // numbers of a row: 16 pairs

/// 16 rows of 16 pairs of bf16; of a pair the first is the lower half.
struct alignas(64) PairTile {
  std::uint32_t pairs[tile_rows][tile_rows];
};

/// bf16(x) as a float, to the nearest, ties to even; NaN stays NaN, and denormal numbers become zero.
inline float round_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
  const std::uint32_t normal = magnitude > 0x7f800000u ? bits | 0x00400000u : nearest;
  return std::bit_cast<float>((magnitude < 0x00800000u ? bits & 0x80000000u : normal) & 0xffff0000u);
}

/// What the next term has to say: x - term; nothing if the term is infinite or NaN.
inline float rest_of(float x, float term) {
  const bool finite = (std::bit_cast<std::uint32_t>(term) & 0x7f800000u) != 0x7f800000u;
  return finite ? x - term : 0.0f;
}

/// The sum of x's terms: what products are formed of.
inline float sum_of_terms(float x, int terms) {
  float sum = 0;
  for (int term = 0; term < terms; ++term) {
    const float rounded = round_to_bf16(x);
    sum += rounded;
    x = rest_of(x, rounded);
  }
  return sum;
}

/// Row `row` of one tile for each term, `apart` tiles apart: pairs of even[i] and odd[i], i < 16.
inline void fill_row(PairTile* tile, Index apart, int terms, Index row, const float* even, const float* odd) {
#if defined(HEED_AVX512_BF16)
  fill_row_avx512(tile->pairs[row], apart * Index(sizeof(PairTile) / 4), terms, _mm512_loadu_ps(even),
                  _mm512_loadu_ps(odd));
#else
  float first[tile_rows], second[tile_rows];
  for (Index i = 0; i < tile_rows; ++i) first[i] = even[i], second[i] = odd[i];
  for (int term = 0; term < terms; ++term, tile += apart)
    for (Index i = 0; i < tile_rows; ++i) {
      const float lower = round_to_bf16(first[i]), upper = round_to_bf16(second[i]);
      tile->pairs[row][i] = (std::bit_cast<std::uint32_t>(lower) >> 16) | std::bit_cast<std::uint32_t>(upper);
      first[i] = rest_of(first[i], lower);
      second[i] = rest_of(second[i], upper);
    }
#endif
}

/// The same with pairs of neighbours: x[2i] and x[2i + 1], scaled, and zero from x[n] on.
inline void fill_row_along(PairTile* tile, Index apart, int terms, Index row, const float* x, Index n, float factor) {
#if defined(HEED_AVX512_BF16)
  fill_row_along_avx512(tile->pairs[row], apart * Index(sizeof(PairTile) / 4), terms, x, n, factor);
#else
  float halves[2][tile_rows] = {};
  for (Index i = 0; i < n; ++i) halves[i % 2][i / 2] = factor * x[i];
  fill_row(tile, apart, terms, row, halves[0], halves[1]);
#endif
}

/// x [16 x 16], its rows `stride` apart, to its transpose, `to_stride` apart.
template <class Word>
void transpose_16(const Word* x, Index stride, Word* to, Index to_stride) {
  static_assert(sizeof(Word) == 4);
#if defined(HEED_AVX512_BF16)
  transpose_16_avx512(x, stride, to, to_stride);
#else
  for (Index i = 0; i < tile_rows; ++i)
    for (Index j = 0; j < tile_rows; ++j) to[j * to_stride + i] = x[i * stride + j];
#endif
}

/// The same in place.
inline void transpose_pairs(PairTile& tile) {
#if !defined(HEED_AVX512_BF16)
  const PairTile copy = tile;
#else
  const PairTile& copy = tile;  // it is read before it is written
#endif
  transpose_16(copy.pairs[0], tile_rows, tile.pairs[0], tile_rows);
}

/// tiles = pairs along 16 rows of `width` numbers, in steps of 32: row(i) points to row i, or is null: zeros. The tiles of
/// a row of steps lie side by side, those of a term `apart` tiles after those of the term before. Row by row, since rows
/// may be far apart.
template <class Row>
void fill_along(PairTile* tiles, Index apart, int terms, Row&& row, Index width, float factor) {
  const float zero[1] = {};
  for (Index i = 0; i < tile_rows; ++i) {
    const float* x = row(i);
    for (Index step = 0; step * tile_columns < width; ++step)
      fill_row_along(tiles + step, apart, terms, i, x == nullptr ? zero : x + step * tile_columns,
                     x == nullptr ? Index(0) : (std::min)(tile_columns, width - step * tile_columns), factor);
  }
}

/// The same, transposed: right operands whose columns are the rows.
template <class Row>
void fill_along_transposed(PairTile* tiles, Index apart, int terms, Row&& row, Index width, float factor) {
  fill_along(tiles, apart, terms, row, width, factor);
  for (int term = 0; term < terms; ++term)
    for (Index step = 0; step * tile_columns < width; ++step) transpose_pairs(tiles[term * apart + step]);
}

/// tiles = pairs across rows 2k and 2k + 1 of x [rows x width], rows <= 32, transposed: left operands whose rows are the
/// columns of x. So many of them, 16 columns each, side by side; zero where x has nothing.
inline void fill_across_transposed(PairTile* tiles, Index apart, int terms, Index count, const float* x, Index stride,
                                   Index rows, Index width) {
  float padded[2][tile_rows];
  for (Index k = 0; k < tile_rows; ++k)
    for (Index tile = 0; tile < count; ++tile) {
      const float* even = x + 2 * k * stride + tile * tile_rows;
      if (2 * k + 1 < rows && (tile + 1) * tile_rows <= width) {
        fill_row(tiles + tile, apart, terms, k, even, even + stride);
        continue;
      }
      for (Index half = 0; half < 2; ++half)
        for (Index i = 0; i < tile_rows; ++i)
          padded[half][i] = 2 * k + half < rows && tile * tile_rows + i < width ? even[half * stride + i] : 0.0f;
      fill_row(tiles + tile, apart, terms, k, padded[0], padded[1]);
    }
  for (int term = 0; term < terms; ++term)
    for (Index tile = 0; tile < count; ++tile) transpose_pairs(tiles[term * apart + tile]);
}

}  // namespace heed::inline HEED_ABI::detail
