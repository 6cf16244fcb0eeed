// Activations, one number at a time.
#pragma once

#include <cmath>

namespace heed::reference {

template <class Scalar>
Scalar pi() {
  using std::asin;  // and that of dual numbers
  return Scalar(6) * asin(Scalar(0.5));
}

template <class Scalar>
Scalar sigmoid(Scalar x) {
  using std::exp;  // and that of dual numbers
  return Scalar(1) / (Scalar(1) + exp(-x));
}
template <class Scalar>
Scalar silu(Scalar x) {
  return x * sigmoid(x);
}
template <class Scalar>
Scalar silu_derivative(Scalar x) {
  return sigmoid(x) * (Scalar(1) + x * (Scalar(1) - sigmoid(x)));
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
  return std::exp(-x * x / 2) / std::sqrt(2 * pi<Scalar>());
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
  using std::sqrt;
  return Scalar(2) * sqrt(Scalar(2) / pi<Scalar>()) * (x + Scalar(0.044715) * x * x * x);
}
template <class Scalar>
Scalar gelu_tanh_slope(Scalar x) {
  using std::sqrt;
  return Scalar(2) * sqrt(Scalar(2) / pi<Scalar>()) * (Scalar(1) + Scalar(3) * Scalar(0.044715) * x * x);
}
template <class Scalar>
Scalar gelu_tanh(Scalar x) {
  return x * sigmoid(Scalar(gelu_tanh_argument(x)));
}
template <class Scalar>
Scalar gelu_tanh_derivative(Scalar x) {
  const Scalar argument = gelu_tanh_argument(x);
  return sigmoid(argument) + x * sigmoid(argument) * sigmoid(Scalar(-argument)) * gelu_tanh_slope(x);
}

}  // namespace heed::reference
