// Attention beside naive Eigen (per head: product, softmax, product). Every result is checked before it is timed.
//
//   prefill    T = S, causal        FLOP/s counts the visible half: 2 S^2 H (E + E_v) / 2
//   decode     T = 1                bytes/s counts K and V once
//   backward   T = S, causal        FLOP/s counts 2.5 times the forward's; naive Eigen keeps its probabilities, attend does
//   not
//   options    T = S or T = 1       what each option of logits, or another mask, adds to or takes from attend alone
//   in terms   T = S, causal        products of bf16 terms; on tiles where the processor grants them, else in float
#include <checked.hpp>
#include <cmath>
#include <heed/ops/alibi.hpp>
#include <heed/ops/attend.hpp>
#include <limits>
#include <random>
#include <vector>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::agree;
using heed::bench::Who;

struct Operands {
  Index heads, kv_heads, width;
  Matrix<float> q, k, v;

  Operands(Index rows, Index keys, Index h, Index g, Index e) : heads(h), kv_heads(g), width(e) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto fill = [&](Matrix<float>& m, Index r, Index c) {
      m.resize(r, c);
      for (Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
    };
    fill(q, rows, h * e);
    fill(k, keys, g * e);
    fill(v, keys, g * e);
  }
};

// What one writes with Eigen at hand.
void naive(const Operands& x, Matrix<float>& scores, Matrix<float>& y) {
  const Index rows = x.q.rows(), keys = x.k.rows(), past = keys - rows;
  const float scale = 1 / std::sqrt(static_cast<float>(x.width));
  for (Index h = 0; h < x.heads; ++h) {
    const Index g = h / (x.heads / x.kv_heads);
    scores.noalias() = x.q.middleCols(h * x.width, x.width) * x.k.middleCols(g * x.width, x.width).transpose();
    for (Index i = 0; i < rows; ++i) {
      const Index seen = i + past + 1;
      auto row = scores.row(i).head(seen);
      const float highest = row.maxCoeff() * scale;
      row = (row.array() * scale - highest).exp();
      row /= row.sum();
      scores.row(i).tail(keys - seen).setZero();
    }
    y.middleCols(h * x.width, x.width).noalias() = scores * x.v.middleCols(g * x.width, x.width);
  }
}

// Both compute in float: they differ by at most the rounding of sums of `keys` terms of the size of v.
void set_rates(benchmark::State& state, const Operands& x, double passes) {
  const double rows = static_cast<double>(x.q.rows()), keys = static_cast<double>(x.k.rows());
  const double pairs = rows * (keys - rows) + rows * (rows + 1) / 2;
  heed::bench::set_rate(state, "FLOP/s", passes * 4 * pairs * double(x.heads * x.width));
  heed::bench::set_rate(state, "bytes/s", double((x.k.size() + x.v.size()) * Index(sizeof(float))));
}

Operands operands_of(const benchmark::State& state) {
  return {state.range(0), state.range(1), state.range(2), state.range(3), state.range(4)};
}

void attend(benchmark::State& state) {
  const Operands x = operands_of(state);
  const heed::AttendOptions options{.heads = x.heads, .kv_heads = x.kv_heads};
  heed::Workers workers;
  Matrix<float> y(x.q.rows(), x.q.cols()), expected = y, scores(x.q.rows(), x.k.rows());
  naive(x, scores, expected);
  heed::attend_into(x.q, x.k, x.v, options, y, workers);
  if (!agree(y, expected, x.k.rows())) return state.SkipWithError("attend differs from naive Eigen");
  for (auto _ : state) {
    heed::attend_into(x.q, x.k, x.v, options, y, workers);
    benchmark::DoNotOptimize(y.data());
  }
  set_rates(state, x, 1);
}

void naive_eigen(benchmark::State& state) {
  const Operands x = operands_of(state);
  Matrix<float> y(x.q.rows(), x.q.cols()), scores(x.q.rows(), x.k.rows());
  const heed::AttendOptions options{.heads = x.heads, .kv_heads = x.kv_heads};
  naive(x, scores, y);
  if (!agree(y, heed::attend(x.q, x.k, x.v, options), x.k.rows()))
    return state.SkipWithError("naive Eigen differs from attend");
  for (auto _ : state) {
    naive(x, scores, y);
    benchmark::DoNotOptimize(y.data());
  }
  set_rates(state, x, 1);
}

// o = A V, A = softmax(scale Q K^T)   =>   the gradients of one head at a time, A [T x S] kept of each.
struct NaiveBackward {
  std::vector<Matrix<float>> a;
  Matrix<float> d_s, d_q, d_k, d_v;

  explicit NaiveBackward(const Operands& x) {
    const Index rows = x.q.rows(), keys = x.k.rows();
    Matrix<float> scores(rows, keys), y(rows, x.q.cols());
    for (Index h = 0; h < x.heads; ++h) {
      Operands one = x;
      one.heads = one.kv_heads = 1;
      one.q = x.q.middleCols(h * x.width, x.width);
      one.k = x.k.middleCols(h / (x.heads / x.kv_heads) * x.width, x.width);
      one.v = x.v.middleCols(h / (x.heads / x.kv_heads) * x.width, x.width);
      Matrix<float> o(rows, x.width);
      naive(one, scores, o);
      a.push_back(scores);
    }
  }
  void run(const Operands& x, const Matrix<float>& d_o) {
    const float scale = 1 / std::sqrt(static_cast<float>(x.width));
    d_q.setZero(x.q.rows(), x.q.cols());
    d_k.setZero(x.k.rows(), x.k.cols());
    d_v.setZero(x.v.rows(), x.v.cols());
    for (Index h = 0; h < x.heads; ++h) {
      const Index at = h * x.width, kv = h / (x.heads / x.kv_heads) * x.width;
      const Matrix<float>& p = a[static_cast<std::size_t>(h)];
      d_s.noalias() = d_o.middleCols(at, x.width) * x.v.middleCols(kv, x.width).transpose();
      for (Index i = 0; i < d_s.rows(); ++i) {
        const float sum = p.row(i).dot(d_s.row(i));
        d_s.row(i) = scale * p.row(i).array() * (d_s.row(i).array() - sum);
      }
      d_v.middleCols(kv, x.width).noalias() += p.transpose() * d_o.middleCols(at, x.width);
      d_k.middleCols(kv, x.width).noalias() += d_s.transpose() * x.q.middleCols(at, x.width);
      d_q.middleCols(at, x.width).noalias() += d_s * x.k.middleCols(kv, x.width);
    }
  }
};

/// Operands as a mixer holds them.
struct Backward {
  heed::Arena arena;
  heed::Workers workers;
  heed::HeadTable<heed::HeadRows<float>> k_heads, v_heads;
  Matrix<float> log_sum_exp, o, d_q, d_k, d_v;
  heed::Sequences sequences;
  float scale;
  heed::View<float> q;

  explicit Backward(const Operands& x)
      : log_sum_exp(x.q.rows(), x.heads),
        o(Matrix<float>::Zero(x.q.rows(), x.q.cols())),
        d_k(x.k.rows(), x.k.cols()),
        d_v(x.v.rows(), x.v.cols()),
        sequences({x.q.rows()}),
        scale(1 / std::sqrt(static_cast<float>(x.width))),
        q(heed::view_of(x.q)) {
    k_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, 1, x.kv_heads);
    v_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, 1, x.kv_heads);
    for (Index g = 0; g < x.kv_heads; ++g) {
      const Index at = g * x.width;
      k_heads.at(0, g) = {x.k.data() + at, d_k.data() + at, x.k.rows(), x.width, x.k.cols(), x.k.cols()};
      v_heads.at(0, g) = {x.v.data() + at, d_v.data() + at, x.v.rows(), x.width, x.v.cols(), x.v.cols()};
    }
    heed::attend(computed(), v_heads, sequences, heed::mutable_view_of(o), workers);
  }
  heed::Computed<float> computed() { return {q, k_heads, heed::causal(), scale, heed::mutable_view_of(log_sum_exp), {}}; }
  void run(const Matrix<float>& d_o) {
    d_q.setZero(q.rows(), q.cols());
    d_k.setZero();
    d_v.setZero();
    heed::attend_backward(computed(), v_heads, sequences, heed::view_of(o), heed::view_of(d_o), heed::mutable_view_of(d_q),
                          workers);
  }
};

void backward(benchmark::State& state, Who who) {
  const Operands x = operands_of(state);
  const Matrix<float> d_o = Operands(x.q.rows(), 1, x.heads, 1, x.width).q;
  NaiveBackward expected(x);
  Backward actual(x);
  expected.run(x, d_o);
  actual.run(d_o);
  if (!agree(actual.d_q, expected.d_q, x.k.rows()) || !agree(actual.d_k, expected.d_k, x.k.rows()) ||
      !agree(actual.d_v, expected.d_v, x.k.rows()))
    return state.SkipWithError("the gradients differ");
  for (auto _ : state) {
    if (who == Who::heed)
      actual.run(d_o);
    else
      expected.run(x, d_o);
    benchmark::ClobberMemory();
  }
  set_rates(state, x, 2.5);
}
void attend_backward(benchmark::State& state) {
  backward(state, Who::heed);
}
void naive_eigen_backward(benchmark::State& state) {
  backward(state, Who::eigen);
}

enum class Option { none, soft_cap, slopes, sinks, bias, streaming };

/// One option, and what it does to the logits of a row.
struct Chosen {
  heed::AttendOptions options;
  std::vector<double> slopes;
  Matrix<float> sinks, bias;

  Chosen(const Operands& x, Option option)
      : slopes(heed::alibi_slopes(x.heads)),
        sinks(Matrix<float>::Constant(1, x.heads, 0.5f)),
        bias(Matrix<float>::Constant(x.q.rows(), x.k.rows(), 0.25f)) {
    bias.leftCols(1).setConstant(-1);
    options.heads = x.heads, options.kv_heads = x.kv_heads;
    if (option == Option::soft_cap) options.soft_cap = 5;
    if (option == Option::slopes) options.slopes = slopes;
    if (option == Option::sinks) options.sinks = sinks;
    if (option == Option::bias) options.bias = bias;
    if (option == Option::streaming) options.mask = heed::streaming(4, 128);
  }

  Matrix<float> naive(const Operands& x) const {
    Matrix<float> y(x.q.rows(), x.q.cols()), scores(x.q.rows(), x.k.rows());
    const float scale = 1 / std::sqrt(static_cast<float>(x.width)), cap = static_cast<float>(options.soft_cap);
    for (Index h = 0; h < x.heads; ++h) {
      const Index kv = h / (x.heads / x.kv_heads) * x.width;
      scores = scale * x.q.middleCols(h * x.width, x.width) * x.k.middleCols(kv, x.width).transpose();
      if (cap > 0) scores = cap * (scores.array() / cap).tanh();
      if (options.bias.given()) scores += bias;
      for (Index i = 0; i < scores.rows(); ++i) {
        const Index position = i + scores.cols() - scores.rows();
        const heed::Intervals seen = options.mask.visible(position, scores.cols());
        for (Index j = 0; j < scores.cols(); ++j) {
          if (options.slopes.given())
            scores(i, j) -= static_cast<float>(slopes[static_cast<std::size_t>(h)]) *
                            static_cast<float>(position < j ? j - position : position - j);
          if (!seen.contains(j)) scores(i, j) = -std::numeric_limits<float>::infinity();
        }
        const float highest = scores.row(i).maxCoeff();
        scores.row(i) = (scores.row(i).array() - highest).exp();
        const float sink = options.sinks.given() ? std::exp(sinks(0, h) - highest) : 0;
        scores.row(i) /= scores.row(i).sum() + sink;
      }
      y.middleCols(h * x.width, x.width) = scores * x.v.middleCols(kv, x.width);
    }
    return y;
  }
};

void attend_with(benchmark::State& state, Option option) {
  const Operands x = operands_of(state);
  const Chosen chosen(x, option);
  heed::Workers workers;
  Matrix<float> y(x.q.rows(), x.q.cols());
  heed::attend_into(x.q, x.k, x.v, chosen.options, y, workers);
  if (!agree(y, chosen.naive(x), x.k.rows())) return state.SkipWithError("attend differs from naive Eigen");
  for (auto _ : state) {
    heed::attend_into(x.q, x.k, x.v, chosen.options, y, workers);
    benchmark::DoNotOptimize(y.data());
  }
  if (option != Option::streaming) set_rates(state, x, 1);  // which sees fewer keys
}

// y of products that may be off by `error` of their magnitudes: docs/numerics.md
void attend_in(benchmark::State& state, heed::Precision precision, double error) {
  const Operands x = operands_of(state);
  const heed::AttendOptions options{.heads = x.heads, .kv_heads = x.kv_heads, .precision = precision};
  heed::Workers workers;
  Matrix<float> y(x.q.rows(), x.q.cols()), expected = y, scores(x.q.rows(), x.k.rows());
  naive(x, scores, expected);
  heed::attend_into(x.q, x.k, x.v, options, y, workers);
  double logit = 0;  // the largest scale sum_e |q_e k_e|
  for (Index h = 0; h < x.heads; ++h) {
    const Index kv = h / (x.heads / x.kv_heads) * x.width;
    scores.noalias() = x.q.middleCols(h * x.width, x.width).cwiseAbs() * x.k.middleCols(kv, x.width).cwiseAbs().transpose();
    logit = (std::max)(logit, double(scores.maxCoeff()) / std::sqrt(double(x.width)));
  }
  const double moved = (1 + error) * std::exp(2 * error * logit) - 1;
  const double rounding = double(std::numeric_limits<float>::epsilon()) * double(x.k.rows());
  const double largest = double(x.v.cwiseAbs().maxCoeff());
  if (!heed::bench::within(y, expected, (moved + rounding) * largest))
    return state.SkipWithError("attend differs from naive Eigen");
  for (auto _ : state) {
    heed::attend_into(x.q, x.k, x.v, options, y, workers);
    benchmark::DoNotOptimize(y.data());
  }
  set_rates(state, x, 1);
}

void term_cases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "S", "H", "G", "E"});
  bench->Args({1024, 1024, 8, 2, 64});
  bench->Args({1024, 1024, 4, 4, 128});
}

void option_cases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "S", "H", "G", "E"});
  bench->Args({1024, 1024, 8, 2, 64});
  bench->Args({1, 4096, 8, 2, 64});
}

void backward_cases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "S", "H", "G", "E"});
  for (Index length : {64, 256, 1024})
    for (Index kv_heads : {8, 2}) bench->Args({length, length, 8, kv_heads, 64});
}

void cases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "S", "H", "G", "E"});
  for (Index length : {16, 64, 256, 2048})
    for (Index kv_heads : {8, 2}) bench->Args({length, length, 8, kv_heads, 64});
  bench->Args({512, 512, 8, 8, 32});
  bench->Args({512, 512, 8, 8, 128});
  for (Index keys : {256, 4096})
    for (Index kv_heads : {8, 2, 1}) bench->Args({1, keys, 8, kv_heads, 64});
  bench->Args({4, 1024, 8, 8, 64});
  bench->Args({16, 1024, 8, 2, 64});
}
BENCHMARK(attend)->Apply(cases)->Unit(benchmark::kMicrosecond);
BENCHMARK(naive_eigen)->Apply(cases)->Unit(benchmark::kMicrosecond);

BENCHMARK_CAPTURE(attend_with, none, Option::none)->Apply(option_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_with, soft_cap, Option::soft_cap)->Apply(option_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_with, slopes, Option::slopes)->Apply(option_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_with, sinks, Option::sinks)->Apply(option_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_with, bias, Option::bias)->Apply(option_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_with, streaming, Option::streaming)->Apply(option_cases)->Unit(benchmark::kMicrosecond);

constexpr double u = 1.0 / 256;  // half a unit in the last place of bf16
BENCHMARK_CAPTURE(attend_in, bf16, heed::Precision::bf16, 2 * u + u * u)->Apply(term_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_in, bf16x2, heed::Precision::bf16x2, 3 * u * u + 3 * u * u * u)
    ->Apply(term_cases)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(attend_in, bf16x3, heed::Precision::bf16x3, 4 * u * u * u)
    ->Apply(term_cases)
    ->Unit(benchmark::kMicrosecond);

BENCHMARK(attend_backward)->Apply(backward_cases)->Unit(benchmark::kMicrosecond);
BENCHMARK(naive_eigen_backward)->Apply(backward_cases)->Unit(benchmark::kMicrosecond);

}  // namespace
