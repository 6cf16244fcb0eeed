// expect: heed: Eigen::Index is std::ptrdiff_t
#if defined(HEED_BAD)
#define EIGEN_DEFAULT_DENSE_INDEX_TYPE int
#endif
#include <heed/core/matrix.hpp>

heed::Index rows_of_a_matrix() {
  return heed::Matrix<float>(2, 3).rows();
}
