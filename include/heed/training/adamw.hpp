// AdamW over all tensors of a model: which decay, and how far a gradient may reach.
//
//   norm = sqrt(sum of the squares of all gradients),   g = gradient min(1, clip / norm)
//   every tensor: the step of ops/adam_step on g; matrices decay (roles matrix and output), nothing else does
// Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2; clipping: Pascanu et al. 2013 (arXiv 1211.5063),
// algorithm 1.
#pragma once

#include <cmath>
#include <vector>

#include "../core/weight.hpp"
#include "../ops/adam_step.hpp"

namespace heed::inline HEED_ABI {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip = 1;  // the largest norm of all gradients together; infinity: as they are
};

/// Params: the type of a model's gradients. Both moments are kept in one of these each.
template <class Params>
class AdamW {
 public:
  /// zeros: model.make_gradients(). The executor, if any, outlives the optimizer.
  /// ConfigError for options that no step can be made with.
  explicit AdamW(Params zeros, const AdamWOptions& options = {}, Executor* executor = nullptr)
      : options_(checked(options)), m_(std::move(zeros)), v_(m_), workers_(executor, 0) {}

  /// Changes the weights, model.params(), and returns the norm of the gradients before clipping. The same bits for any
  /// number of workers. ShapeError before anything changes for weights or gradients of other shapes than the moments', for
  /// weights in 16 bits, and for a learning rate that is not a finite number of 0 or more.
  template <class Weights>
  double step(Weights&& weights, const Params& gradients, double learning_rate) {
    expects_same_shapes("weights: ", m_, weights);
    expects_same_shapes("gradients: ", m_, gradients);
    expects_arithmetic("weights: ", weights);
    HEED_EXPECTS(ShapeError, learning_rate >= 0 && std::isfinite(learning_rate),
                 "learning_rate: expected a finite number of 0 or more, found ", learning_rate);
    const double norm = norm_of(gradients);
    AdamStep step{.learning_rate = learning_rate,
                  .beta1 = options_.beta1,
                  .beta2 = options_.beta2,
                  .epsilon = options_.epsilon,
                  .step = ++steps_,
                  .gradient_scale = norm > options_.clip ? options_.clip / norm : 1};
    visit(
        [&](std::string_view, Role role, auto& weight, const auto& gradient, auto& m, auto& v) {
          step.weight_decay = role == Role::matrix || role == Role::output ? options_.weight_decay : 0;
          for_blocks(weight, [&](Index, Index begin, Index rows) {
            adam_step(step, gradient.middleRows(begin, rows), weight.middleRows(begin, rows), m.middleRows(begin, rows),
                      v.middleRows(begin, rows));
          });
        },
        weights, gradients, m_, v_);
    return norm;
  }

  /// Steps taken.
  Index steps() const { return steps_; }

 private:
  static const AdamWOptions& checked(const AdamWOptions& options) {
    const auto expects = [](bool holds, const char* name, const char* expected, double found) {
      HEED_EXPECTS(ConfigError, holds, name, ": expected ", expected, ", found ", found);
    };
    expects(options.beta1 >= 0 && options.beta1 < 1, "beta1", "a number in [0, 1)", options.beta1);
    expects(options.beta2 >= 0 && options.beta2 < 1, "beta2", "a number in [0, 1)", options.beta2);
    expects(options.epsilon >= 0 && std::isfinite(options.epsilon), "epsilon", "a finite number of 0 or more",
            options.epsilon);
    expects(options.weight_decay >= 0 && std::isfinite(options.weight_decay), "weight_decay",
            "a finite number of 0 or more", options.weight_decay);
    expects(options.clip > 0, "clip", "a number above 0", options.clip);
    return options;
  }
  double norm_of(const Params& gradients) {
    double sum = 0;
    visit(
        [&](std::string_view, Role, const auto& gradient) {
          sums_.assign(static_cast<std::size_t>(gradient.rows()), 0);  // as many blocks at most
          for_blocks(gradient, [&](Index block, Index begin, Index rows) {
            sums_[static_cast<std::size_t>(block)] = sum_of_squares(gradient.middleRows(begin, rows));
          });
          for (const double of_block : sums_) sum += of_block;
        },
        gradients);
    return std::sqrt(sum);
  }
  // f(block, first row, rows) for a tensor's rows in blocks.
  template <class Tensor, class F>
  void for_blocks(const Tensor& tensor, F&& f) {
    const detail::RowBlocks blocks(tensor.rows(), tensor.cols());
    workers_.run(blocks.size(),
                 [&](Index block, Arena&) { f(block, blocks.begin(block), blocks.end(block) - blocks.begin(block)); });
  }

  AdamWOptions options_;
  Params m_;
  Params v_;
  Workers workers_;
  std::vector<double> sums_;  // of squares, by block of the tensor at hand
  Index steps_ = 0;
};

}  // namespace heed::inline HEED_ABI
