// The three errors heed raises, and the one function that raises them.
//
//   ConfigError       a model that cannot be built: wiring, head ranges, sizes         at build time
//   CheckpointError   a file that does not hold what the model needs                  at load time
//   ShapeError        a call with the wrong rows, columns, lengths or capacity        at call time, before anything changes
//
// Without exceptions the same text goes to `heed::fail_without_exceptions`, which the program defines.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "abi.hpp"

namespace heed {

#if !defined(__cpp_exceptions)
/// Defined by the program when it is compiled without exceptions: receives the text of the error and does not return.
[[noreturn]] void fail_without_exceptions(const char* kind, const char* text);
#endif

}  // namespace heed

namespace heed::inline HEED_ABI {

struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
  static constexpr const char* name = "ConfigError";
};

struct CheckpointError : std::runtime_error {
  using std::runtime_error::runtime_error;
  static constexpr const char* name = "CheckpointError";
};

struct ShapeError : std::runtime_error {
  using std::runtime_error::runtime_error;
  static constexpr const char* name = "ShapeError";
};

namespace detail {

template <class Part>
std::string text_of(const Part& part) {
  if constexpr (std::is_arithmetic_v<Part>)
    return std::to_string(part);
  else
    return std::string(part);
}

}  // namespace detail

/// Raises Error with the concatenated parts (strings and numbers) as its text.
template <class Error, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  const std::string text = (std::string() + ... + detail::text_of(parts));
#if defined(__cpp_exceptions)
  throw Error(text);
#else
  ::heed::fail_without_exceptions(Error::name, text.c_str());
#endif
}

}  // namespace heed::inline HEED_ABI
