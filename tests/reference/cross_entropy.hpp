// Cross-entropy as loops.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>
#include <vector>

namespace heed::reference {

template <class Scalar>
struct CrossEntropy {
  Scalar loss;              // mean over the rows with a target
  Matrix<Scalar> d_logits;  // its gradient
};

template <class Scalar>
CrossEntropy<Scalar> cross_entropy(const Matrix<Scalar>& logits, const std::vector<int>& targets) {
  CrossEntropy<Scalar> result{0, Matrix<Scalar>::Zero(logits.rows(), logits.cols())};
  Scalar count = 0;
  for (const int target : targets) count += target >= 0 ? 1 : 0;
  for (Index t = 0; t < logits.rows(); ++t) {
    const int target = targets[static_cast<std::size_t>(t)];
    if (target < 0) continue;
    Scalar largest = logits(t, 0), sum = 0;
    for (Index i = 0; i < logits.cols(); ++i) largest = (std::max)(largest, logits(t, i));
    for (Index i = 0; i < logits.cols(); ++i) sum += std::exp(logits(t, i) - largest);
    result.loss += (std::log(sum) + largest - logits(t, target)) / count;
    for (Index i = 0; i < logits.cols(); ++i)
      result.d_logits(t, i) = (std::exp(logits(t, i) - largest) / sum - Scalar(i == target ? 1 : 0)) / count;
  }
  return result;
}

}  // namespace heed::reference
