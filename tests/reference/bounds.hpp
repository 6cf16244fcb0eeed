// How exact is exact enough: at most twice the error of the naive loops in the same scalar, against the same loops in a
// wider one. The floor, eps * operations * the largest number, is what rounding alone may do when the naive loops are
// lucky.
#pragma once

#include <gtest/gtest.h>

#include "errors.hpp"

namespace heed::reference {

/// operations: the roundings that one element of the result goes through.
template <class Found, class Naive, class Exact>
void expect_as_exact_as_naive(const Found& found, const Naive& naive, const Exact& exact, Index operations) {
  ASSERT_EQ(found.rows(), exact.rows());
  ASSERT_EQ(found.cols(), exact.cols());
  EXPECT_LE(error_of(found, exact), allowed_error<typename Found::Scalar>(naive, exact, operations));
}

}  // namespace heed::reference
