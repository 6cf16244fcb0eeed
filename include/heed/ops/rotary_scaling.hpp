// The frequencies of rotary positions, and how they are scaled for contexts longer than a model was first trained on.
//
//   f_i = theta^(-2i/r)         i = 0 .. r/2 - 1, r the features of a head that turn; with s the factor, and
//                               L_0 = original_positions, the context that the model was first trained on:
//
//   Unscaled            f_i
//   LinearScaling       f_i / s
//   NtkScaling          theta' = theta s^(r/(r-2)), which divides the slowest by s and leaves the fastest
//   DynamicNtkScaling   the same with s L/L_0 - (s - 1) in place of s, L = max(positions, L_0)
//   YarnScaling         f_i / s ramp_i + f_i (1 - ramp_i), a ramp over the pairs: 0 for those that turn more than `fast`
//                       times in L_0, 1 for those that turn less than `slow` times
//   Llama3Scaling       f_i / s (1 - smooth_i) + f_i smooth_i, smooth_i = (L_0 f_i / 2 pi - low) / (high - low), in [0, 1]
//   LongRopeScaling     f_i / factor_i, from one of two lists
//
// YaRN and LongRoPE also lengthen the rows: cosines and sines are multiplied by a magnitude m, scores so by m^2.
// What depends on the length in use takes it as a declared number: a cached key must not change when the context grows.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "../core/config_numbers.hpp"
#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

struct Unscaled {
  static constexpr std::string_view name = "unscaled";
};

/// Position interpolation. Source: Chen et al. 2023 (arXiv 2306.15595), section 2.3.
struct LinearScaling {
  static constexpr std::string_view name = "linear";
  double factor = 1;  // s >= 1

  template <class F, class C>
  static void fields(F&& f, C& scaling) {
    f("factor", scaling.factor);
  }
};

/// "NTK-aware" interpolation: a larger base. Source: Peng et al. 2023 (arXiv 2309.00071), section 3.1.
struct NtkScaling {
  static constexpr std::string_view name = "ntk";
  double factor = 1;  // s >= 1

  template <class F, class C>
  static void fields(F&& f, C& scaling) {
    f("factor", scaling.factor);
  }
};

/// "Dynamic NTK": nothing changes up to L_0. Source: Peng et al. 2023 (arXiv 2309.00071), section 3.3, with the base that
/// Hugging Face's `dynamic` takes.
struct DynamicNtkScaling {
  static constexpr std::string_view name = "dynamic";
  double factor = 1;             // s >= 1
  Index original_positions = 0;  // L_0
  Index positions = 0;           // L: the longest context that will be fed

  template <class F, class C>
  static void fields(F&& f, C& scaling) {
    f("factor", scaling.factor);
    f("original_positions", scaling.original_positions);
    f("positions", scaling.positions);
  }
};

/// "NTK by parts" and a magnitude. Source: Peng et al. 2023 (arXiv 2309.00071), sections 3.2 and 3.4, with a ramp over the
/// numbers of the pairs, as in the authors' code.
struct YarnScaling {
  static constexpr std::string_view name = "yarn";
  double factor = 1;                            // s >= 1
  Index original_positions = 0;                 // L_0
  double fast = 32;                             // turns in L_0; faster pairs keep their frequency
  double slow = 1;                              // slower pairs are divided by s
  std::optional<double> attention_factor = {};  // the magnitude m; if absent 0.1 ln s + 1
  bool truncate = true;                         // the ramp's ends are rounded outwards to whole pairs (gpt-oss: not)

  template <class F, class C>
  static void fields(F&& f, C& scaling) {
    f("factor", scaling.factor);
    f("original_positions", scaling.original_positions);
    f("fast", scaling.fast);
    f("slow", scaling.slow);
    f("attention_factor", scaling.attention_factor);
    f("truncate", scaling.truncate);
  }
};

/// Source: Meta's Llama 3.1 (arXiv 2407.21783) and its code: the pairs between `low` and `high` turns in L_0 are blended.
struct Llama3Scaling {
  static constexpr std::string_view name = "llama3";
  double factor = 8;                // s >= 1
  double low = 1;                   // turns in L_0
  double high = 4;                  // turns in L_0, > low
  Index original_positions = 8192;  // L_0

  template <class F, class C>
  static void fields(F&& f, C& scaling) {
    f("factor", scaling.factor);
    f("low", scaling.low);
    f("high", scaling.high);
    f("original_positions", scaling.original_positions);
  }
};

/// Source: Ding et al. 2024 (arXiv 2402.13753), with the two lists and the magnitude of Phi-3.
struct LongRopeScaling {
  static constexpr std::string_view name = "longrope";
  std::vector<double> short_factors = {};       // [r/2], used while L <= L_0
  std::vector<double> long_factors = {};        // [r/2]
  double factor = 1;                            // s >= 1: the longest context of the model, over L_0
  Index original_positions = 0;                 // L_0
  Index positions = 0;                          // L: the longest context that will be fed
  std::optional<double> attention_factor = {};  // the magnitude m; if absent sqrt(1 + ln s / ln L_0)

  template <class F, class C>
  static void fields(F&& f, C& scaling) {
    f("short_factors", scaling.short_factors);
    f("long_factors", scaling.long_factors);
    f("factor", scaling.factor);
    f("original_positions", scaling.original_positions);
    f("positions", scaling.positions);
    f("attention_factor", scaling.attention_factor);
  }
};

using RotaryScaling =
    std::variant<Unscaled, LinearScaling, NtkScaling, DynamicNtkScaling, YarnScaling, Llama3Scaling, LongRopeScaling>;

}  // namespace heed::inline HEED_ABI

namespace heed::inline HEED_ABI::detail {

// scale_frequencies(scaling, theta, width, f): f holds theta^(-2i/r) for i < r/2, r = width, and is scaled in place.
// Returns the magnitude.

inline double scale_frequencies(const Unscaled&, double, Index, double*) {
  return 1;
}

inline double scale_frequencies(const LinearScaling& by, double, Index width, double* f) {
  for (Index i = 0; i < width / 2; ++i) f[i] /= by.factor;
  return 1;
}

inline double scale_frequencies(const NtkScaling& by, double, Index width, double* f) {
  // (theta s^(r/(r-2)))^(-2i/r) = theta^(-2i/r) s^(-2i/(r-2)); the first frequency is 1 for any theta
  for (Index i = 1; i < width / 2; ++i)
    f[i] *= std::pow(by.factor, -2 * static_cast<double>(i) / static_cast<double>(width - 2));
  return 1;
}

inline double scale_frequencies(const DynamicNtkScaling& by, double theta, Index width, double* f) {
  const double longer =
      static_cast<double>((std::max)(by.positions, by.original_positions)) / static_cast<double>(by.original_positions);
  return scale_frequencies(NtkScaling{by.factor * longer - (by.factor - 1)}, theta, width, f);
}

inline double scale_frequencies(const YarnScaling& by, double theta, Index width, double* f) {
  constexpr double two_pi = 6.283185307179586477;
  const double r = static_cast<double>(width), original = static_cast<double>(by.original_positions);
  // the pair, as a number that need not be whole, that turns so often: theta^(-2i/r) L_0 / 2 pi = turns
  const auto pair = [&](double turns) { return r * std::log(original / (turns * two_pi)) / (2 * std::log(theta)); };
  double first = pair(by.fast), last = pair(by.slow);
  if (by.truncate) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = (std::max)(first, 0.0);
  last = (std::min)(last, r - 1);
  const double length = (std::max)(last - first, 0.001);
  for (Index i = 0; i < width / 2; ++i) {
    const double ramp = (std::clamp)((static_cast<double>(i) - first) / length, 0.0, 1.0);
    f[i] = f[i] / by.factor * ramp + f[i] * (1 - ramp);
  }
  return by.attention_factor.value_or(0.1 * std::log(by.factor) + 1);
}

inline double scale_frequencies(const Llama3Scaling& by, double, Index width, double* f) {
  constexpr double two_pi = 6.283185307179586477;
  for (Index i = 0; i < width / 2; ++i) {
    const double turns = static_cast<double>(by.original_positions) * f[i] / two_pi;
    const double smooth = (std::clamp)((turns - by.low) / (by.high - by.low), 0.0, 1.0);
    f[i] = f[i] / by.factor * (1 - smooth) + f[i] * smooth;
  }
  return 1;
}

inline double scale_frequencies(const LongRopeScaling& by, double, Index width, double* f) {
  const std::vector<double>& factors = by.positions > by.original_positions ? by.long_factors : by.short_factors;
  for (Index i = 0; i < width / 2; ++i) f[i] /= factors[static_cast<std::size_t>(i)];
  if (by.attention_factor) return *by.attention_factor;
  return by.factor == 1 ? 1 : std::sqrt(1 + std::log(by.factor) / std::log(static_cast<double>(by.original_positions)));
}

/// One option of a scaling, for an error: "layer 3: rotary: factor".
struct ScalingOption {
  std::string_view layer;
  std::string_view name;

  void expects(bool holds, std::string_view expected, double found) const {
    HEED_EXPECTS(ConfigError, holds, layer, ": rotary: ", name, ": expected ", expected, ", found ", found);
  }
  void expects_factor(double found) const {
    expects(found >= 1 && std::isfinite(found), "a finite number, 1 or more", found);
  }
  void expects_positive(double found) const {
    expects(found > 0 && std::isfinite(found), "a finite number above 0", found);
    expects(found >= least_epsilon && found <= largest_number, "a number from 1e-30 to 1e30", found);
  }
  void expects_count(Index found) const {
    HEED_EXPECTS(ConfigError, found >= 1, layer, ": rotary: ", name, ": expected 1 position or more, found ", found);
  }
  void expects_context(Index found, Index least = 1) const {
    HEED_EXPECTS(ConfigError, found >= least, layer, ": rotary: ", name, ": expected ", least,
                 " or more, the context that the model was first trained on, found ", found);
  }
  void expects_list(const std::vector<double>& found, Index length) const {
    HEED_EXPECTS(ConfigError, found.size() == static_cast<std::size_t>(length), layer, ": rotary: ", name, ": expected ",
                 length, " factors, one for each pair, found ", found.size());
    for (const double factor : found) expects_positive(factor);
  }
};

// check_scaling(scaling, theta, width, layer): ConfigError, naming the layer and the option.

inline void check_scaling(const Unscaled&, double, Index, std::string_view) {}

inline void check_scaling(const LinearScaling& by, double, Index, std::string_view layer) {
  ScalingOption{layer, "factor"}.expects_factor(by.factor);
}

inline void check_scaling(const NtkScaling& by, double, Index, std::string_view layer) {
  ScalingOption{layer, "factor"}.expects_factor(by.factor);
}

inline void check_scaling(const DynamicNtkScaling& by, double, Index, std::string_view layer) {
  ScalingOption{layer, "factor"}.expects_factor(by.factor);
  ScalingOption{layer, "original_positions"}.expects_context(by.original_positions);
  ScalingOption{layer, "positions"}.expects_count(by.positions);
}

inline void check_scaling(const YarnScaling& by, double theta, Index, std::string_view layer) {
  ScalingOption{layer, "factor"}.expects_factor(by.factor);
  ScalingOption{layer, "original_positions"}.expects_context(by.original_positions);
  ScalingOption{layer, "theta"}.expects(theta > 1, "more than 1", theta);
  ScalingOption{layer, "slow"}.expects_positive(by.slow);
  ScalingOption{layer, "fast"}.expects(by.fast >= by.slow && std::isfinite(by.fast), "a finite number, `slow` or more",
                                       by.fast);
  if (by.attention_factor) ScalingOption{layer, "attention_factor"}.expects_positive(*by.attention_factor);
}

inline void check_scaling(const Llama3Scaling& by, double, Index, std::string_view layer) {
  ScalingOption{layer, "factor"}.expects_factor(by.factor);
  ScalingOption{layer, "original_positions"}.expects_context(by.original_positions);
  ScalingOption{layer, "low"}.expects_positive(by.low);
  ScalingOption{layer, "high"}.expects(by.high > by.low && std::isfinite(by.high), "a finite number above `low`", by.high);
}

inline void check_scaling(const LongRopeScaling& by, double, Index width, std::string_view layer) {
  ScalingOption{layer, "short_factors"}.expects_list(by.short_factors, width / 2);
  ScalingOption{layer, "long_factors"}.expects_list(by.long_factors, width / 2);
  ScalingOption{layer, "factor"}.expects_factor(by.factor);
  ScalingOption{layer, "original_positions"}.expects_context(by.original_positions, 2);
  ScalingOption{layer, "positions"}.expects_count(by.positions);
  if (by.attention_factor) ScalingOption{layer, "attention_factor"}.expects_positive(*by.attention_factor);
}

}  // namespace heed::inline HEED_ABI::detail
