// Activations, one number at a time.
#pragma once

#include <cmath>

namespace heed::reference {

template <class Scalar>
Scalar sigmoid(Scalar x) {
  return 1 / (1 + std::exp(-x));
}
template <class Scalar>
Scalar silu(Scalar x) {
  return x * sigmoid(x);
}
template <class Scalar>
Scalar silu_derivative(Scalar x) {
  return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}
template <class Scalar>
Scalar softplus(Scalar x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

}  // namespace heed::reference
