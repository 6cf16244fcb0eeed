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
  using std::exp, std::log;  // and those of dual numbers
  CrossEntropy<Scalar> result{Scalar(0), Matrix<Scalar>::Zero(logits.rows(), logits.cols())};
  Scalar count = Scalar(0);
  for (const int target : targets) count += Scalar(target >= 0 ? 1 : 0);
  for (Index t = 0; t < logits.rows(); ++t) {
    const int target = targets[static_cast<std::size_t>(t)];
    if (target < 0) continue;
    Scalar largest = logits(t, 0), sum = Scalar(0);
    for (Index i = 0; i < logits.cols(); ++i)
      if (logits(t, i) > largest) largest = logits(t, i);
    for (Index i = 0; i < logits.cols(); ++i) sum += exp(logits(t, i) - largest);
    result.loss += (log(sum) + largest - logits(t, target)) / count;
    for (Index i = 0; i < logits.cols(); ++i)
      result.d_logits(t, i) = (exp(logits(t, i) - largest) / sum - Scalar(i == target ? 1 : 0)) / count;
  }
  return result;
}

}  // namespace heed::reference
