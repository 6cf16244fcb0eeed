// The checks of public entries (always on) and of the inside (debug only).
#pragma once

#include <cassert>

#include "errors.hpp"

/// Raises Error with the remaining arguments as its text unless the condition holds. The text is built on failure only.
#define HEED_EXPECTS(Error, condition, ...) \
  do {                                      \
    if (!(condition)) [[unlikely]]          \
      ::heed::fail<Error>(__VA_ARGS__);     \
  } while (false)

/// A check inside the library, on only under HEED_DEBUG_CHECKS.
#if defined(HEED_DEBUG_CHECKS)
#define HEED_DEBUG_CHECK(condition) assert(condition)
#else
#define HEED_DEBUG_CHECK(condition) static_cast<void>(0)
#endif

namespace heed::inline HEED_ABI::detail {

/// Requires `what` to be [rows x cols].
template <class Matrix, class Count>
void expects_shape(std::string_view what, const Matrix& matrix, Count rows, Count cols) {
  HEED_EXPECTS(ShapeError, matrix.rows() == rows && matrix.cols() == cols, what, ": expected [", rows, " x ", cols,
               "], found [", matrix.rows(), " x ", matrix.cols(), "]");
}

}  // namespace heed::inline HEED_ABI::detail
