// What benchmarks mean by "the same": equal up to rounding, and finite everywhere.
#pragma once

#include <heed/core/matrix.hpp>
#include <initializer_list>
#include <limits>

namespace heed::bench {

/// No element is further than that from what is expected, and none is infinite or not a number: maxCoeff passes over those.
inline bool within(const Matrix<float>& found, const Matrix<float>& expected, double distance) {
  return found.allFinite() && expected.allFinite() && double((found - expected).cwiseAbs().maxCoeff()) <= distance;
}

/// Equal up to what rounding may do to an element that goes through so many operations.
inline bool agree(const Matrix<float>& found, const Matrix<float>& expected, Index operations) {
  return within(found, expected,
                double(std::numeric_limits<float>::epsilon()) * static_cast<double>(operations) *
                    double(expected.cwiseAbs().maxCoeff()));
}

/// One result of several.
struct Result {
  const Matrix<float>& found;
  const Matrix<float>& expected;
  Index operations;
};
inline bool agree(std::initializer_list<Result> results) {
  for (const Result& result : results)
    if (!agree(result.found, result.expected, result.operations)) return false;
  return true;
}

}  // namespace heed::bench
