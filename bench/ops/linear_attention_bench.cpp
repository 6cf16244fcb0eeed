// Linear attention with a decay for each key dimension, and with the delta rule, beside its steps written with Eigen. Every
// result is checked before it is timed.
//
//   prefill    one sequence of T rows, H heads of N key and P value dimensions        FLOP/s counts 5 T H N P; the delta
//              rule takes 4 more, the naive steps as many
//   backward   of the same, without the delta rule; naive steps keep the state of every row, heed those between chunks
#include <checked.hpp>
#include <heed/core/random.hpp>
#include <heed/ops/linear_attention.hpp>
#include <utility>
#include <vector>

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

// S_t = diag(e^g) S_{t-1} + k^T v, y = q S   =>   the gradients, from the states of all rows.
struct NaiveBackward {
  std::vector<Matrix<float>> states;  // [T + 1] of [N x P]
  Matrix<float> d_q, d_k, d_v, d_g;

  void run(const Operands& in, const Matrix<float>& d_y) {
    const Index N = in.key_width, P = in.value_width;
    states.resize(std::size_t(in.rows + 1));
    for (Index h = 0; h < in.heads; ++h) {
      const auto keys = [&](auto& m, Index t) { return m.row(t).segment(h * N, N); };
      const auto values = [&](auto& m, Index t) { return m.row(t).segment(h * P, P); };
      states[0] = Matrix<float>::Zero(N, P);
      for (Index t = 0; t < in.rows; ++t) {
        Matrix<float>& state = states[std::size_t(t + 1)];
        state = states[std::size_t(t)].array().colwise() * keys(in.g, t).array().exp().transpose();
        state.noalias() += keys(in.k, t).transpose() * values(in.v, t);
      }
      Matrix<float> d_state = Matrix<float>::Zero(N, P);
      for (Index t = in.rows - 1; t >= 0; --t) {
        keys(d_q, t).noalias() += values(d_y, t) * states[std::size_t(t + 1)].transpose();
        d_state.noalias() += keys(in.q, t).transpose() * values(d_y, t);
        keys(d_k, t).noalias() += values(in.v, t) * d_state.transpose();
        values(d_v, t).noalias() += keys(in.k, t) * d_state;
        d_state.array().colwise() *= keys(in.g, t).array().exp().transpose();
        keys(d_g, t) += d_state.cwiseProduct(states[std::size_t(t)]).rowwise().sum().transpose();
      }
    }
  }
};

void linear_attention_gated_backward(benchmark::State& state, Who who) {
  const Operands in(state.range(0), state.range(1), state.range(2), state.range(3), false);
  const heed::Sequences rows({in.rows});
  const Matrix<float> d_y = heed::bench::random(in.rows, in.v.cols(), "d_y");
  heed::Workers workers;
  NaiveBackward naive;
  for (auto [d, like] : {std::pair{&naive.d_q, &in.q}, {&naive.d_k, &in.k}, {&naive.d_v, &in.v}, {&naive.d_g, &in.g}})
    *d = Matrix<float>::Zero(like->rows(), like->cols());
  Matrix<float> d_q = naive.d_q, d_k = naive.d_k, d_v = naive.d_v, d_g = naive.d_g, y(in.rows, in.v.cols());
  heed::Arena arena;
  const auto kept = heed::HeadTable<float*>::make(arena, 1, in.heads);
  const Index numbers = heed::linear_attention_kept_states(in.rows, in.inputs().chunk) * in.key_width * in.value_width;
  for (Index h = 0; h < in.heads; ++h) kept.at(0, h) = arena.take<float>(numbers);
  heed::linear_attention(in.inputs(), rows, {.kept = kept}, mutable_view_of(y), workers);
  const auto ours = [&] {
    heed::linear_attention_backward(
        in.inputs(), rows, kept, view_of(d_y),
        {.q = mutable_view_of(d_q), .k = mutable_view_of(d_k), .v = mutable_view_of(d_v), .g = mutable_view_of(d_g)},
        workers);
  };
  const auto plain = [&] { naive.run(in, d_y); };
  ours();
  plain();
  const Index operations = 4 * (in.rows + in.key_width);
  for (const auto& [found, expected] :
       {std::pair{&d_q, &naive.d_q}, {&d_k, &naive.d_k}, {&d_v, &naive.d_v}, {&d_g, &naive.d_g}})
    if (!heed::bench::agree(*found, *expected, operations)) return state.SkipWithError("the gradients differ");
  for (auto _ : state) {
    if (who == Who::heed)
      ours();
    else
      plain();
    benchmark::ClobberMemory();
  }
  heed::bench::set_rate(state, "FLOP/s", 15.0 * double(in.rows) * double(in.heads * in.key_width * in.value_width));
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "H", "N", "P"})->Unit(benchmark::kMicrosecond);
  bench->Args({1, 8, 64, 64})->Args({16, 8, 64, 64})->Args({512, 8, 64, 64})->Args({512, 4, 32, 128});
}
HEED_BENCHMARK_BOTH(linear_attention_gated, sizes);
HEED_BENCHMARK_BOTH(linear_attention_gated_delta, sizes);
HEED_BENCHMARK_BOTH(linear_attention_gated_backward, sizes);

}  // namespace
