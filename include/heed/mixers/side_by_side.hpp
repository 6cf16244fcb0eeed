// y += First(x) + Second(x),   each on its own heads
//
//   The kv heads of the layer, with their query heads, are split: First owns the leading ones, Second the rest. Each owns
//   its rows of W_o, so that the sum is the concatenation of all heads times one W_o. Partial score reuse is
//   SideBySide<StandardAttention, ScoreReuseAttention>: the new heads come first. RecurFormer's layer is
//   SideBySide<StandardAttention, Mamba2>.
// Source: Bhojanapalli et al. 2021 (arXiv 2110.06821), section 3 (partial reuse); Yan et al. 2024 (arXiv 2410.12850).
#pragma once

#include "mixer_pair.hpp"

namespace heed::inline HEED_ABI {

/// How the kv heads of a layer are divided between two mixers.
struct HeadSplit {
  /// kv heads that the second mixer owns; a kv head is never divided.
  static constexpr Index half = -1;

  template <class First, class Second>
  struct Config {
    Index second_kv_heads = half;  // half of the layer's unless chosen
    typename First::Config first = {};
    typename Second::Config second = {};

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("second_kv_heads", config.second_kv_heads);
      f("first", config.first);
      f("second", config.second);
    }
  };
  static constexpr bool second_publishes = true;
  static constexpr std::string_view sign = " | ";

  static Index second_count(const Shape& shape, const auto& config) {
    return config.second_kv_heads == half ? shape.kv_heads.count / 2 : config.second_kv_heads;
  }
  static Shape first(const Shape& shape, const auto& config) {
    return shape.kv_range(0, shape.kv_heads.count - second_count(shape, config));
  }
  static Shape second(const Shape& shape, const auto& config) {
    const Index count = second_count(shape, config);
    return shape.kv_range(shape.kv_heads.count - count, count);
  }
  static void check(const Shape& shape, const auto& config, std::string_view layer) {
    const Index count = config.second_kv_heads;
    HEED_EXPECTS(ConfigError, count == half || (count >= 0 && count <= shape.kv_heads.count), layer,
                 ": second_kv_heads: expected 0 to ", shape.kv_heads.count, ", found ", count);
    HEED_EXPECTS(ConfigError, count != half || shape.kv_heads.count != 1, layer,
                 ": second_kv_heads: expected 0 or 1, found half of 1 kv head");
  }
  static Index scratch_per_row(const Shape&) { return 0; }
};

template <class First, class Second>
using SideBySide = MixerPair<First, Second, HeadSplit>;

}  // namespace heed::inline HEED_ABI
