// expect: heed: write to a row-major matrix (heed::Matrix) or a block of one
#include <heed/core/matrix.hpp>

int main() {
  heed::Matrix<float> rows = heed::Matrix<float>::Zero(2, 3);
  heed::Index seen = heed::mutable_view_of(rows).rows();
#if HEED_BAD
  Eigen::MatrixXf columns = rows;
  seen += heed::mutable_view_of(columns).rows();
#endif
  return seen == 2 ? 0 : 1;
}
