// The value sources of examples/08, held to the contract of the library's own mixers.
#include <gtest/gtest.h>

#include <heed/testing/mixer_contract.hpp>

#include "../../examples/normalised_coefficients.hpp"
#include "../../examples/token_gated_values.hpp"

namespace {

const heed::testing::ContractOptions small = {
    .sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4},
    .lengths = {4, 0, 1, 5}};

TEST(TokenGatedValues, HoldTheContract) {
  const auto report = heed::testing::mixer_contract<app::TokenGatedAttention>({.values = {.scale = 2}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(NormalisedCoefficients, HoldTheContract) {
  const auto report = heed::testing::mixer_contract<app::NormalisedResidualAttention>(
      {.values = {.coefficients = {.scale = 1.3, .own = 0.8, .first = 0.4}}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

}  // namespace
