// The five variants in one stack against PyTorch.
#include <heed/mixers/variants.hpp>

#include "golden.hpp"

namespace {

using namespace heed;

TEST(Golden, all_five) {
  const golden::Golden file("all_five");
  const RecurrentMixAttention::Config mix{.second = {.state_width = file.state_width()}};
  golden::expect_golden<StandardAttention, LearnedResidualValueAttention, SharedValueAttention, ScoreReuseAttention,
                        RecurrentMixAttention>(
      file, "standard residual_value_learned shared_value score_reuse side_by_side(standard mamba2)", {}, {}, {}, {}, mix);
}

}  // namespace
