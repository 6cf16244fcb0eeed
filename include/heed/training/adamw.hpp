// AdamW over all tensors of a model: which decay, and how far a gradient may reach.
//
//   norm = sqrt(sum of the squares of all gradients),   g = gradient min(1, clip / norm)
//   every tensor: the step of ops/adam_step on g; matrices decay (roles matrix and output), nothing else does
// Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2; clipping: Pascanu et al. 2013 (arXiv 1211.5063),
// algorithm 1.
#pragma once

#include <cmath>
#include <vector>

#include "../core/visit.hpp"
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
  explicit AdamW(Params zeros, const AdamWOptions& options = {}, Executor* executor = nullptr)
      : options_(options), m_(std::move(zeros)), v_(m_), workers_(executor, 0) {}

  /// Changes the weights, model.params(), and returns the norm of the gradients before clipping. The same bits for any
  /// number of workers.
  template <class Weights>
  double step(Weights&& weights, const Params& gradients, double learning_rate) {
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
