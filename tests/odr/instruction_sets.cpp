#include <cstdio>

#include "sum_of_products.hpp"

int main() {
  const float base = sum_of_products_base();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  const float avx2 = sum_of_products_avx2();
  std::printf("base %g, avx2 %g\n", static_cast<double>(base), static_cast<double>(avx2));
  return base == avx2 ? 0 : 1;
}
