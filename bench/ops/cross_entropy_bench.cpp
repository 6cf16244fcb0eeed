// The mean of -ln softmax(logits)[target] and its backward beside the same written with Eigen's arrays.
#include <checked.hpp>
#include <heed/ops/cross_entropy.hpp>
#include <vector>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::Who;

std::vector<int> targets_of(const Matrix<float>& logits) {
  heed::Random random(1, "targets");
  std::vector<int> targets(static_cast<std::size_t>(logits.rows()));
  for (int& target : targets) target = static_cast<int>(random.next() % static_cast<std::uint64_t>(logits.cols()));
  return targets;
}

void cross_entropy(benchmark::State& state, Who who) {
  const Matrix<float> logits = heed::bench::random(state.range(0), state.range(1), "logits", 3);
  const std::vector<int> targets = targets_of(logits);
  Matrix<float> loss(1, 1);
  heed::Workers workers;
  heed::Arena scratch(std::size_t(1) << 20);
  heed::bench::time_checked(
      state, who, loss, logits.cols(),
      [&] { loss(0, 0) = static_cast<float>(heed::cross_entropy(logits, targets, scratch, workers)); },
      [&] {
        float sum = 0;
        for (Index t = 0; t < logits.rows(); ++t) {
          const float highest = logits.row(t).maxCoeff();
          sum += highest + std::log((logits.row(t).array() - highest).exp().sum()) -
                 logits(t, targets[static_cast<std::size_t>(t)]);
        }
        loss(0, 0) = sum / static_cast<float>(logits.rows());
      });
  heed::bench::set_bytes(state, logits.size());
}

void cross_entropy_backward(benchmark::State& state, Who who) {
  const Matrix<float> logits = heed::bench::random(state.range(0), state.range(1), "logits", 3);
  const std::vector<int> targets = targets_of(logits);
  Matrix<float> d_logits = logits;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, d_logits, logits.cols(), [&] { heed::cross_entropy_backward(logits, targets, d_logits, workers); },
      [&] {
        const float share = 1 / static_cast<float>(logits.rows());
        for (Index t = 0; t < logits.rows(); ++t) {
          const Eigen::Array<float, 1, Eigen::Dynamic> e = (logits.row(t).array() - logits.row(t).maxCoeff()).exp();
          d_logits.row(t).array() += e * (share / e.sum());
          d_logits(t, targets[static_cast<std::size_t>(t)]) -= share;
        }
      });
  heed::bench::set_bytes(state, 2 * logits.size());
}

HEED_BENCHMARK_BOTH(cross_entropy, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(cross_entropy_backward, heed::bench::row_sizes);

}  // namespace
