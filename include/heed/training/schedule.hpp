// The learning rate over the steps of a training: a linear warm-up, then half a cosine.
//
//   step <  warmup_steps     peak (step + 1) / warmup_steps
//   step >= warmup_steps     floor + (peak - floor) (1 + cos(pi p)) / 2
//   step >= total_steps      floor
//
//   p = (step - warmup_steps) / (total_steps - warmup_steps)
// Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), eq. 5; warm-up: Goyal et al. 2017 (arXiv 1706.02677), section 2.2.
#pragma once

#include <cmath>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

struct WarmupCosine {
  double peak = 1e-3;
  double floor = 1e-4;
  Index warmup_steps = 100;
  Index total_steps = 1000;

  /// The learning rate of a step; the first step is 0.
  double at(Index step) const {
    if (step < warmup_steps) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
    if (step >= total_steps) return floor;
    constexpr double pi = 3.141592653589793;
    const double progress = static_cast<double>(step - warmup_steps) / static_cast<double>(total_steps - warmup_steps);
    return floor + (peak - floor) * (1 + std::cos(pi * progress)) / 2;
  }
};

}  // namespace heed::inline HEED_ABI
