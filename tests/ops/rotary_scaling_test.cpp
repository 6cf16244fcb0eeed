#include "heed/ops/rotary_scaling.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "../reference/rotary.hpp"

namespace heed {
namespace {

constexpr Index r = 64;
constexpr double theta = 500000;
constexpr Index trained = 8192;
constexpr long double wide_theta = 500000;
constexpr long double two_pi = 6.283185307179586476925L;

std::vector<double> scaled(const RotaryScaling& scaling, double base = theta, Index width = r) {
  return inverse_frequencies({.theta = base, .scaling = scaling}, width).inverse;
}
double magnitude(const RotaryScaling& scaling) {
  return inverse_frequencies({.theta = theta, .scaling = scaling}, r).magnitude;
}

// A power has the error of its exponent, ln(theta) roundings, and a few of its own; no formula has more than two powers
// and eight other operations.
void expect_frequencies(const std::vector<double>& found, const std::vector<long double>& exact) {
  ASSERT_EQ(found.size(), exact.size());
  const double eps = std::numeric_limits<double>::epsilon();
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double expected = static_cast<double>(exact[i]);
    EXPECT_NEAR(found[i], expected, (10 + 2 * std::log(theta)) * eps * expected) << i;
  }
}

/// f_i, each replaced by change(i, f_i)
std::vector<long double> changed(const std::function<long double(std::size_t, long double)>& change) {
  auto f = reference::frequencies<long double>(r, wide_theta);
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = change(i, f[i]);
  return f;
}

TEST(RotaryScaling, IsPowersOfThetaWhenThereIsNone) {
  expect_frequencies(scaled(Unscaled{}), reference::frequencies<long double>(r, wide_theta));
  EXPECT_EQ(magnitude(Unscaled{}), 1);
}

TEST(RotaryScaling, LinearDividesEveryFrequency) {
  expect_frequencies(scaled(LinearScaling{3}), changed([](std::size_t, long double f) { return f / 3; }));
  EXPECT_EQ(magnitude(LinearScaling{3}), 1);
}

TEST(RotaryScaling, NtkWidensTheBaseSoThatTheSlowestIsDivided) {
  const long double base = wide_theta * std::pow(3.0L, static_cast<long double>(r) / (r - 2));
  expect_frequencies(scaled(NtkScaling{3}), reference::frequencies<long double>(r, base));
  const auto f = scaled(NtkScaling{3});
  EXPECT_EQ(f.front(), 1);
  expect_frequencies({f.back() * 3}, {reference::frequencies<long double>(r, wide_theta).back()});
}

TEST(RotaryScaling, DynamicNtkScalesByHowMuchLongerTheContextIs) {
  const auto unscaled = scaled(Unscaled{});
  EXPECT_EQ(scaled(DynamicNtkScaling{4, trained, trained}), unscaled);
  EXPECT_EQ(scaled(DynamicNtkScaling{4, trained, 100}), unscaled);
  EXPECT_EQ(scaled(DynamicNtkScaling{1, trained, 2 * trained}), scaled(NtkScaling{2}));
  EXPECT_EQ(scaled(DynamicNtkScaling{4, trained, 2 * trained}), scaled(NtkScaling{4 * 2 - 3}));
}

TEST(RotaryScaling, YarnDividesSlowPairsAndKeepsFastOnes) {
  for (const bool truncate : {true, false}) {
    const auto pair = [](long double turns) {
      return r * std::log(trained / (two_pi * turns)) / (2 * std::log(wide_theta));
    };
    const long double first = truncate ? std::floor(pair(32)) : pair(32), last = truncate ? std::ceil(pair(1)) : pair(1);
    ASSERT_GT(first, 0);
    ASSERT_LT(last, r / 2 - 1);
    const auto f = scaled(YarnScaling{.factor = 8, .original_positions = trained, .truncate = truncate});
    expect_frequencies(f, changed([&](std::size_t i, long double unscaled) {
                         const long double ramp =
                             std::clamp((static_cast<long double>(i) - first) / (last - first), 0.0L, 1.0L);
                         return unscaled * (1 - ramp) + unscaled / 8 * ramp;
                       }));
    const auto unscaled = scaled(Unscaled{});
    EXPECT_EQ(f.front(), unscaled.front());
    EXPECT_EQ(f.back(), unscaled.back() / 8);
  }
}

TEST(RotaryScaling, YarnLengthensRows) {
  EXPECT_DOUBLE_EQ(magnitude(YarnScaling{.factor = 8, .original_positions = trained}), 0.1 * std::log(8) + 1);
  EXPECT_EQ(magnitude(YarnScaling{.factor = 1, .original_positions = trained}), 1);
  EXPECT_EQ(magnitude(YarnScaling{.factor = 8, .original_positions = trained, .attention_factor = 1.5}), 1.5);
}

// All pairs turn less than once in so short a context.
TEST(RotaryScaling, YarnDividesEveryPairButTheFirstAfterATinyContext) {
  const auto f = scaled(YarnScaling{.factor = 8, .original_positions = 4}), unscaled = scaled(Unscaled{});
  for (std::size_t i = 1; i < f.size(); ++i) EXPECT_EQ(f[i], unscaled[i] / 8) << i;
}

TEST(RotaryScaling, Llama3BlendsBetweenLowAndHighTurns) {
  const auto f = scaled(Llama3Scaling{});
  expect_frequencies(f, changed([](std::size_t, long double unscaled) {
                       const long double wave = two_pi / unscaled;
                       if (wave < trained / 4.0L) return unscaled;
                       if (wave > trained / 1.0L) return unscaled / 8;
                       const long double smooth = (trained / wave - 1) / (4 - 1);
                       return (1 - smooth) * unscaled / 8 + smooth * unscaled;
                     }));
  EXPECT_EQ(magnitude(Llama3Scaling{}), 1);
}

TEST(RotaryScaling, LongRopeTakesTheListOfTheDeclaredLength) {
  const std::vector<double> near(r / 2, 1.25);
  std::vector<double> far(r / 2);
  for (std::size_t i = 0; i < far.size(); ++i) far[i] = 1 + static_cast<double>(i);
  const auto with = [&](Index positions) { return LongRopeScaling{near, far, 32, trained, positions, {}}; };
  expect_frequencies(scaled(with(trained)), changed([](std::size_t, long double f) { return f / 1.25L; }));
  expect_frequencies(scaled(with(trained + 1)),
                     changed([](std::size_t i, long double f) { return f / static_cast<long double>(i + 1); }));
  // how far the model was extended, not how far it is used
  EXPECT_DOUBLE_EQ(magnitude(with(trained)), std::sqrt(1 + std::log(32) / std::log(trained)));
  EXPECT_EQ(magnitude(with(trained)), magnitude(with(32 * trained)));
  EXPECT_EQ(magnitude(LongRopeScaling{near, far, 1, trained, 1, {}}), 1);
  EXPECT_EQ(magnitude(LongRopeScaling{near, far, 32, trained, 1, 1.5}), 1.5);
}

// What docs/positions.md says of models; widths are those of their heads.
TEST(RotaryScaling, OfKnownModelsCanBe) {
  const Rotary llama_2 = {.theta = 10000};
  const Rotary llama_2_of_meta = {.theta = 10000, .pairs = RotaryPairs::interleaved};
  const Rotary llama_3_1 = {.theta = 500000, .scaling = Llama3Scaling{.factor = 8, .original_positions = 8192}};
  const Rotary gpt_neox = {.width = 24};
  const Rotary gpt_j = {.width = 64, .pairs = RotaryPairs::interleaved};
  const Rotary qwen_2_5 = {.theta = 1e6, .scaling = YarnScaling{.factor = 4, .original_positions = 32768}};
  const Rotary gpt_oss = {.theta = 150000,
                          .scaling = YarnScaling{.factor = 32, .original_positions = 4096, .truncate = false}};
  const Rotary gemma_3_global = {.theta = 1e6, .scaling = LinearScaling{8}};

  const auto count = [](const Rotary& rotary, Index head_width) {
    return inverse_frequencies(rotary, head_width).inverse.size();
  };
  EXPECT_EQ(count(llama_2, 128), 64u);
  EXPECT_EQ(count(llama_2_of_meta, 128), 64u);
  EXPECT_EQ(count(llama_3_1, 128), 64u);
  EXPECT_EQ(count(gpt_neox, 96), 12u);
  EXPECT_EQ(count(gpt_j, 256), 32u);
  EXPECT_EQ(count(qwen_2_5, 128), 64u);
  EXPECT_EQ(count(gpt_oss, 64), 32u);
  EXPECT_EQ(count(gemma_3_global, 256), 128u);
}

TEST(RotaryScaling, IsFiniteForASinglePair) {
  for (const RotaryScaling& scaling :
       {RotaryScaling(Unscaled{}), RotaryScaling(NtkScaling{4}), RotaryScaling(DynamicNtkScaling{4, 8, 64})})
    EXPECT_EQ(scaled(scaling, theta, 2), std::vector<double>{1});
}

TEST(RotaryScaling, NamesTheOptionThatCannotBe) {
  const auto error = [](const RotaryScaling& scaling, double base = theta) -> std::string {
    try {
      check_rotary({.theta = base, .width = 8, .scaling = scaling}, 16, "layer 3");
    } catch (const ConfigError& wrong) {
      return wrong.what();
    }
    return "none";
  };
  const std::string factor = "layer 3: rotary: factor: expected a finite number, 1 or more, found ";
  EXPECT_EQ(error(LinearScaling{0.5}), factor + "0.500000");
  EXPECT_EQ(error(NtkScaling{0}), factor + "0.000000");
  EXPECT_EQ(error(DynamicNtkScaling{-1, 8, 8}), factor + "-1.000000");
  EXPECT_EQ(error(YarnScaling{.factor = std::numeric_limits<double>::infinity()}), factor + "inf");
  EXPECT_EQ(error(Llama3Scaling{.factor = 0.9}), factor + "0.900000");

  const std::string context = " or more, the context that the model was first trained on, found ";
  EXPECT_EQ(error(DynamicNtkScaling{2, 0, 8}), "layer 3: rotary: original_positions: expected 1" + context + "0");
  EXPECT_EQ(error(DynamicNtkScaling{2, 8, 0}), "layer 3: rotary: positions: expected 1 position or more, found 0");
  EXPECT_EQ(error(YarnScaling{.factor = 2}), "layer 3: rotary: original_positions: expected 1" + context + "0");

  const YarnScaling yarn{.factor = 2, .original_positions = 64};
  EXPECT_EQ(error(yarn), "none");
  EXPECT_EQ(error(yarn, 1), "layer 3: rotary: theta: expected more than 1, found 1.000000");
  YarnScaling swapped = yarn;
  std::swap(swapped.fast, swapped.slow);
  EXPECT_EQ(error(swapped), "layer 3: rotary: fast: expected a finite number, `slow` or more, found 1.000000");
  YarnScaling silent = yarn;
  silent.attention_factor = 0;
  EXPECT_EQ(error(silent), "layer 3: rotary: attention_factor: expected a finite number above 0, found 0.000000");

  EXPECT_EQ(error(Llama3Scaling{.low = 4, .high = 4}),
            "layer 3: rotary: high: expected a finite number above `low`, found 4.000000");

  const std::vector<double> four(4, 2.0), three(3, 2.0), with_zero = {1, 1, 0, 1};
  EXPECT_EQ(error(LongRopeScaling{four, four, 2, 64, 128, {}}), "none");
  EXPECT_EQ(error(LongRopeScaling{three, four, 2, 64, 128, {}}),
            "layer 3: rotary: short_factors: expected 4 factors, one for each pair, found 3");
  EXPECT_EQ(error(LongRopeScaling{four, three, 2, 64, 128, {}}),
            "layer 3: rotary: long_factors: expected 4 factors, one for each pair, found 3");
  EXPECT_EQ(error(LongRopeScaling{four, with_zero, 2, 64, 128, {}}),
            "layer 3: rotary: long_factors: expected a finite number above 0, found 0.000000");
  EXPECT_EQ(error(LongRopeScaling{four, four, 2, 1, 128, {}}),
            "layer 3: rotary: original_positions: expected 2" + context + "1");
}

}  // namespace
}  // namespace heed
