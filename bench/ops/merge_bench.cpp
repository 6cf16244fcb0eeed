// Attention over some keys merged with attention over others, and its backward, beside the same written with Eigen.
#include <checked.hpp>
#include <cmath>
#include <heed/ops/merge.hpp>

namespace {

using heed::Attended;
using heed::Index;
using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

constexpr Index width = 64;
constexpr Index operations = 24;  // of two exponentials, a logarithm, a quotient and the products

struct Operands {
  Attended<float> first, second, merged;
  Index heads;

  explicit Operands(const benchmark::State& state) : heads(state.range(1) / width) {
    const Index rows = state.range(0);
    first = {random(rows, heads * width, "y_first"), random(rows, heads, "l_first")};
    second = {random(rows, heads * width, "y_second"), random(rows, heads, "l_second")};
    merged = first;
  }
  void restart() {
    merged.y = first.y;
    merged.log_sum_exp = first.log_sum_exp;
  }
};

void merge(benchmark::State& state, Who who) {
  Operands in(state);
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, {{in.merged.y, operations}, {in.merged.log_sum_exp, operations}},
      [&] {
        in.restart();
        heed::merge_into(in.merged, in.second, workers);
      },
      [&] {
        in.restart();
        for (Index t = 0; t < in.merged.y.rows(); ++t)
          for (Index h = 0; h < in.heads; ++h) {
            const float a = std::exp(in.first.log_sum_exp(t, h)), b = std::exp(in.second.log_sum_exp(t, h));
            in.merged.log_sum_exp(t, h) = std::log(a + b);
            in.merged.y.row(t).segment(h * width, width) = a / (a + b) * in.first.y.row(t).segment(h * width, width) +
                                                           b / (a + b) * in.second.y.row(t).segment(h * width, width);
          }
      });
  heed::bench::set_bytes(state, 3 * in.merged.y.size());
}

void merge_backward(benchmark::State& state, Who who) {
  Operands in(state);
  heed::Workers workers;
  heed::merge_into(in.merged, in.second, workers);
  const Attended<float> d{random(in.merged.y.rows(), in.merged.y.cols(), "d_y"), {}};
  Attended<float> d_part{d.y, in.first.log_sum_exp};
  heed::bench::time_checked(
      state, who, {{d_part.y, operations}, {d_part.log_sum_exp, operations + width}},
      [&] { heed::merge_backward_into(in.first, in.merged, d, d_part, workers); },
      [&] {
        for (Index t = 0; t < d.y.rows(); ++t)
          for (Index h = 0; h < in.heads; ++h) {
            const auto d_y = d.y.row(t).segment(h * width, width);
            const auto y = in.merged.y.row(t).segment(h * width, width);
            const float part = std::exp(in.first.log_sum_exp(t, h) - in.merged.log_sum_exp(t, h));
            d_part.y.row(t).segment(h * width, width) += part * d_y;
            d_part.log_sum_exp(t, h) += part * d_y.dot(in.first.y.row(t).segment(h * width, width) - y);
          }
      });
  heed::bench::set_bytes(state, 4 * d.y.size());
}

HEED_BENCHMARK_BOTH(merge, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(merge_backward, heed::bench::row_sizes);

}  // namespace
