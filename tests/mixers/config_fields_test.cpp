// Every config of the menu is reached by name: what is not listed in its `fields` would be lost on the way to a file.
#include <gtest/gtest.h>

#include "heed/core/fields.hpp"
#include "heed/mixers/variants.hpp"

namespace heed {
namespace {

using Members = Description::Members;
using List = Description::List;

template <class Config>
void expect_round_trip(const Description& description) {
  Config config{};
  read_described(description, config, Place());
  EXPECT_EQ(described(config), description);
  EXPECT_EQ(described(Config{}), Description(Members{}));
}

TEST(ConfigFields, OfAttentionReachMasksPositionsAndTheirScaling) {
  const Description yarn = Members{{"type", "yarn"}, {"factor", 4.0}, {"original_positions", 4096}, {"truncate", false}};
  expect_round_trip<StandardAttention::Config>(Members{
      {"scores",
       Members{{"mask", Members{{"left", 127}, {"sinks", 4}}},
               {"positions",
                Members{{"type", "rotary"}, {"theta", 5e5}, {"width", 16}, {"pairs", "interleaved"}, {"scaling", yarn}}},
               {"biases", true},
               {"query_key_norm", "per_head"},
               {"precision", "bf16x2"}}},
      {"values", Members{{"biases", true}}},
      {"output_bias", true}});
  expect_round_trip<StandardAttention::Config>(
      Members{{"scores", Members{{"mask", Members{{"right", "unbounded"}}}, {"positions", "none"}}}});
}

TEST(ConfigFields, OfPositionsReachEveryScaling) {
  const Description scalings[] = {
      Members{{"type", "linear"}, {"factor", 4.0}}, Members{{"type", "ntk"}, {"factor", 4.0}},
      Members{{"type", "dynamic"}, {"factor", 4.0}, {"original_positions", 512}, {"positions", 1024}},
      Members{{"type", "llama3"}, {"factor", 4.0}, {"low", 0.5}, {"high", 3.0}, {"original_positions", 512}},
      Members{{"type", "longrope"},
              {"short_factors", List{1.0, 2.0}},
              {"long_factors", List{3.0, 4.0}},
              {"factor", 4.0},
              {"original_positions", 512},
              {"positions", 1024},
              {"attention_factor", 1.25}}};
  for (const Description& scaling : scalings)
    expect_round_trip<StandardAttention::Config>(
        Members{{"scores", Members{{"positions", Members{{"type", "rotary"}, {"scaling", scaling}}}}}});
}

TEST(ConfigFields, OfResidualValuesReachTheirCoefficients) {
  expect_round_trip<LearnedResidualValueAttention::Config>(
      Members{{"values", Members{{"coefficients", Members{{"from_first", 0.25}}}, {"biases", true}}}});
}

TEST(ConfigFields, OfValuesOfManyLayersReachTheirCoefficients) {
  expect_round_trip<Attention<ComputedScores, DenseResidualValues>::Config>(
      Members{{"values", Members{{"below", 3}, {"from_below", 0.25}, {"from_own", 0.75}, {"biases", true}}}});
  expect_round_trip<Attention<ComputedScores, ResidualValues<SharedSoftmax>>::Config>(
      Members{{"values", Members{{"coefficients", Members{{"reader", 2}, {"from_own", 0.75}}}}}});
}

TEST(ConfigFields, OfRecurrencesReachTheirSizesAndChoices) {
  expect_round_trip<Mamba2::Config>(Members{{"state_width", 16},
                                            {"gating", "after_norm"},
                                            {"dt_limits", Members{{"least", 0.5}, {"most", 2.0}}},
                                            {"skip", "by_channel"}});
  expect_round_trip<Mamba::Config>(Members{{"inner_width", 64}, {"dt_rank", 3}});
}

TEST(ConfigFields, OfTwoSideBySideReachBoth) {
  expect_round_trip<RecurrentMixAttention::Config>(
      Members{{"second_kv_heads", 1}, {"second", Members{{"state_width", 8}}}});
}

TEST(ConfigFields, OfCrossAttentionReachItsMemory) {
  expect_round_trip<CrossAttention::Config>(
      Members{{"memory_positions", 12}, {"query_key_norm", "whole"}, {"sinks", true}, {"precision", "bf16x3"}});
}

}  // namespace
}  // namespace heed
