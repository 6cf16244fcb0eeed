// y += First(x) + Second(x),   each on all heads
//
//   The two mixers read the same rows and have every head of the layer each. Each has its norm before its own W_o:
//   attention with NormedOutput, Mamba-2 with its gated norm. Falcon-H1's and Hymba's layer is
//   InParallel<Attention<ComputedScores, ProjectedValues, NormedOutput>, Mamba2>. One W_o behind the mean of the two normed
//   outputs, as Hymba has it, is the case in which both W_o are half of it:
//     1/2 (norm(o_1) + norm(o_2)) W_o = norm(o_1) (1/2 W_o) + norm(o_2) (1/2 W_o)
// Source: Dong et al. 2024 (arXiv 2411.13676), Hymba, eq. 3; Zuo et al. 2025 (arXiv 2507.22448), Falcon-H1, section 2.
#pragma once

#include "mixer_pair.hpp"

namespace heed::inline HEED_ABI {

/// Both mixers own all heads. First may publish, Second may not: a signal has one publisher for a head.
struct AllHeads {
  template <class First, class Second>
  struct Config {
    typename First::Config first = {};
    typename Second::Config second = {};

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("first", config.first);
      f("second", config.second);
    }
  };
  static constexpr bool second_publishes = false;
  static constexpr std::string_view sign = " + ";

  static Shape first(const Shape& shape, const auto&) { return shape; }
  static Shape second(const Shape& shape, const auto&) { return shape; }
  static void check(const Shape&, const auto&, std::string_view) {}
  /// A stack counts the activations of one mixer: these are the second's.
  static Index scratch_per_row(const Shape& shape) {
    return 8 * (std::max)(shape.q_width(), shape.o_width()) + 8 * (std::max)(shape.k_width(), shape.v_width());
  }
};

template <class First, class Second>
using InParallel = MixerPair<First, Second, AllHeads>;

}  // namespace heed::inline HEED_ABI
