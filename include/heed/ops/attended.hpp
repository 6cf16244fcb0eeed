// What attention over some keys gives, with what merging and backward need.
#pragma once

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct Attended {
  Matrix<Scalar> y;            // [T x H*E_v]
  Matrix<Scalar> log_sum_exp;  // [T x H], natural log; -inf for a row that sees nothing
};

}  // namespace heed::inline HEED_ABI
