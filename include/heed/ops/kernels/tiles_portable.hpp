// Products of tiles of bf16 pairs, in the lanes of any instruction set. tiles_amx.hpp has the same in the processor's
// tiles.
//
//   c [32 x 32] += a [32 x 32] b [32 x 32]      four tiles c_ij, two left operands a_i, two right operands b_j; each a tile
//
//   dot   c_ij[m][n] += sum_k a_i[m][2k] b_j[2k][n] + sum_k a_i[m][2k+1] b_j[2k+1][n]
//
// The sums over k run from zero, one for each half of the pairs, and every step is rounded to float: what TDPBF16PS does.
// It also takes denormal results for zeros, which this does not.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS.
#pragma once

#include "../lanes.hpp"
#include "bf16_terms.hpp"

namespace heed::inline HEED_ABI::detail {

class TilesPortable {
 public:
  /// c = 0
  void zero() {
    for (auto& row : c_)
      for (float& x : row) x = 0;
  }
  /// c = from [32 x 32], its rows `stride` apart
  void load(const float* from, Index stride) {
    for (Index i = 0; i < size; ++i)
      for (Index j = 0; j < size; ++j) c_[i][j] = from[i * stride + j];
  }
  /// to = c
  void store(float* to, Index stride) const {
    for (Index i = 0; i < size; ++i)
      for (Index j = 0; j < size; ++j) to[i * stride + j] = c_[i][j];
  }
  void left(const PairTile* upper, const PairTile* lower) {
    a_[0].widen(*upper);
    a_[1].widen(*lower);
  }
  void right(const PairTile* left, const PairTile* right) {
    b_[0].widen(*left);
    b_[1].widen(*right);
  }
  void dot() {
    constexpr Index width = full_width<float>;
    for (Index i = 0; i < 2; ++i)
      for (Index j = 0; j < 2; ++j)
        for (Index m = 0; m < tile_rows; m += 4)
          for (Index n = 0; n < tile_rows; n += width)
            dot_rows(a_[i], b_[j], m, n, &c_[i * tile_rows + m][j * tile_rows + n]);
  }

 private:
  static constexpr Index size = 2 * tile_rows;

  struct Halves {
    float even[tile_rows][tile_rows];
    float odd[tile_rows][tile_rows];

    void widen(const PairTile& tile) {
      for (Index i = 0; i < tile_rows; ++i)
        for (Index j = 0; j < tile_rows; ++j) {
          even[i][j] = std::bit_cast<float>(tile.pairs[i][j] << 16);
          odd[i][j] = std::bit_cast<float>(tile.pairs[i][j] & 0xffff0000u);
        }
    }
  };

  /// Four rows from m on, a packet of columns from n on.
  static void dot_rows(const Halves& a, const Halves& b, Index m, Index n, float* c) {
    using Packet = Lanes<float>;
    Packet even[4], odd[4];
    for (Index r = 0; r < 4; ++r) even[r] = odd[r] = Packet::all(0);
    for (Index k = 0; k < tile_rows; ++k) {
      const Packet b_even = Packet::load(b.even[k] + n), b_odd = Packet::load(b.odd[k] + n);
      for (Index r = 0; r < 4; ++r) {
        even[r] = multiply_add(Packet::all(a.even[m + r][k]), b_even, even[r]);
        odd[r] = multiply_add(Packet::all(a.odd[m + r][k]), b_odd, odd[r]);
      }
    }
    for (Index r = 0; r < 4; ++r) (Packet::load(c + r * size) + (even[r] + odd[r])).store(c + r * size);
  }

  Halves a_[2];
  Halves b_[2];
  float c_[size][size];
};

}  // namespace heed::inline HEED_ABI::detail
