// Linear attention with a decay for each key dimension, and with the delta rule, beside its steps written with Eigen. Every
// result is checked before it is timed.
//
//   prefill    one sequence of T rows, H heads of N key and P value dimensions        FLOP/s counts 5 T H N P; the delta
//              rule takes 4 more, the naive steps as many
#include <checked.hpp>
#include <heed/core/random.hpp>
#include <heed/ops/linear_attention.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::mutable_view_of;
using heed::view_of;
using heed::bench::Who;

struct Operands {
  Index rows, heads, key_width, value_width;
  Matrix<float> q, k, v, g, beta;

  Operands(Index T, Index H, Index N, Index P, bool delta) : rows(T), heads(H), key_width(N), value_width(P) {
    heed::Random random(1);
    const auto fill = [&](Matrix<float>& m, Index cols, double low, double high) {
      m.resize(T, cols);
      random.uniform(m, low, high);
    };
    fill(q, H * N, -1, 1), fill(k, H * N, -0.2, 0.2), fill(v, H * P, -1, 1), fill(g, H * N, -0.2, 0);
    fill(beta, delta ? H : 0, 0.1, 0.9);
  }
  heed::LinearAttentionInputs<float> inputs() const {
    return {.q = view_of(q),
            .k = view_of(k),
            .v = view_of(v),
            .g = view_of(g),
            .beta = view_of(beta),
            .heads = heads,
            .kv_heads = heads};
  }
};

// What one writes with Eigen at hand.
void naive(const Operands& in, Matrix<float>& y) {
  const Index N = in.key_width, P = in.value_width;
  for (Index h = 0; h < in.heads; ++h) {
    Matrix<float> state = Matrix<float>::Zero(N, P), u(1, P);
    for (Index t = 0; t < in.rows; ++t) {
      const auto k = in.k.row(t).segment(h * N, N);
      state.array().colwise() *= in.g.row(t).segment(h * N, N).array().exp().transpose();
      u = in.v.row(t).segment(h * P, P);
      if (in.beta.cols() > 0) {
        u.noalias() -= k * state;
        u *= in.beta(t, h);
      }
      state.noalias() += k.transpose() * u;
      y.row(t).segment(h * P, P).noalias() = in.q.row(t).segment(h * N, N) * state;
    }
  }
}

void prefill(benchmark::State& state, Who who, bool delta) {
  const Operands in(state.range(0), state.range(1), state.range(2), state.range(3), delta);
  const heed::Sequences rows({in.rows});
  heed::Workers workers;
  Matrix<float> y(in.rows, in.v.cols());
  heed::bench::time_checked(
      state, who, y, 4 * (in.rows + in.key_width),
      [&] { heed::linear_attention(in.inputs(), rows, {}, mutable_view_of(y), workers); }, [&] { naive(in, y); });
  heed::bench::set_rate(state, "FLOP/s",
                        (delta ? 9.0 : 5.0) * double(in.rows) * double(in.heads * in.key_width * in.value_width));
}
void linear_attention_gated(benchmark::State& state, Who who) {
  prefill(state, who, false);
}
void linear_attention_gated_delta(benchmark::State& state, Who who) {
  prefill(state, who, true);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "H", "N", "P"})->Unit(benchmark::kMicrosecond);
  bench->Args({1, 8, 64, 64})->Args({16, 8, 64, 64})->Args({512, 8, 64, 64})->Args({512, 4, 32, 128});
}
HEED_BENCHMARK_BOTH(linear_attention_gated, sizes);
HEED_BENCHMARK_BOTH(linear_attention_gated_delta, sizes);

}  // namespace
