// Runs the vector files of the folder that the environment variable HEED_VECTORS names, or else of ../shared/vectors beside
// the repository if it is there. docs/conformance.md says where such files come from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "runner.hpp"

namespace heed::conformance {
namespace {

using testing::HasSubstr;

/// A relative path is one from here or from the root of the repository, wherever the test was started.
std::filesystem::path folder_of(const std::filesystem::path& named) {
  if (std::filesystem::is_directory(named)) return named;
  return std::filesystem::path(HEED_GOLDEN_DIR) / "../.." / named;
}

TEST(Conformance, HoldsForEveryVectorFile) {
  const char* named = std::getenv("HEED_VECTORS");
  const std::filesystem::path folder = folder_of(named != nullptr ? named : "../shared/vectors");
  if (named == nullptr && !std::filesystem::is_directory(folder))
    GTEST_SKIP() << "no vectors: set HEED_VECTORS to a folder of vector files (docs/conformance.md)";
  ASSERT_TRUE(std::filesystem::is_directory(folder)) << "HEED_VECTORS: " << named << " is not a folder";
  Runner runner(std::cout);
  runner.run_folder(folder);
  EXPECT_EQ(runner.failed, 0);
  EXPECT_GT(runner.passed, 0) << folder << " has no vector file of an operator of heed";
}

/// A folder of its own for each test, gone afterwards.
class ConformanceRunner : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("heed_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  /// What the runner prints, its count last.
  std::string run() {
    std::ostringstream out;
    Runner runner(out);
    runner.run_folder(folder_);
    return out.str();
  }

  std::filesystem::path folder_;
};

// y = x / sqrt(mean(x^2)) for x = (3, 4) / 5: mean(x^2) = 1/2
const std::string norm =
    "test n\nop RMSNormalization\nopset 23\nnode_inputs x w\nnode_outputs y\nattr epsilon 0\n"
    "input x f32 1 2\n0.6 0.8\ninput w f32 1 2\n1 2\noutput y f32 1 2\n";

TEST_F(ConformanceRunner, PassesWhatIsRight) {
  write("norm.txt", norm + "0.848528137 2.2627417\n");
  write("README.md", "no vectors\n\n| file | what |\n|---|---|\n| norm.txt | [a norm |\n");
  EXPECT_THAT(run(), HasSubstr("norm.txt  RMSNormalization  passed  error "));
  EXPECT_THAT(run(), HasSubstr("\n1 passed, 0 not offered, 0 failed\n"));
}

TEST_F(ConformanceRunner, GoesIntoFolders) {
  std::filesystem::create_directories(folder_ / "norms" / "rms");
  write("norms/rms/norm.txt", norm + "0.848528137 2.2627417\n");
  write("wrong.txt", norm + "0.848528137 2.263\n");
  EXPECT_THAT(run(), HasSubstr("norms/rms/norm.txt  RMSNormalization  passed  error "));
  EXPECT_THAT(run(), HasSubstr("\n1 passed, 0 not offered, 1 failed\n"));
}

TEST_F(ConformanceRunner, FailsWhatIsWrong) {
  write("norm.txt", norm + "0.848528137 2.263\n");
  EXPECT_THAT(run(), HasSubstr("norm.txt  RMSNormalization  FAILED  y[1]: expected 2.263, found 2.26274"));
  EXPECT_THAT(run(), HasSubstr("\n0 passed, 0 not offered, 1 failed\n"));
}

TEST_F(ConformanceRunner, FailsAnAttributeThatItDoesNotUnderstand) {
  write("norm.txt", norm + "0.848528137 2.2627417\nattr mode 3\n");
  EXPECT_THAT(run(), HasSubstr("FAILED  attribute 'mode' (3) is not understood"));
}

TEST_F(ConformanceRunner, NamesTheLineOfAMalformedFile) {
  write("norm.txt", norm + "0.848528137\n");
  EXPECT_THAT(run(), HasSubstr("norm.txt  -  FAILED  norm.txt:12: 'y': expected 2 values, found 1"));
  write("norm.txt", "");
  EXPECT_THAT(run(), HasSubstr("norm.txt  -  FAILED  norm.txt:0: expected a line 'test NAME', found none"));
}

TEST_F(ConformanceRunner, SaysWhatItDoesNotOffer) {
  write("conv.txt", "test n\nop Conv\nopset 23\nnode_outputs y\noutput y f32 0\n1\n");
  EXPECT_THAT(run(),
              HasSubstr("conv.txt  Conv  not offered  heed has no such operator\n0 passed, 1 not offered, 0 failed\n"));
}

TEST_F(ConformanceRunner, ComparesListsOfFrequencies) {
  write("lists.txt",
        "# default theta=10000 dim=4 (somewhere)\n1 0.01\n# linear factor=2 theta=10000 dim=4\n0.5 0.005\n"
        "# linear factor=2 theta=10000 dim=4\n0.5 0.00501\n# linear factor=2 theta=10000 dim=4 base=3\n0.5 0.005\n"
        "# sideways theta=10000 dim=4\n1 0.01\n");
  const std::string printed = run();
  EXPECT_THAT(printed, HasSubstr("lists.txt  rotary default  passed"));
  EXPECT_THAT(printed, HasSubstr("lists.txt  rotary linear  passed"));
  EXPECT_THAT(printed, HasSubstr("lists.txt  rotary linear  FAILED  frequency 1: expected 0.00501, found 0.005"));
  EXPECT_THAT(printed, HasSubstr("lists.txt  rotary linear  FAILED  option 'base' is not understood"));
  EXPECT_THAT(printed, HasSubstr("lists.txt  rotary sideways  not offered  scaling 'sideways'"));
  EXPECT_THAT(printed, HasSubstr("\n2 passed, 1 not offered, 2 failed\n"));
  write("lists.txt", "# default theta=10000 dim=4\n# linear\n");
  EXPECT_THAT(run(), HasSubstr("FAILED  lists.txt:2: expected the frequencies of the list above"));
}

TEST_F(ConformanceRunner, ComparesEncoderLayersInATable) {
  const std::string header = "# A page\n\n| case | activation | rows | padding | first row |\n|---|---|---|---|---|\n";
  const auto printed = [&](const std::string& rows) {
    write("page.md", header + rows);
    return run();
  };
  const std::string wrong = printed("| one | ReLU | [20 30 40 50] | none | 0 0 0 0 |\n");
  EXPECT_THAT(wrong, HasSubstr("page.md  encoder layer, one, ReLU  FAILED  [0]: expected 0, found 2.2587"));
  EXPECT_THAT(printed("| one | ReLU | see below | 0 1 | 0 0 0 0 |\n\nBelow: [20 30 40 50] [1 2 3 4]\n"),
              HasSubstr("FAILED  [0]: expected 0, found 2.2587"));
  EXPECT_THAT(printed("| one | ReLU | [20 30 40 50] | 0 1 | 0 0 0 0 |\n"),
              HasSubstr("FAILED  expected padding for 1 rows, found 2"));
  EXPECT_THAT(printed("| one | Tanh | [20 30 40 50] | none | 0 0 0 0 |\n"), HasSubstr("not offered  activation 'Tanh'"));
  EXPECT_THAT(printed("| one | ReLU | [20 30 | none | 0 0 0 0 |\n"), HasSubstr("FAILED  page.md:5: expected a ']'"));
  EXPECT_THAT(printed("| one | ReLU |\n"), HasSubstr("FAILED  page.md:5: expected 5 cells, found 2"));
}

}  // namespace
}  // namespace heed::conformance
