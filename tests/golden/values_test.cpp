// Residual and shared values against PyTorch.
#include <heed/mixers/attention.hpp>
#include <heed/mixers/residual_values.hpp>
#include <heed/mixers/shared_values.hpp>

#include "golden.hpp"

namespace {

using heed::golden::expect_golden;
using heed::golden::Golden;
using Standard = heed::Attention<>;

template <class Values>
using With = heed::Attention<heed::ComputedScores, Values>;

TEST(Golden, residual_value) {
  using Residual = With<heed::ResidualValues<heed::Fixed>>;
  const Golden golden("residual_value");
  EXPECT_EQ(golden.text("coefficients"), "0.5 0.5");
  const Residual::Config config{.values = {.from_first = 0.5, .from_own = 0.5}};
  expect_golden<Standard, Residual, Residual>(golden, "standard residual_value residual_value", {}, config, config);
}

TEST(Golden, residual_value_learned) {
  using Residual = With<heed::ResidualValues<heed::Learned>>;
  expect_golden<Standard, Residual, Residual>(Golden("residual_value_learned"),
                                              "standard residual_value_learned residual_value_learned", {}, {}, {});
}

TEST(Golden, shared_value) {
  using Shared = With<heed::SharedValues>;
  expect_golden<Standard, Shared, Shared>(Golden("shared_value"), "standard shared_value shared_value", {}, {}, {});
}

}  // namespace
