// What every benchmark does first: it holds its result against the same thing written plainly with Eigen.
#pragma once

#include <benchmark/benchmark.h>

#include <heed/core/random.hpp>
#include <heed/core/workers.hpp>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "agree.hpp"
#include "best_rates.hpp"

namespace heed::bench {

/// Whose code is timed.
enum class Who { heed, eigen };

inline Matrix<float> random(Index rows, Index cols, std::string_view name, double deviation = 1) {
  Matrix<float> matrix(rows, cols);
  Random(1, name).normal(matrix, deviation);
  return matrix;
}

/// A unit of the machine's limits is shown as a fraction of one too: FLOP/s of the FP32 FMA peak, bytes/s of the read rate
/// of the level of memory where `held` bytes lie.
inline void set_rate(benchmark::State& state, const std::string& unit, double per_run, double held) {
  const auto per_second = [](double work) {
    return benchmark::Counter(work, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters[unit] = per_second(per_run);
  if (unit == "FLOP/s") state.counters["of the peak"] = per_second(per_run / best_rate(limits::Rate::fma));
  if (unit == "steps/s") state.counters["of the exponentials"] = per_second(per_run / best_rate(limits::Rate::exponential));
  if (unit == "bytes/s") state.counters["of the read rate"] = per_second(per_run / best_rate(level_of(held)));
}
inline void set_rate(benchmark::State& state, const std::string& unit, double per_run) {
  set_rate(state, unit, per_run, per_run);
}
/// Of operations that memory limits: the floats that are read, written or both, each of them once.
inline void set_bytes(benchmark::State& state, Index floats) {
  set_rate(state, "bytes/s", static_cast<double>(floats * Index(sizeof(float))));
}

/// A matrix that both write or add to, and how many operations an element of it goes through.
struct Output {
  Matrix<float>& y;
  Index operations;
};

/// Checks that ours() and plain() make the same of outputs that are zero, then times one of them.
template <class Ours, class Plain>
void time_checked(benchmark::State& state, Who who, std::initializer_list<Output> outputs, Ours&& ours, Plain&& plain) {
  const auto restart = [&] {
    for (const Output& output : outputs) output.y.setZero();
  };
  restart();
  plain();
  std::vector<Matrix<float>> expected;
  for (const Output& output : outputs) expected.push_back(output.y);
  restart();
  ours();
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (const Output& output = outputs.begin()[i]; !agree(output.y, expected[i], output.operations))
      return state.SkipWithError("the result differs from plain Eigen's");
  for (auto _ : state) {
    if (who == Who::heed)
      ours();
    else
      plain();
    for (const Output& output : outputs) benchmark::DoNotOptimize(output.y.data());
    benchmark::ClobberMemory();
  }
}

template <class Ours, class Plain>
void time_checked(benchmark::State& state, Who who, Matrix<float>& y, Index operations, Ours&& ours, Plain&& plain) {
  time_checked(state, who, {{y, operations}}, ours, plain);
}

/// T rows of D columns.
inline void row_sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "D"})->Args({1, 512})->Args({64, 512})->Args({1024, 512})->Unit(benchmark::kMicrosecond);
}

}  // namespace heed::bench

/// The same benchmark twice: heed's code and Eigen's.
#define HEED_BENCHMARK_BOTH(function, sizes)                               \
  BENCHMARK_CAPTURE(function, heed, heed::bench::Who::heed)->Apply(sizes); \
  BENCHMARK_CAPTURE(function, eigen, heed::bench::Who::eigen)->Apply(sizes)
