// ALiBi: logits lose what their distance costs, each head at a rate of its own. Nothing is learned, nothing is rotated.
//
//   z_ij = scale q_i . k_j - m_h |p_i - j|
//
//   H a power of two    m_h = 2^(-8 h / H),  h = 1 .. H
//   else                c = the largest power of two below H: the c slopes of c heads, then the first H - c of every other
//                       slope of 2 c heads
//
// Source: Press, Smith and Lewis 2021 (arXiv 2108.12409), section 3; any H, the authors' code.
#pragma once

#include <cmath>
#include <vector>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

/// m_h of the h-th of these heads, counted from 0.
inline double alibi_slope(Index head, Index heads) {
  Index power = 1;
  while (2 * power <= heads) power *= 2;
  const bool extra = head >= power;
  const double step = static_cast<double>(extra ? 2 * (head - power) + 1 : head + 1);
  return std::exp2(-8 * step / static_cast<double>(extra ? 2 * power : power));
}

/// m_h for h = 1 .. heads. ConfigError unless heads >= 0.
inline std::vector<double> alibi_slopes(Index heads) {
  HEED_EXPECTS(ConfigError, heads >= 0, "alibi_slopes: expected 0 heads or more, found ", heads);
  std::vector<double> slopes;
  for (Index head = 0; head < heads; ++head) slopes.push_back(alibi_slope(head, heads));
  return slopes;
}

}  // namespace heed::inline HEED_ABI
