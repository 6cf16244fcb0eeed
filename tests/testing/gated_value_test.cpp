// The variant of examples/04, held to the contract of the library's own mixers.
#include <gtest/gtest.h>

#include <heed/testing/mixer_contract.hpp>

#include "../../examples/gated_value_attention.hpp"

namespace {

using heed::testing::Layers;
static_assert(heed::Mixer<app::GatedValueAttention>);

TEST(GatedValueAttention, HoldsTheContractBelowALayerThatReadsItsValues) {
  const auto report =
      heed::testing::mixer_contract<app::GatedValueAttention, Layers<heed::Attention<>>, Layers<app::GatedValueAttention>>(
          {.values = {.gate = 0.3}});
  EXPECT_TRUE(report.holds()) << report.text();
}

}  // namespace
