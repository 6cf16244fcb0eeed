// y += x, y_t += b for every row, and the backward of that, beside Eigen's expressions.
#include <checked.hpp>
#include <heed/ops/add.hpp>
#include <heed/ops/bias.hpp>

namespace {

using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

void add(benchmark::State& state, Who who) {
  const Matrix<float> x = random(state.range(0), state.range(1), "x");
  Matrix<float> y = x;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, 1, [&] { heed::add(x, y, workers); }, [&] { y += x; });
  heed::bench::set_bytes(state, 2 * y.size());
}

void add_bias(benchmark::State& state, Who who) {
  const Matrix<float> b = random(1, state.range(1), "b");
  Matrix<float> y(state.range(0), b.cols());
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, 1, [&] { heed::add_bias(b, y, workers); }, [&] { y.rowwise() += b.row(0); });
  heed::bench::set_bytes(state, y.size());
}

void add_bias_backward(benchmark::State& state, Who who) {
  const Matrix<float> d_y = random(state.range(0), state.range(1), "d_y");
  Matrix<float> d_b(1, d_y.cols());
  heed::Workers workers;
  heed::Arena scratch(std::size_t(1) << 20);
  heed::bench::time_checked(
      state, who, d_b, d_y.rows(), [&] { heed::add_bias_backward(d_y, d_b, scratch, workers); },
      [&] { d_b += d_y.colwise().sum(); });
  heed::bench::set_bytes(state, d_y.size());
}

HEED_BENCHMARK_BOTH(add, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(add_bias, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(add_bias_backward, heed::bench::row_sizes);

}  // namespace
