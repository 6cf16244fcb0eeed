// Mixers written outside the library, held to the contract of its own.
#include <gtest/gtest.h>

#include <heed/testing/mixer_contract.hpp>

#include "testing/token_shift.hpp"

namespace {

static_assert(heed::Mixer<app::TokenShift>);

TEST(TokenShift, HoldsTheContract) {
  const auto report = heed::testing::mixer_contract<app::TokenShift>();
  EXPECT_TRUE(report.holds()) << report.text();
}

}  // namespace
