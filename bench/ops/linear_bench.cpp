// y += x w, over weights in float and in 16 bits, and its backward, beside Eigen's products.
#include <algorithm>
#include <checked.hpp>
#include <heed/ops/linear.hpp>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

// Drawing a large one would take longer than all that is timed: it repeats its first rows.
Matrix<float> weight(Index in, Index out) {
  const Index drawn = (std::min)(in, Index(128));
  return random(drawn, out, "w").replicate(in / drawn, 1);
}

struct Operands {
  Matrix<float> x, w, y, d_y;

  explicit Operands(const benchmark::State& state)
      : x(random(state.range(0), state.range(1), "x")),
        w(weight(state.range(1), state.range(2))),
        y(state.range(0), state.range(2)),
        d_y(random(state.range(0), state.range(2), "d_y")) {}
  double flops() const { return 2.0 * static_cast<double>(x.size() * w.cols()); }
};

void linear(benchmark::State& state, Who who) {
  Operands in(state);
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, in.y, in.x.cols(), [&] { heed::linear(in.x, in.w, in.y, workers); },
      [&] { in.y.noalias() += in.x * in.w; });
  heed::bench::set_rate(state, "FLOP/s", in.flops());
}

// Weights in 16 bits, and as they are rounded.
struct Stored {
  heed::Weight<float> weight, rounded;

  Stored(const Matrix<float>& w, heed::Storage storage) : weight(w) {
    weight.store(storage);
    rounded = weight;
    rounded.store(heed::Storage::arithmetic);
  }
  const Matrix<float>& plain() const { return rounded; }
};

// Eigen multiplies with the rounded weights in float.
void linear_stored(benchmark::State& state, Who who, heed::Storage storage) {
  Operands in(state);
  const Stored w(in.w, storage);
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, in.y, in.x.cols(), [&] { heed::linear(in.x, w.weight, in.y, workers); },
      [&] { in.y.noalias() += in.x * w.plain(); });
  heed::bench::set_rate(state, "FLOP/s", in.flops());
}
void linear_bfloat16(benchmark::State& state, Who who) {
  linear_stored(state, who, heed::Storage::bfloat16);
}
void linear_half(benchmark::State& state, Who who) {
  linear_stored(state, who, heed::Storage::half);
}

void linear_backward(benchmark::State& state, Who who) {
  Operands in(state);
  heed::Workers workers;
  Matrix<float> d_x = Matrix<float>::Zero(in.x.rows(), in.x.cols()), d_w = Matrix<float>::Zero(in.w.rows(), in.w.cols());
  heed::bench::time_checked(
      state, who, {{d_x, in.w.cols()}, {d_w, in.x.rows()}},
      [&] { heed::linear_backward(in.x, in.w, in.d_y, d_x, d_w, workers); },
      [&] {
        d_x.noalias() += in.d_y * in.w.transpose();
        d_w.noalias() += in.x.transpose() * in.d_y;
      });
  heed::bench::set_rate(state, "FLOP/s", 2 * in.flops());
}

void linear_transposed(benchmark::State& state, Who who) {
  Operands in(state);
  const Matrix<float> table = in.w.transpose();
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, in.y, in.x.cols(), [&] { heed::linear_transposed(in.x, table, in.y, workers); },
      [&] { in.y.noalias() += in.x * table.transpose(); });
  heed::bench::set_rate(state, "FLOP/s", in.flops());
}

void linear_transposed_stored(benchmark::State& state, Who who, heed::Storage storage) {
  Operands in(state);
  const Stored table(in.w.transpose(), storage);
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, in.y, in.x.cols(), [&] { heed::linear_transposed(in.x, table.weight, in.y, workers); },
      [&] { in.y.noalias() += in.x * table.plain().transpose(); });
  heed::bench::set_rate(state, "FLOP/s", in.flops());
}
void linear_transposed_bfloat16(benchmark::State& state, Who who) {
  linear_transposed_stored(state, who, heed::Storage::bfloat16);
}
void linear_transposed_half(benchmark::State& state, Who who) {
  linear_transposed_stored(state, who, heed::Storage::half);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "in", "out"})->Unit(benchmark::kMicrosecond);
  for (const Index width : {128, 512})
    for (const Index rows : {1, 4, 64, 512}) bench->Args({rows, width, width});
}
// One row, and a weight that no cache holds: decoding.
void large_row(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "in", "out"})->Unit(benchmark::kMicrosecond)->Args({1, 4096, 4096});
}
void sizes_and_large_row(benchmark::internal::Benchmark* bench) {
  sizes(bench);
  bench->Args({1, 4096, 4096});
}
HEED_BENCHMARK_BOTH(linear, sizes_and_large_row);
HEED_BENCHMARK_BOTH(linear_bfloat16, sizes_and_large_row);
HEED_BENCHMARK_BOTH(linear_half, sizes_and_large_row);
HEED_BENCHMARK_BOTH(linear_backward, sizes);
HEED_BENCHMARK_BOTH(linear_transposed, sizes_and_large_row);
HEED_BENCHMARK_BOTH(linear_transposed_bfloat16, large_row);
HEED_BENCHMARK_BOTH(linear_transposed_half, large_row);

}  // namespace
