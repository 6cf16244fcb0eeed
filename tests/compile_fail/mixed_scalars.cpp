// expect: heed: attend takes q, k, v and y of one scalar type
#include <heed/ops/attend.hpp>

int main() {
  const heed::Matrix<float> x = heed::Matrix<float>::Zero(3, 8);  // [T x D]
  heed::Index seen = heed::attend(x, x, x, {.heads = 2}).rows();
#if HEED_BAD
  const heed::Matrix<double> v = x.cast<double>();
  seen += heed::attend(x, x, v, {.heads = 2}).rows();
#endif
  return seen == 3 ? 0 : 1;
}
