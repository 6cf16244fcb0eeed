#include <heed/core/matrix.hpp>

int main() {
  const heed::Matrix<float> x = heed::Matrix<float>::Ones(2, 3);  // [T x D]
  return heed::view_of(x).rows() == 2 ? 0 : 1;
}
