#include "heed/core/pass.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

struct Circumstances {
  Sequences rows{3, 0, 2};
  Index past[3] = {4, 5, 0};
  StateSlots slots[3] = {};
  Arena kept;
  Arena scratch;
  Workers workers;

  Pass pass(Purpose purpose) { return {rows.division(), past, {slots}, purpose, kept, scratch, workers}; }
};

TEST(Pass, SeesWhatIsCachedAndWhatIsNew) {
  Circumstances now;
  const Pass pass = now.pass(Purpose::inference);
  EXPECT_EQ(pass.sequences(), 3);
  EXPECT_EQ(pass.visible(0), 7);
  EXPECT_EQ(pass.visible(1), 5);
  EXPECT_EQ(pass.visible(2), 2);
}

TEST(Pass, RecordsOfATrainingPassAreKept) {
  Circumstances now;
  const Pass pass = now.pass(Purpose::training);
  EXPECT_TRUE(pass.training());
  EXPECT_EQ(&pass.record(), &now.kept);
}

TEST(Pass, RecordsAtInferenceAreScratch) {
  Circumstances now;
  const Pass pass = now.pass(Purpose::inference);
  EXPECT_FALSE(pass.training());
  EXPECT_EQ(&pass.record(), &now.scratch);
}

}  // namespace
}  // namespace heed
