// Standard attention against PyTorch; and that every golden file is some test's.
#include <filesystem>
#include <heed/mixers/attention.hpp>

#include "golden.hpp"

namespace {

using StandardAttention = heed::Attention<>;
using heed::golden::expect_golden;
using heed::golden::Golden;

// A golden test is called as its file.
TEST(Golden, EveryFileHasATest) {
  std::set<std::string> tests;
  const auto& unit = *testing::UnitTest::GetInstance();
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

void expect_standard(const std::string& name, const StandardAttention::Config& config) {
  expect_golden<StandardAttention, StandardAttention>(Golden(name), "standard standard", config, config);
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
  expect_standard("standard_window", {.scores = {.mask = heed::window(4)}});
}

TEST(Golden, standard_bidirectional) {
  expect_standard("standard_bidirectional", {.scores = {.mask = heed::bidirectional()}});
}

}  // namespace
