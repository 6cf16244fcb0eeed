// y = (x - mean) r w + b, r = (variance + epsilon)^(-1/2), and its backward beside the same written with Eigen's arrays.
#include <checked.hpp>
#include <cmath>
#include <heed/ops/layer_norm.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::mutable_view_of;
using heed::view_of;
using heed::bench::random;
using heed::bench::Who;

using Row = Eigen::Array<float, 1, Eigen::Dynamic>;

struct Operands {
  Matrix<float> x, w, b;

  explicit Operands(const benchmark::State& state)
      : x(random(state.range(0), state.range(1), "x")), w(random(1, x.cols(), "w")), b(random(1, x.cols(), "b")) {}
  heed::LayerNormInputs<float> inputs() const { return {view_of(x), view_of(w), view_of(b)}; }

  // (x_t - mean) r, and r
  float normalised(Index t, Row& u) const {
    u = x.row(t).array() - x.row(t).mean();
    const float r = 1 / std::sqrt(u.square().mean() + 1e-5f);
    u *= r;
    return r;
  }
};

void layer_norm(benchmark::State& state, Who who) {
  const Operands in(state);
  Matrix<float> y = in.x;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, y, in.x.cols(), [&] { heed::layer_norm(in.inputs(), mutable_view_of(y), workers); },
      [&] {
        Row u;
        for (Index t = 0; t < y.rows(); ++t) {
          in.normalised(t, u);
          y.row(t) = u * in.w.array() + in.b.array();
        }
      });
  heed::bench::set_bytes(state, 2 * y.size());
}

void layer_norm_backward(benchmark::State& state, Who who) {
  const Operands in(state);
  const Matrix<float> d_y = random(in.x.rows(), in.x.cols(), "d_y");
  Matrix<float> d_x = in.x, d_w = Matrix<float>::Zero(1, in.x.cols()), d_b = d_w;
  heed::Workers workers;
  heed::Arena scratch(std::size_t(1) << 20);
  heed::bench::time_checked(
      state, who, {{d_x, 2 * in.x.cols()}, {d_w, d_x.rows() + d_x.cols()}, {d_b, d_x.rows()}},
      [&] {
        heed::layer_norm_backward(in.inputs(), view_of(d_y),
                                  {mutable_view_of(d_x), mutable_view_of(d_w), mutable_view_of(d_b)}, scratch, workers);
      },
      [&] {
        Row u, g;
        for (Index t = 0; t < d_x.rows(); ++t) {
          const float r = in.normalised(t, u);
          g = d_y.row(t).array() * in.w.array();
          d_b += d_y.row(t);
          d_w.array() += d_y.row(t).array() * u;
          d_x.row(t).array() += r * (g - g.mean() - u * (g * u).mean());
        }
      });
  heed::bench::set_bytes(state, 3 * d_x.size());
}

HEED_BENCHMARK_BOTH(layer_norm, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(layer_norm_backward, heed::bench::row_sizes);

}  // namespace
