// Both copies give the same up to rounding: sums as long as the rows are wide, through some forty products.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "across_sets.hpp"

int main() {
  std::vector<double> base = model_base();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  const std::vector<double> avx2 = model_avx2();
  base = model_base();
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < base.size(); ++i) {
    largest = (std::max)(largest, std::abs(base[i]));
    difference = (std::max)(difference, std::abs(base[i] - avx2[i]));
  }
  const double bound = 40 * 32 * std::numeric_limits<double>::epsilon() * largest;
  std::printf("expected a difference of at most %g, found %g\n", bound, difference);
  return difference <= bound && largest > 0 ? 0 : 1;
}
