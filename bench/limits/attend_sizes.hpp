// Sizes of attention, and operands of them.
#pragma once

#include <string_view>

#include <heed/core/random.hpp>
#include <heed/ops/mask.hpp>

#include "../support/huge_pages.hpp"
#include "row.hpp"

namespace limits {

struct AttendSizes {
  Index keys, heads, kv_heads, width;
  Index sequences = 1;

  /// Of prefill: two products for every pair that is seen, in every head.
  double flops(const heed::Mask& mask) const {
    double pairs = 0;
    for (Index i = 0; i < keys; ++i) pairs += static_cast<double>(mask.visible(i, keys).size());
    return 4 * pairs * static_cast<double>(sequences * heads * width);
  }
  /// Small ones end within a tile.
  AttendSizes at(Scale scale) const {
    AttendSizes scaled = *this;
    if (scale == Scale::small) {
      const Index group = heads / kv_heads;
      scaled.keys = (std::min)(keys, Index(521));
      scaled.kv_heads = (std::min)(kv_heads, Index(2));
      scaled.heads = scaled.kv_heads * group;
    }
    return scaled;
  }
};

/// Of a measurement: seven rounds, on a machine of modest speed.
inline double seconds_for(double flops) {
  return 2 + 7 * flops / 50e9;
}

/// Numbers of deviation 1, uniform: there are too many of some to make them normal.
inline bench::HugeMatrix<float> random(Index rows, Index cols, std::string_view name) {
  bench::HugeMatrix<float> made(rows, cols);
  constexpr double limit = 1.7320508;
  heed::Random(1, name).uniform(made.mutable_view(), -limit, limit);
  return made;
}

}  // namespace limits
