#include "heed/core/executor.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "../support/allocations.hpp"

namespace heed {
namespace {

TEST(Serial, RunsEveryJobInOrderAsWorkerZero) {
  Serial serial;
  std::vector<Index> ran;
  const auto job = [&](Index index, int worker) {
    EXPECT_EQ(worker, 0);
    ran.push_back(index);
  };
  serial.run(4, job);
  EXPECT_EQ(ran, (std::vector<Index>{0, 1, 2, 3}));
  EXPECT_EQ(serial.workers(), 1);
}

TEST(Serial, RunsNothingForNoJobs) {
  Serial serial;
  serial.run(0, [](Index, int) { FAIL() << "a job ran"; });
}

TEST(Job, RefersToWhatItWasMadeFromAndAllocatesNothing) {
  struct Counter {
    Index sum = 0;
    char large[1000] = {};
    void operator()(Index index, int worker) { sum += index + worker; }
  } counter;
  const std::size_t before = allocations_so_far();
  const Job job = counter;
  const Job copy = job;
  job(1, 10);
  copy(2, 20);
  EXPECT_EQ(allocations_so_far(), before);
  EXPECT_EQ(counter.sum, 33);
}

}  // namespace
}  // namespace heed
