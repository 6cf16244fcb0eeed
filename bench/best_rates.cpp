#include "best_rates.hpp"

#include <algorithm>
#include <array>

#include "support/caches.hpp"

namespace heed::bench {

using limits::Rate;

double best_rate(Rate rate) {
  static const auto best = [] {
    std::array<double, limits::rate_count> most{};
    limits::MachineRates rates(0.01, 1);
    heed::Pool alone(1);
    for (int round = 0; round < 5; ++round)
      for (std::size_t i = 0; i < most.size(); ++i)
        most[i] = (std::max)(most[i], rates.measure(static_cast<Rate>(i), alone));
    return most;
  }();
  return best[static_cast<std::size_t>(rate)];
}

Rate level_of(double bytes) {
  static const auto half = [](int level, Index guess) {
    return static_cast<double>(::bench::cache_bytes(level, guess)) / 2;
  };
  static const double l2 = half(2, Index(1) << 20), l3 = half(3, Index(1) << 24);
  return bytes <= l2 ? Rate::l2 : bytes <= l3 ? Rate::l3 : Rate::dram;
}

}  // namespace heed::bench
