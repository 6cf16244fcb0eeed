// y = silu(gate) up and its backward beside the same written with Eigen's arrays.
#include <checked.hpp>
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
  heed::bench::set_rate(state, "elements/s", double(y.size()));
}

void swiglu_backward(benchmark::State& state, Who who) {
  const Matrix<float> gate = random(state.range(0), state.range(1), "gate"), up = random(gate.rows(), gate.cols(), "up");
  const Matrix<float> d_y = random(gate.rows(), gate.cols(), "d_y");
  Matrix<float> d_gate = gate, d_up = Matrix<float>::Zero(gate.rows(), gate.cols());
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, d_gate, 2 * operations, [&] { heed::glu_backward<heed::Silu>(gate, up, d_y, d_gate, d_up, workers); },
      [&] {
        const auto s = (1 / (1 + (-gate.array()).exp())).eval();
        d_up.array() += d_y.array() * gate.array() * s;
        d_gate.array() += d_y.array() * up.array() * s * (1 + gate.array() * (1 - s));
      });
  heed::bench::set_rate(state, "elements/s", double(gate.size()));
}

HEED_BENCHMARK_BOTH(swiglu, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(swiglu_backward, heed::bench::row_sizes);

}  // namespace
