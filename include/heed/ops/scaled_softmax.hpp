// l = scale softmax(z)      z, l [1 x n]
#pragma once

#include <algorithm>
#include <cmath>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

/// p = softmax(z),  l = scale p
///   z, p, l [1 x n]
template <class Scalar>
void scaled_softmax(const View<Scalar>& z, Scalar scale, MutableView<Scalar> p, MutableView<Scalar> l) {
  const Index n = z.cols();
  Scalar largest = z(0, 0), sum = 0;
  for (Index i = 1; i < n; ++i) largest = (std::max)(largest, z(0, i));
  for (Index i = 0; i < n; ++i) sum += p(0, i) = std::exp(z(0, i) - largest);
  for (Index i = 0; i < n; ++i) {
    p(0, i) /= sum;
    l(0, i) = scale * p(0, i);
  }
}

/// Adds to d_z [1 x n] and d_scale [1 x 1].
///   p, d_l [1 x n]
template <class Scalar>
void scaled_softmax_backward(const View<Scalar>& p, Scalar scale, const View<Scalar>& d_l, MutableView<Scalar> d_z,
                             MutableView<Scalar> d_scale) {
  Scalar mean = 0;  // of d_l under p
  for (Index i = 0; i < p.cols(); ++i) mean += p(0, i) * d_l(0, i);
  // l = scale p         =>   d_scale += p . d_l,  d_p = scale d_l
  d_scale(0, 0) += mean;
  // p = softmax(z)      =>   d_z += p * (d_p - p . d_p)
  for (Index i = 0; i < p.cols(); ++i) d_z(0, i) += scale * p(0, i) * (d_l(0, i) - mean);
}

}  // namespace heed::inline HEED_ABI
