// One step of AdamW on one tensor beside the same written with Eigen's arrays.
#include <checked.hpp>
#include <heed/ops/adam_step.hpp>

namespace {

using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

void adam_step(benchmark::State& state, Who who) {
  const Matrix<float> gradient = random(state.range(0), state.range(1), "gradient");
  const Matrix<float> start = random(gradient.rows(), gradient.cols(), "weight");
  Matrix<float> weight = start, m = start, v = start;
  const heed::AdamStep step{.learning_rate = 1e-3, .weight_decay = 0.1, .step = 3};
  const auto anew = [&] {
    weight = start;
    m.setZero();
    v.setZero();
  };
  heed::bench::time_checked(
      state, who, {{weight, 16}, {m, 4}, {v, 4}},
      [&] {
        anew();
        heed::adam_step(step, gradient, weight, m, v);
      },
      [&] {
        anew();
        const auto b1 = static_cast<float>(step.beta1), b2 = static_cast<float>(step.beta2);
        const auto rate = static_cast<float>(step.learning_rate);
        const float correct_m = 1 - static_cast<float>(std::pow(step.beta1, 3));
        const float correct_v = 1 - static_cast<float>(std::pow(step.beta2, 3));
        m.array() = b1 * m.array() + (1 - b1) * gradient.array();
        v.array() = b2 * v.array() + (1 - b2) * gradient.array().square();
        weight.array() -=
            rate * ((m.array() / correct_m) / ((v.array() / correct_v).sqrt() + static_cast<float>(step.epsilon)) +
                    static_cast<float>(step.weight_decay) * weight.array());
      });
  heed::bench::set_bytes(state, 5 * weight.size());
}

HEED_BENCHMARK_BOTH(adam_step, heed::bench::row_sizes);

}  // namespace
