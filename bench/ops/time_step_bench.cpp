// dt = softplus(raw + bias) beside Eigen's log1p of its exp.
#include <checked.hpp>
#include <heed/ops/time_step.hpp>

namespace {

using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

void time_step(benchmark::State& state, Who who) {
  const Matrix<float> raw = random(state.range(0), state.range(1), "raw"), bias = random(1, raw.cols(), "bias");
  Matrix<float> dt = raw;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, dt, 16,
      [&] { heed::time_step(heed::view_of(raw), heed::view_of(bias), heed::mutable_view_of(dt), workers); },
      [&] { dt = (raw.rowwise() + bias.row(0)).array().exp().log1p(); });
  heed::bench::set_bytes(state, 2 * dt.size());
}

HEED_BENCHMARK_BOTH(time_step, heed::bench::row_sizes);

}  // namespace
