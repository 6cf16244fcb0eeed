// The rotation of heads by their positions beside the same written with Eigen's arrays.
#include <checked.hpp>
#include <heed/ops/rotary.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::Who;

constexpr Index head_width = 64;

void rotary(benchmark::State& state, Who who) {
  const Matrix<float> x = heed::bench::random(state.range(0), state.range(1), "x");
  const heed::Sequences rows({x.rows()});
  const Index past[] = {1000};
  Matrix<float> y = x;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, 8,
      [&] {
        y = x;
        heed::apply_rotary({}, rows, past, head_width, y, workers);
      },
      [&] {
        const Index half = head_width / 2;
        Eigen::ArrayXd frequency(half);
        for (Index i = 0; i < half; ++i) frequency[i] = std::pow(10000.0, -double(i) / double(half));
        for (Index t = 0; t < x.rows(); ++t) {
          const Eigen::Array<float, 1, Eigen::Dynamic> cosine = (frequency * double(past[0] + t)).cos().cast<float>();
          const Eigen::Array<float, 1, Eigen::Dynamic> sine = (frequency * double(past[0] + t)).sin().cast<float>();
          for (Index column = 0; column < x.cols(); column += head_width) {
            const auto a = x.row(t).segment(column, half).array(), b = x.row(t).segment(column + half, half).array();
            y.row(t).segment(column, half) = a * cosine - b * sine;
            y.row(t).segment(column + half, half) = b * cosine + a * sine;
          }
        }
      });
  heed::bench::set_bytes(state, 2 * x.size());
}

HEED_BENCHMARK_BOTH(rotary, heed::bench::row_sizes);

}  // namespace
