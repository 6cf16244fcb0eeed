// Mamba-2 heads, alone and beside attention, against PyTorch.
#include <heed/mixers/attention.hpp>
#include <heed/mixers/state_space_dual.hpp>

#include "golden.hpp"

namespace {

using heed::golden::expect_golden;
using heed::golden::Golden;
using Mamba = heed::StateSpaceDual;

// Chunks of five rows cut the sequences of seven and twelve; chunks of 64 do not.
TEST(Golden, mamba2) {
  const Golden golden("mamba2");
  for (const heed::Index chunk : {5, 64}) {
    const Mamba::Config config{.state_width = golden.state_width(), .chunk = chunk};
    expect_golden<Mamba, Mamba>(golden, "mamba2 mamba2", config, config);
  }
}

TEST(Golden, recurrent_heads) {
  using Mix = heed::SideBySide<heed::Attention<>, Mamba>;
  const Golden golden("recurrent_heads");
  const Mix::Config config{.second = {.state_width = golden.state_width()}};
  expect_golden<Mix, Mix>(golden, "side_by_side(standard mamba2) side_by_side(standard mamba2)", config, config);
}

}  // namespace
