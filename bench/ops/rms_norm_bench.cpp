// y = x w / sqrt(mean(x^2) + epsilon) and its backward beside the same written with Eigen's arrays.
#include <checked.hpp>
#include <heed/ops/rms_norm.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

constexpr float epsilon = 1e-5f;

void rms_norm(benchmark::State& state, Who who) {
  const Matrix<float> x = random(state.range(0), state.range(1), "x"), w = random(1, state.range(1), "w");
  Matrix<float> y = x;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, x.cols(), [&] { heed::rms_norm(x, w, double(epsilon), y, workers); },
      [&] {
        for (Index t = 0; t < x.rows(); ++t)
          y.row(t) = x.row(t).array() * w.array() / std::sqrt(x.row(t).squaredNorm() / float(x.cols()) + epsilon);
      });
  heed::bench::set_bytes(state, 2 * x.size());
}

void rms_norm_backward(benchmark::State& state, Who who) {
  const Matrix<float> x = random(state.range(0), state.range(1), "x"), w = random(1, state.range(1), "w");
  const Matrix<float> d_y = random(x.rows(), x.cols(), "d_y");
  Matrix<float> d_x = x, d_w = w;
  heed::Workers workers;
  heed::Arena scratch(std::size_t(1) << 20);
  heed::bench::time_checked(
      state, who, {{d_x, 2 * x.cols()}, {d_w, x.rows() + x.cols()}},
      [&] { heed::rms_norm_backward(x, w, double(epsilon), d_y, d_x, d_w, scratch, workers); },
      [&] {
        for (Index t = 0; t < x.rows(); ++t) {
          const auto x_t = x.row(t).array();
          const auto g = d_y.row(t).array() * w.array();
          const float r = 1 / std::sqrt(x_t.square().mean() + epsilon);
          d_w.array() += d_y.row(t).array() * x_t * r;
          d_x.row(t).array() += r * (g - x_t * r * r * (g * x_t).mean());
        }
      });
  heed::bench::set_bytes(state, 3 * x.size());
}

HEED_BENCHMARK_BOTH(rms_norm, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(rms_norm_backward, heed::bench::row_sizes);

}  // namespace
