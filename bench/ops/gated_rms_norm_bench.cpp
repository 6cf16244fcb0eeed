// RMSNorm(y silu(z)) w beside the same written with Eigen's arrays.
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
  heed::bench::set_rate(state, "rows/s", double(y.rows()));
}

HEED_BENCHMARK_BOTH(gated_rms_norm, heed::bench::row_sizes);

}  // namespace
