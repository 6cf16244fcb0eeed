// What the numbers of a config may be. What would turn into NaN or an endless allocation in a call is a ConfigError when
// the model is built.
//
//   sizes          up to 2^20: products of two of them, in bytes, can be counted
//   coefficients   finite, up to 1e30: finite in float too
//   epsilons       1e-30 to 1e30: a row of zeros stays one
//   soft-caps      0 (none), or 1e-6 to 1e30: finite when scores of up to 1e30 are divided by them
#pragma once

#include <cmath>
#include <string_view>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

inline constexpr Index largest_size = Index(1) << 20;

namespace detail {

inline constexpr double largest_number = 1e30, least_epsilon = 1e-30, least_soft_cap = 1e-6;

/// `where` names what has the config: "layer 3".
template <class Error = ConfigError>
void expects_size(std::string_view where, std::string_view member, Index found, Index least, Index most = largest_size) {
  HEED_EXPECTS(Error, found >= least, where, ": ", member, ": expected ", least, " or more, found ", found);
  HEED_EXPECTS(Error, found <= most, where, ": ", member, ": expected at most ", most, ", found ", found);
}
template <class Error = ConfigError>
void expects_number(std::string_view where, std::string_view member, double found) {
  HEED_EXPECTS(Error, std::abs(found) <= largest_number, where, ": ", member,
               ": expected a finite number of at most 1e30, found ", found);
}
inline void expects_epsilon(std::string_view where, std::string_view member, double found) {
  HEED_EXPECTS(ConfigError, found >= least_epsilon && found <= largest_number, where, ": ", member,
               ": expected a number from 1e-30 to 1e30, found ", found);
}
template <class Error = ConfigError>
void expects_soft_cap(std::string_view where, double found) {
  HEED_EXPECTS(Error, found >= 0, where, ": soft_cap: expected 0 (none) or more, found ", found);
  HEED_EXPECTS(Error, found == 0 || (found >= least_soft_cap && found <= largest_number), where,
               ": soft_cap: expected 0 (none), or 1e-6 to 1e30, found ", found);
}

}  // namespace detail

}  // namespace heed::inline HEED_ABI
