// Results held against the double oracles of tests/reference, where it is cheap enough: some rows, some heads, some
// channels.
#pragma once

#include <string>
#include <vector>

#include <heed/ops/mask.hpp>
#include <reference/attention.hpp>
#include <reference/errors.hpp>

namespace limits {

using heed::Index;
using heed::Matrix;

/// A sentence, or nothing. At most twice the error of the naive loops in float is right.
template <class Found, class Naive, class Exact>
std::string too_far(const std::string& what, const Found& found, const Naive& naive, const Exact& exact, Index operations) {
  const double error = heed::reference::error_of(found, exact);
  const double allowed = heed::reference::allowed_error<float>(naive, exact, operations);
  if (error <= allowed) return {};
  return what + ": expected an error of " + std::to_string(allowed) + " at most, found " + std::to_string(error);
}

/// The columns of one head, as the loops of the oracle take them.
template <class Scalar>
reference::Rows<Scalar> rows_for_oracle(const float* from, Index rows, Index cols, Index stride) {
  reference::Rows<Scalar> to(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) to(i, j) = static_cast<Scalar>(from[i * stride + j]);
  return to;
}

template <class Scalar>
Matrix<Scalar> matrix_of(const reference::Rows<Scalar>& rows) {
  return Eigen::Map<const Matrix<Scalar>>(rows.data.data(), rows.rows, rows.cols);
}

/// One head of one sequence, without a copy.
struct HeadOperands {
  const float* q;
  const float* k;
  const float* v;
  Index q_stride, k_stride, v_stride;
  Index keys, width;
  heed::Mask mask;

  template <class Scalar>
  reference::Logits<Scalar> logits(Index position) const {
    return {.sees = [this](std::ptrdiff_t at, std::ptrdiff_t key) { return mask.visible(at, keys).contains(key); },
            .offset = position,
            .scale = Scalar(1) / std::sqrt(static_cast<Scalar>(width)),
            .bias = {}};
  }
  /// Row `row` of q, which is at `position`.
  template <class Scalar>
  Matrix<Scalar> attended(Index row, Index position) const {
    return matrix_of(reference::attention(rows_for_oracle<Scalar>(q + row * q_stride, 1, width, q_stride),
                                          rows_for_oracle<Scalar>(k, keys, width, k_stride),
                                          rows_for_oracle<Scalar>(v, keys, width, v_stride), logits<Scalar>(position))
                         .o);
  }
  std::string check(const std::string& what, Index row, Index position, const float* found) const {
    return too_far(what + ", row " + std::to_string(row), Matrix<float>(Eigen::Map<const Matrix<float>>(found, 1, width)),
                   attended<float>(row, position), attended<double>(row, position), width);
  }
};

/// The rows that are checked: the first ones, one in the middle, the last one.
inline std::vector<Index> some_rows(Index rows) {
  std::vector<Index> some;
  for (const Index row : {Index(0), Index(1), rows / 3, rows - 1})
    if (row < rows && (some.empty() || row > some.back())) some.push_back(row);
  return some;
}

}  // namespace limits
