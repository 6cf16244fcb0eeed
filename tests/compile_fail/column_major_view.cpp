// expect: heed: pass a row-major matrix (heed::Matrix) or a block of one; evaluate an expression into a heed::Matrix first
#include <heed/core/matrix.hpp>

int main() {
  const heed::Matrix<float> rows = heed::Matrix<float>::Zero(2, 3);
  heed::Index seen = heed::view_of(rows).rows();
#if HEED_BAD
  const Eigen::MatrixXf columns = rows;
  seen += heed::view_of(columns).rows();
#endif
  return seen == 2 ? 0 : 1;
}
