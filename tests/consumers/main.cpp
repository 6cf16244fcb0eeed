// Attention on plain matrices: a row that sees equal keys averages the values.
#include <cmath>
#include <heed/ops/attend.hpp>
#if defined(WITH_THREADS)
#include <heed/threads/pool.hpp>
#endif
#if defined(WITH_IO)
#include <heed/io/safetensors.hpp>
#endif

int main() {
  const heed::Matrix<float> q = heed::Matrix<float>::Ones(1, 4);  // [T x H*E]
  const heed::Matrix<float> k = heed::Matrix<float>::Ones(2, 4);  // [S x H*E]
  heed::Matrix<float> v(2, 4);                                    // [S x H*E]
  v << 1, 2, 3, 4, 3, 4, 5, 6;
  const heed::Matrix<float> y = heed::attend(q, k, v, {.heads = 2});  // [T x H*E]
#if defined(WITH_THREADS)
  if (heed::Pool(2).workers() != 2) return 1;
#endif
#if defined(HEED_COMPILED)
  if (!heed::compiled::best().runs_here()) return 1;
#endif
  return std::abs(y(0, 0) - 2.0f) < 1e-6f && std::abs(y(0, 3) - 5.0f) < 1e-6f ? 0 : 1;
}
