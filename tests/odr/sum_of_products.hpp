// The same code of heed, compiled for two instruction sets in one program. The inline namespace keeps the two apart.
//   returns  the sum of the elements of A B, A [5 x 7] and B [7 x 9], all of them small integers, so that the sum is exact
float sum_of_products_base();
float sum_of_products_avx2();

#if defined(SUM_OF_PRODUCTS)
#include <all_headers.hpp>

float SUM_OF_PRODUCTS() {
  heed::Matrix<float> a(5, 7);
  heed::Matrix<float> b(7, 9);
  heed::Matrix<float> c = heed::Matrix<float>::Zero(5, 9);
  for (heed::Index i = 0; i < a.size(); ++i) a.data()[i] = static_cast<float>(i % 5 - 2);
  for (heed::Index i = 0; i < b.size(); ++i) b.data()[i] = static_cast<float>(i % 7 - 1);
  heed::detail::accumulate(c.data(), 9, heed::detail::Strided<float>{a.data(), 7, 1}, b.data(), 9, heed::Index(5),
                           heed::Index(9), heed::Index(7));
  float sum = 0;
  for (heed::Index i = 0; i < c.size(); ++i) sum += c.data()[i];
  return sum;
}
#endif
