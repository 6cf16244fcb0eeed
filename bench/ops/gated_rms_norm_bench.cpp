// RMSNorm(y silu(z)) w and its backward beside the same written with Eigen's arrays.
#include <checked.hpp>
#include <heed/ops/gated_rms_norm.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

void gated_rms_norm(benchmark::State& state, Who who) {
  const Matrix<float> y = random(state.range(0), state.range(1), "y"), z = random(y.rows(), y.cols(), "z");
  const Matrix<float> w = random(1, y.cols(), "w");
  Matrix<float> out = y;
  heed::Workers workers;
  const heed::GatedRmsNormInputs<float> in{heed::view_of(y), heed::view_of(z), heed::view_of(w)};
  heed::bench::time_checked(
      state, who, out, y.cols(), [&] { heed::gated_rms_norm(in, heed::mutable_view_of(out), workers); },
      [&] {
        for (Index t = 0; t < y.rows(); ++t) {
          const Eigen::Array<float, 1, Eigen::Dynamic> v =
              y.row(t).array() * z.row(t).array() / (1 + (-z.row(t).array()).exp());
          out.row(t) = v * w.array() / std::sqrt(v.square().mean() + 1e-5f);
        }
      });
  heed::bench::set_bytes(state, 3 * y.size());
}

void gated_rms_norm_backward(benchmark::State& state, Who who) {
  const Matrix<float> y = random(state.range(0), state.range(1), "y"), z = random(y.rows(), y.cols(), "z");
  const Matrix<float> w = random(1, y.cols(), "w"), d_out = random(y.rows(), y.cols(), "d_out");
  Matrix<float> d_y = y, d_z = Matrix<float>::Zero(y.rows(), y.cols()), d_w = Matrix<float>::Zero(1, y.cols());
  heed::Workers workers;
  heed::Arena scratch(std::size_t(1) << 20);
  const heed::GatedRmsNormInputs<float> in{heed::view_of(y), heed::view_of(z), heed::view_of(w)};
  heed::bench::time_checked(
      state, who, {{d_y, 2 * y.cols()}, {d_z, 2 * y.cols()}, {d_w, y.rows() + y.cols()}},
      [&] {
        heed::gated_rms_norm_backward(in, heed::view_of(d_out),
                                      {heed::mutable_view_of(d_y), heed::mutable_view_of(d_z), heed::mutable_view_of(d_w)},
                                      scratch, workers);
      },
      [&] {
        using Row = Eigen::Array<float, 1, Eigen::Dynamic>;
        for (Index t = 0; t < y.rows(); ++t) {
          const Row sigma = 1 / (1 + (-z.row(t).array()).exp()), silu = z.row(t).array() * sigma;
          const Row v = y.row(t).array() * silu, g = d_out.row(t).array() * w.array();
          const float r = 1 / std::sqrt(v.square().mean() + 1e-5f);
          const Row d_v = r * (g - v * (r * r * (g * v).mean()));
          d_w.array() += d_out.row(t).array() * v * r;
          d_z.row(t).array() += d_v * y.row(t).array() * sigma * (1 + z.row(t).array() * (1 - sigma));
          d_y.row(t).array() += d_v * silu;
        }
      });
  heed::bench::set_bytes(state, 5 * y.size());
}

HEED_BENCHMARK_BOTH(gated_rms_norm, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(gated_rms_norm_backward, heed::bench::row_sizes);

}  // namespace
