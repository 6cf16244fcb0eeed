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

template <class Scalar>
Scalar normal_distribution(Scalar x) {
  return std::erfc(-x / std::sqrt(Scalar(2))) / 2;
}
template <class Scalar>
Scalar normal_density(Scalar x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(Scalar(-1)));
}
template <class Scalar>
Scalar gelu(Scalar x) {
  return x * normal_distribution(x);
}
template <class Scalar>
Scalar gelu_derivative(Scalar x) {
  return normal_distribution(x) + x * normal_density(x);
}

/// 2 u
template <class Scalar>
Scalar gelu_tanh_argument(Scalar x) {
  return 2 * std::sqrt(2 / std::acos(Scalar(-1))) * (x + Scalar(0.044715) * x * x * x);
}
template <class Scalar>
Scalar gelu_tanh_slope(Scalar x) {
  return 2 * std::sqrt(2 / std::acos(Scalar(-1))) * (1 + 3 * Scalar(0.044715) * x * x);
}
template <class Scalar>
Scalar gelu_tanh(Scalar x) {
  return x * sigmoid(gelu_tanh_argument(x));
}
template <class Scalar>
Scalar gelu_tanh_derivative(Scalar x) {
  return sigmoid(gelu_tanh_argument(x)) +
         x * sigmoid(gelu_tanh_argument(x)) * sigmoid(-gelu_tanh_argument(x)) * gelu_tanh_slope(x);
}

}  // namespace heed::reference
