// Products of tiles of bf16 pairs in the processor's tile registers (AMX): the interface of tiles_portable.hpp.
//
//   tmm0 tmm1     c_00 c_01       tmm4, tmm5   left operands        tmm6, tmm7   right operands
//   tmm2 tmm3     c_10 c_11
//
// Eight registers of 16 rows x 64 bytes (palette 1). A dot product takes the unit 16 cycles, a load from the first cache 8:
// two by two, four loads feed four products. Where the system has not said that it keeps the registers, using them ends the
// program: ask tiles_available first.
#pragma once

#include "../../core/abi.hpp"
#include "bf16_terms.hpp"

#if defined(HEED_AMX)

#include <immintrin.h>

#include <atomic>

namespace heed::inline HEED_ABI::detail {

/// What ldtilecfg reads.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

static_assert(sizeof(TileConfig) == 64);

class TilesAmx {
 public:
  TilesAmx() { _tile_loadconfig(&config); }
  ~TilesAmx() { _tile_release(); }
  TilesAmx(const TilesAmx&) = delete;
  TilesAmx& operator=(const TilesAmx&) = delete;

  void zero() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  void load(const float* from, Index stride) {
    written();
    _tile_loadd(0, from, bytes(stride));
    _tile_loadd(1, from + 16, bytes(stride));
    _tile_loadd(2, from + 16 * stride, bytes(stride));
    _tile_loadd(3, from + 16 * stride + 16, bytes(stride));
  }
  void store(float* to, Index stride) const {
    _tile_stored(0, to, bytes(stride));
    _tile_stored(1, to + 16, bytes(stride));
    _tile_stored(2, to + 16 * stride, bytes(stride));
    _tile_stored(3, to + 16 * stride + 16, bytes(stride));
    written();
  }
  void left(const PairTile* upper, const PairTile* lower) {
    written();
    _tile_loadd(4, upper, 64);
    _tile_loadd(5, lower, 64);
  }
  void right(const PairTile* left, const PairTile* right) {
    written();
    _tile_loadd(6, left, 64);
    _tile_loadd(7, right, 64);
  }
  void dot() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }

 private:
  static constexpr TileConfig config = {};

  static Index bytes(Index stride) { return stride * Index(sizeof(float)); }
  /// GCC 12 does not know that a tile is loaded from memory: what is to be loaded has to be there.
  static void written() { std::atomic_signal_fence(std::memory_order_seq_cst); }
};

}  // namespace heed::inline HEED_ABI::detail

#endif
