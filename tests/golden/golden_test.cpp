// Every variant against PyTorch; and that every golden file is some test's.
#include <filesystem>
#include <heed/mixers/variants.hpp>
#include <heed/testing/memory_source.hpp>

#include "golden.hpp"

namespace heed {
namespace {

using golden::expect_golden;
using golden::Golden;
using Standard = StandardAttention;
using Reuse = ScoreReuseAttention;

// A golden test is called as its file.
TEST(Golden, EveryFileHasATest) {
  std::set<std::string> tests;
  const auto& unit = *::testing::UnitTest::GetInstance();
  for (int suite = 0; suite < unit.total_test_suite_count(); ++suite)
    for (int test = 0; test < unit.GetTestSuite(suite)->total_test_count(); ++test)
      tests.insert(unit.GetTestSuite(suite)->GetTestInfo(test)->name());
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(HEED_GOLDEN_DIR))
    if (entry.path().extension() == ".safetensors") {
      EXPECT_TRUE(tests.contains(entry.path().stem().string())) << entry.path();
      ++files;
    }
  EXPECT_GT(files, 0);
}

void expect_standard(const std::string& name, const Standard::Config& config) {
  expect_golden<Standard, Standard>(Golden(name), "standard standard", config, config);
}

TEST(Golden, standard_mha) {
  expect_standard("standard_mha", {});
}

TEST(Golden, standard_gqa) {
  expect_standard("standard_gqa", {});
}

TEST(Golden, standard_mqa) {
  expect_standard("standard_mqa", {});
}

TEST(Golden, standard_window) {
  expect_standard("standard_window", {.scores = {.mask = window(4)}});
}

TEST(Golden, standard_bidirectional) {
  expect_standard("standard_bidirectional", {.scores = {.mask = bidirectional()}});
}

TEST(Golden, value_width) {
  const Golden golden("value_width");
  const RecurrentMixAttention::Config mix{.second = {.state_width = golden.state_width()}};
  expect_golden<Standard, LearnedResidualValueAttention, SharedValueAttention, RecurrentMixAttention>(
      golden, "standard residual_value_learned shared_value side_by_side(standard mamba2)", {}, {}, {}, mix);
}

TEST(Golden, residual_value) {
  using Residual = ResidualValueAttention;
  const Golden golden("residual_value");
  EXPECT_EQ(golden.text("coefficients"), "0.5 0.5");
  const Residual::Config config{.values = {.coefficients = {.from_first = 0.5, .from_own = 0.5}}};
  expect_golden<Standard, Residual, Residual>(golden, "standard residual_value residual_value", {}, config, config);
}

TEST(Golden, residual_value_learned) {
  using Residual = LearnedResidualValueAttention;
  expect_golden<Standard, Residual, Residual>(Golden("residual_value_learned"),
                                              "standard residual_value_learned residual_value_learned", {}, {}, {});
}

TEST(Golden, residual_value_per_head) {
  using Residual = Attention<ComputedScores, ResidualValues<LearnedPerHead>>;
  expect_golden<Standard, Residual, Residual>(Golden("residual_value_per_head"),
                                              "standard residual_value_per_head residual_value_per_head", {}, {}, {});
}

TEST(Golden, residual_value_plus) {
  using Plus = Attention<ComputedScores, ResidualValues<SharedSoftmax>>;
  expect_golden<CoefficientHolder, Standard, Plus, Plus>(
      Golden("residual_value_plus"), "coefficient_holder standard residual_value_plus residual_value_plus", {.readers = 2},
      {}, {}, {.values = {.coefficients = {.reader = 1}}});
}

// Large coefficients on a late layer, standard ones below it.
TEST(Golden, residual_value_sparse) {
  const Golden golden("residual_value_sparse");
  EXPECT_EQ(golden.text("coefficients"), "5.0 1.0");
  expect_golden<Standard, Standard, ResidualValueAttention>(golden, "standard standard residual_value", {}, {},
                                                            {.values = {.coefficients = {.from_first = 5, .from_own = 1}}});
}

TEST(Golden, residual_value_dense) {
  using History = Attention<ComputedScores, HistoryValues>;
  using Dense = Attention<ComputedScores, DenseResidualValues>;
  expect_golden<History, Dense, Dense>(Golden("residual_value_dense"), "standard residual_value_dense residual_value_dense",
                                       {}, {}, {.values = {.below = 2}});
}

TEST(Golden, neutreno) {
  using Pulled = Attention<ComputedScores, ProjectedValues, Neutreno>;
  const Golden golden("neutreno");
  EXPECT_EQ(golden.text("neutreno"), "0.4");
  expect_golden<Standard, Pulled, Pulled>(golden, "standard neutreno neutreno", {}, {}, {});
}

TEST(Golden, neutreno_residual_value) {
  using Pulled = Attention<ComputedScores, ResidualValues<Fixed>, Neutreno>;
  const Golden golden("neutreno_residual_value");
  EXPECT_EQ(golden.text("neutreno"), "0.2");
  const Pulled::Config config{.output = {.lambda = 0.2}};
  expect_golden<Standard, Pulled, Pulled>(golden, "standard neutreno_residual_value neutreno_residual_value", {}, config,
                                          config);
}

TEST(Golden, shared_value_anchors) {
  using Nearest = Attention<ComputedScores, SharedValues<nearest<values>>>;
  expect_golden<Standard, Nearest, Standard, Nearest>(
      Golden("shared_value_anchors"), "standard shared_value_nearest standard shared_value_nearest", {}, {}, {}, {});
}

TEST(Golden, parallel) {
  const Golden golden("parallel");
  const ParallelMixAttention::Config config{.second = {.state_width = golden.state_width()}};
  expect_golden<ParallelMixAttention, ParallelMixAttention>(
      golden, "in_parallel(standard_normed mamba2) in_parallel(standard_normed mamba2)", config, config);
}

TEST(Golden, shared_value) {
  using Shared = SharedValueAttention;
  expect_golden<Standard, Shared, Shared>(Golden("shared_value"), "standard shared_value shared_value", {}, {}, {});
}

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

TEST(Golden, mamba) {
  using Mix = SideBySide<Standard, Mamba>;
  const Golden golden("mamba");
  for (const Index chunk : {5, 64}) {
    const Mamba::Config config{.state_width = golden.state_width(), .dt_rank = 3, .groups = 2, .chunk = chunk};
    expect_golden<Mamba, Mix>(golden, "mamba side_by_side(standard mamba)", config, {.second = config});
  }
}

TEST(Golden, mamba2_grouped) {
  const Golden golden("mamba2_grouped");
  const Mamba2::Config config{.state_width = golden.state_width(),
                              .groups = 2,
                              .gating = Gating::after_norm,
                              .dt_limits = {.least = 0.15, .most = 0.7},
                              .skip = Skip::by_channel};
  expect_golden<Mamba2, Mamba2>(golden, "mamba2_grouped mamba2_grouped", config, config);
}

TEST(Golden, score_reuse_values) {
  using Mixed = PartialScoreReuseSharedValueAttention;
  expect_golden<Standard, ScoreReuseResidualValueAttention, Mixed>(
      Golden("score_reuse_values"),
      "standard score_reuse_residual_value side_by_side(shared_value score_reuse_shared_value)", {}, {}, {});
}

TEST(Golden, cross_layer) {
  expect_golden<Standard, CLA, CLA>(Golden("cross_layer"), "standard cross_layer cross_layer", {}, {}, {});
}

TEST(Golden, shared_keys) {
  expect_golden<Standard, SharedValueAttention, SharedKeyValueAttention>(
      Golden("shared_keys"), "standard shared_value shared_key_value", {}, {}, {});
}

TEST(Golden, biases_norm_per_head) {
  const Golden golden("biases_norm_per_head");
  EXPECT_EQ(golden.text("options"), "biases norm_per_head");
  const SoftmaxOptions options{.biases = true, .query_key_norm = QueryKeyNorm::per_head};
  expect_golden<Standard, SharedKeyAttention>(golden, "standard shared_key",
                                              {.scores = options, .values = {.biases = true}, .output_bias = true},
                                              {.scores = options, .values = {.biases = true}, .output_bias = true});
}

TEST(Golden, norm_whole_soft_cap) {
  const Standard::Config config{.scores = {.query_key_norm = QueryKeyNorm::whole, .soft_cap = 1.5}};
  expect_standard("norm_whole_soft_cap", config);
}

TEST(Golden, alibi_sinks) {
  const Standard::Config config{.scores = {.positions = Alibi{}, .sinks = true}};
  expect_golden<Standard, Reuse>(Golden("alibi_sinks"), "standard score_reuse", config, {});
}

TEST(Golden, rotary_part) {
  expect_standard("rotary_part", {.scores = {.positions = Rotary{.width = 4, .pairs = RotaryPairs::interleaved}}});
}

TEST(Golden, rotary_yarn) {
  const YarnScaling yarn{.factor = 4, .original_positions = 64, .fast = 4, .slow = 1};
  expect_standard("rotary_yarn", {.scores = {.positions = Rotary{.theta = 100, .scaling = yarn}}});
}

TEST(Golden, cross_attention) {
  const CrossAttention::Config cross{
      .memory_positions = 9, .biases = true, .query_key_norm = QueryKeyNorm::per_head, .soft_cap = 1.5};
  const Standard::Config config{.scores = {.biases = true, .query_key_norm = QueryKeyNorm::per_head, .soft_cap = 1.5},
                                .values = {.biases = true},
                                .output_bias = true};
  expect_golden<testing::MemorySource, Standard, CrossAttention>(
      Golden("cross_attention"), "memory standard cross_attention", {.positions = 9}, config, cross);
}

TEST(Golden, cross_attention_sinks) {
  const CrossAttention::Config cross{.memory_positions = 9, .sinks = true};
  const Standard::Config config{.scores = {.sinks = true}};
  expect_golden<testing::MemorySource, Standard, CrossAttention>(
      Golden("cross_attention_sinks"), "memory standard cross_attention", {.positions = 9}, config, cross);
}

// Chunks of five rows cut the sequences of seven and twelve; chunks of 64 do not.
TEST(Golden, mamba2) {
  const Golden golden("mamba2");
  for (const Index chunk : {5, 64}) {
    const Mamba2::Config config{.state_width = golden.state_width(), .chunk = chunk};
    expect_golden<Mamba2, Mamba2>(golden, "mamba2 mamba2", config, config);
  }
}

TEST(Golden, recurrent_heads) {
  using Mix = SideBySide<Standard, Mamba2>;
  const Golden golden("recurrent_heads");
  const Mix::Config config{.second = {.state_width = golden.state_width()}};
  expect_golden<Mix, Mix>(golden, "side_by_side(standard mamba2) side_by_side(standard mamba2)", config, config);
}

TEST(Golden, all_five) {
  const Golden file("all_five");
  const RecurrentMixAttention::Config mix{.second = {.state_width = file.state_width()}};
  expect_golden<Standard, LearnedResidualValueAttention, SharedValueAttention, Reuse, RecurrentMixAttention>(
      file, "standard residual_value_learned shared_value score_reuse side_by_side(standard mamba2)", {}, {}, {}, {}, mix);
}

}  // namespace
}  // namespace heed
