// From a row of logits to a token.
//
//   P(i) = e^(logits_i / temperature) / sum_j e^(logits_j / temperature),   i, j among the top_k largest logits
//
//   logits [1 x V]     temperature 0: the largest logit
// Source: top-k: Fan et al. 2018 (arXiv 1805.04833), section 5.4.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "../core/random.hpp"

namespace heed::inline HEED_ABI {

struct SamplerOptions {
  double temperature = 1;  // 0: always the largest logit
  Index top_k = 0;         // choose among so many of the largest logits; 0: among all
  std::uint64_t seed = 0;
};

namespace detail {

/// What is left of a row of logits: those above `least`, and those that equal it up to the token `last`.
template <class Scalar>
struct Kept {
  Scalar least = -std::numeric_limits<Scalar>::infinity();
  Index last = -1;

  bool operator()(const Scalar* logits, Index i) const { return logits[i] > least || (logits[i] == least && i <= last); }
};

/// Integers in the order of the floating-point numbers they stand for, and back.
template <class Scalar>
using OrderKey = std::conditional_t<sizeof(Scalar) == 4, std::int32_t, std::int64_t>;
template <class Scalar>
OrderKey<Scalar> flip_negative(OrderKey<Scalar> bits) {
  return bits < 0 ? bits ^ (std::numeric_limits<OrderKey<Scalar>>::max)() : bits;
}
template <class Scalar>
OrderKey<Scalar> order_key(Scalar value) {
  return flip_negative<Scalar>(std::bit_cast<OrderKey<Scalar>>(value));
}
template <class Scalar>
Scalar from_order_key(OrderKey<Scalar> key) {
  return std::bit_cast<Scalar>(flip_negative<Scalar>(key));
}

/// The k largest logits, found by halving what lies between -inf and the largest: as many rounds as a Scalar has bits, and
/// no memory. -inf and NaN are never kept.
template <class Scalar>
Kept<Scalar> keep_largest(Index k, Scalar largest, const Scalar* logits, Index V) {
  const auto count = [&](auto&& holds) {
    Index sum = 0;
    for (Index i = 0; i < V; ++i) sum += holds(logits[i]) ? 1 : 0;
    return sum;
  };
  auto low = order_key(-std::numeric_limits<Scalar>::infinity()), high = order_key(largest);
  while (low < high) {
    const auto middle = std::midpoint(high, low);  // rounds towards high
    const Scalar bound = from_order_key<Scalar>(middle);
    if (count([&](Scalar x) { return x >= bound; }) >= k)
      low = middle;
    else
      high = middle - 1;
  }
  Kept<Scalar> kept{.least = from_order_key<Scalar>(low)};
  if (std::isinf(kept.least)) return kept;
  Index ties = k - count([&](Scalar x) { return x > kept.least; });
  for (Index i = 0; ties > 0; ++i)
    if (logits[i] == kept.least) {
      kept.last = i;
      --ties;
    }
  return kept;
}

}  // namespace detail

/// Draws tokens. The same options and the same rows give the same tokens; a draw takes one random number and no memory.
class Sampler {
 public:
  /// Raises ConfigError for a temperature or a top_k below zero.
  explicit Sampler(const SamplerOptions& options = {}) : options_(options), random_(options.seed, "sampler") {
    HEED_EXPECTS(ConfigError, options.temperature >= 0, "temperature: expected 0 or more, found ", options.temperature);
    HEED_EXPECTS(ConfigError, options.top_k >= 0, "top_k: expected 0 or more, found ", options.top_k);
  }

  /// A token in [0, V). Of equal logits the lower token counts as the larger. A logit of -inf or NaN is never chosen, one
  /// of inf always is. With nothing to choose from the token is 0.
  ///   logits   [1 x V], V >= 1, else ShapeError
  template <class Row>
  int operator()(const Eigen::MatrixBase<Row>& logits) {
    HEED_EXPECTS(ShapeError, logits.rows() == 1 && logits.cols() >= 1, "logits: expected [1 x V] with V >= 1, found [",
                 logits.rows(), " x ", logits.cols(), "]");
    return static_cast<int>(draw(view_of(logits).data(), logits.cols()));
  }

 private:
  template <class Scalar>
  Index draw(const Scalar* logits, Index V) {
    Index best = 0;
    for (Index i = 1; i < V; ++i)
      if (logits[i] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[i]))) best = i;
    if (!std::isfinite(logits[best])) return logits[best] > 0 ? best : 0;
    if (options_.temperature == 0) return best;

    const bool all = options_.top_k == 0 || options_.top_k >= V;
    const auto kept = all ? detail::Kept<Scalar>() : detail::keep_largest(options_.top_k, logits[best], logits, V);
    const auto weight = [&](Index i) {
      return kept(logits, i)
                 ? std::exp((static_cast<double>(logits[i]) - static_cast<double>(logits[best])) / options_.temperature)
                 : 0.0;
    };
    double sum = 0;
    for (Index i = 0; i < V; ++i) sum += weight(i);
    double left = random_.uniform() * sum;
    for (Index i = 0; i < V; ++i) {
      left -= weight(i);
      if (left < 0) return i;
    }
    return best;  // rounding left something over
  }

  SamplerOptions options_;
  Random random_;
};

}  // namespace heed::inline HEED_ABI
