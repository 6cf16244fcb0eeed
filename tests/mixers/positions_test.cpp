#include "heed/mixers/positions.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/attention.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

// A magnitude that is not 1, features that pass through, and pairs side by side: chunks, caches and gradients must know.
TEST(Positions, HoldTheContractWhereAPartOfTheHeadTurnsInPairsSideBySideAndLonger) {
  const Rotary rotary = {.theta = 100,
                         .width = 4,
                         .pairs = RotaryPairs::interleaved,
                         .scaling = YarnScaling{.factor = 8, .original_positions = 16}};
  ASSERT_GT(inverse_frequencies(rotary, 6).magnitude, 1.2);
  const auto report = testing::mixer_contract<Attention<>>(
      {.scores = {.positions = rotary}},
      {.sizes = {.width = 6, .heads = 2, .kv_heads = 1, .head_width = 6, .hidden = 4}, .lengths = {4, 0, 1, 5}});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(Positions, AreRefusedWhereHeadsCannotHaveThem) {
  const auto error = [](const Positions& positions, Index head_width) -> std::string {
    try {
      check_positions(positions, head_width, "layer 2");
    } catch (const ConfigError& wrong) {
      return wrong.what();
    }
    return "none";
  };
  EXPECT_EQ(error(NoPositions{}, 3), "none");
  EXPECT_EQ(error(Rotary{}, 3), "layer 2: head_width: expected an even number (rotary pairs), found 3");
  EXPECT_EQ(error(Rotary{.width = 2}, 3), "none");
  EXPECT_EQ(error(Rotary{.width = 4}, 3),
            "layer 2: rotary: width: expected an even number from 0 to the head width 3, found 4");
}

}  // namespace
}  // namespace heed
