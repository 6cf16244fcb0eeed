// y = silu(gate) up and its backward beside the same written with Eigen's arrays; gelu and its backward beside the erfc and
// the exponential of the C library and of Eigen.
#include <checked.hpp>
#include <cmath>
#include <heed/ops/activation.hpp>

namespace {

using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

constexpr heed::Index operations = 16;  // of the exponential, the quotient and the products

void swiglu(benchmark::State& state, Who who) {
  const Matrix<float> gate = random(state.range(0), state.range(1), "gate"), up = random(gate.rows(), gate.cols(), "up");
  Matrix<float> y = gate;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, operations, [&] { heed::glu<heed::Silu>(gate, up, y, workers); },
      [&] { y = gate.array() / (1 + (-gate.array()).exp()) * up.array(); });
  heed::bench::set_bytes(state, 3 * y.size());
}

void swiglu_backward(benchmark::State& state, Who who) {
  const Matrix<float> gate = random(state.range(0), state.range(1), "gate"), up = random(gate.rows(), gate.cols(), "up");
  const Matrix<float> d_y = random(gate.rows(), gate.cols(), "d_y");
  Matrix<float> d_gate = gate, d_up = Matrix<float>::Zero(gate.rows(), gate.cols());
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, {{d_gate, 2 * operations}, {d_up, 2 * operations}},
      [&] { heed::glu_backward<heed::Silu>(gate, up, d_y, d_gate, d_up, workers); },
      [&] {
        const auto s = (1 / (1 + (-gate.array()).exp())).eval();
        d_up.array() += d_y.array() * gate.array() * s;
        d_gate.array() += d_y.array() * up.array() * s * (1 + gate.array() * (1 - s));
      });
  heed::bench::set_bytes(state, 5 * gate.size());
}

// Phi(x)
Matrix<float> normal_distribution(const Matrix<float>& x) {
  return x.unaryExpr([](float x_i) { return std::erfc(-0.70710678F * x_i) / 2; });
}

void gelu(benchmark::State& state, Who who) {
  const Matrix<float> x = random(state.range(0), state.range(1), "x", 2);
  Matrix<float> y = x;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, operations, [&] { heed::activate<heed::Gelu>(x, y, workers); },
      [&] { y = x.cwiseProduct(normal_distribution(x)); });
  heed::bench::set_bytes(state, 2 * y.size());
}

void gelu_backward(benchmark::State& state, Who who) {
  const Matrix<float> x = random(state.range(0), state.range(1), "x", 2), d_y = random(x.rows(), x.cols(), "d_y");
  Matrix<float> d_x = x;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, d_x, 2 * operations, [&] { heed::activate_backward<heed::Gelu>(x, d_y, d_x, workers); },
      [&] {
        const auto density = 0.39894228F * (-0.5F * x.array().square()).exp();
        d_x.array() += d_y.array() * (normal_distribution(x).array() + x.array() * density);
      });
  heed::bench::set_bytes(state, 3 * x.size());
}

HEED_BENCHMARK_BOTH(swiglu, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(swiglu_backward, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(gelu, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(gelu_backward, heed::bench::row_sizes);

}  // namespace
