// The short convolution beside the same sum written with Eigen. Every result is checked before it is timed.
//
//   bytes/s counts x and y once (backward: x, d_y and d_x)
#include <checked.hpp>
#include <heed/ops/short_conv.hpp>
#include <limits>
#include <reference/short_conv.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::mutable_view_of;
using heed::view_of;
using heed::bench::agree;
using heed::bench::set_bytes;

struct Operands {
  Matrix<float> x, weight, bias;

  Operands(Index T, Index C, Index k) : x(T, C), weight(k, C), bias(1, C) {
    heed::Random random(1);
    for (Matrix<float>* matrix : {&x, &weight, &bias}) random.uniform(*matrix, -1, 1);
  }
  heed::ShortConvInputs<float> inputs() const { return {view_of(x), view_of(weight), view_of(bias)}; }
  Index operations() const { return weight.rows() + 8; }  // the taps, and those of x / (1 + e^-x)
};

void naive(const Operands& in, Matrix<float>& y) {
  const Index T = in.x.rows(), k = in.weight.rows();
  y = in.bias.replicate(T, 1);
  for (Index j = 0; j < k; ++j) {
    const Index late = k - 1 - j;
    if (late < T) y.bottomRows(T - late).array() += in.x.topRows(T - late).array().rowwise() * in.weight.row(j).array();
  }
  y = y.array() / (1 + (-y.array()).exp());
}

void short_conv(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), 4);
  const heed::Sequences rows({in.x.rows()});
  heed::Workers workers;
  Matrix<float> y = in.x, expected = y;
  naive(in, expected);
  heed::short_conv(in.inputs(), rows, {}, mutable_view_of(y), workers);
  if (!agree(y, expected, in.operations())) return state.SkipWithError("short_conv differs from naive Eigen");
  for (auto _ : state) {
    heed::short_conv(in.inputs(), rows, {}, mutable_view_of(y), workers);
    benchmark::DoNotOptimize(y.data());
  }
  set_bytes(state, 2 * in.x.size());
}

void short_conv_naive_eigen(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), 4);
  Matrix<float> y = in.x;
  for (auto _ : state) {
    naive(in, y);
    benchmark::DoNotOptimize(y.data());
  }
  set_bytes(state, 2 * in.x.size());
}

void short_conv_backward(benchmark::State& state) {
  const Operands in(state.range(0), state.range(1), 4);
  const heed::Sequences rows({in.x.rows()});
  heed::Workers workers;
  Operands d = in;
  for (Matrix<float>* gradient : {&d.x, &d.weight, &d.bias}) gradient->setZero();
  const auto run = [&] {
    heed::short_conv_backward(in.inputs(), rows, view_of(in.x),
                              {mutable_view_of(d.x), mutable_view_of(d.weight), mutable_view_of(d.bias)}, workers);
  };
  run();
  const auto expected = heed::reference::short_conv_backward(in.x, in.weight, in.bias, in.x);
  const Index each = in.operations() + 4;
  if (!agree({{d.x, expected.x, each},
              {d.weight, expected.weight, each + in.x.rows()},
              {d.bias, expected.bias, each + in.x.rows()}}))
    return state.SkipWithError("short_conv_backward differs from its definition");
  for (auto _ : state) {
    run();
    benchmark::DoNotOptimize(d.x.data());
  }
  set_bytes(state, 3 * in.x.size());
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "C"})
      ->Args({1, 640})
      ->Args({64, 640})
      ->Args({2048, 640})
      ->Args({2048, 1536})
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK(short_conv)->Apply(sizes);
BENCHMARK(short_conv_naive_eigen)->Apply(sizes);
BENCHMARK(short_conv_backward)->Apply(sizes);

}  // namespace
