// Reused scores against PyTorch.
#include <heed/mixers/attention.hpp>
#include <heed/mixers/reused_scores.hpp>

#include "golden.hpp"

namespace {

using heed::golden::expect_golden;
using heed::golden::Golden;
using Standard = heed::Attention<>;
using Reuse = heed::Attention<heed::ReusedScores>;

TEST(Golden, score_reuse) {
  expect_golden<Standard, Reuse, Standard>(Golden("score_reuse"), "standard score_reuse standard", {}, {}, {});
}

TEST(Golden, score_reuse_chain) {
  expect_golden<Standard, Reuse, Reuse>(Golden("score_reuse_chain"), "standard score_reuse score_reuse", {}, {}, {});
}

TEST(Golden, score_reuse_partial) {
  using Partial = heed::SideBySide<Standard, Reuse>;
  expect_golden<Standard, Partial, Partial>(
      Golden("score_reuse_partial"), "standard side_by_side(standard score_reuse) side_by_side(standard score_reuse)", {},
      {}, {});
}

}  // namespace
