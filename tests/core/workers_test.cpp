#include "heed/core/workers.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "../reference/executors.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

TEST(Workers, GiveEveryWorkerAnArenaOfItsOwn) {
  reference::Backwards executor(3);
  Workers workers(executor);
  EXPECT_EQ(workers.size(), 3);
  EXPECT_EQ(workers.blocks(), 3u);
  std::set<Arena*> arenas;
  workers.run(9, [&](Index, Arena& scratch) { arenas.insert(&scratch); });
  EXPECT_EQ(arenas.size(), 3u);
}

TEST(Workers, RunEveryJobOnce) {
  reference::Threads executor(3);
  Workers workers(executor);
  std::vector<int> ran(100, 0);
  workers.run(100, [&](Index job, Arena&) { ++ran[static_cast<std::size_t>(job)]; });
  EXPECT_EQ(ran, std::vector<int>(100, 1));
}

TEST(Workers, RunOneJobWithoutTheExecutorAndNoneForNoJobs) {
  struct Refusing final : Executor {
    int workers() const override { return 1; }
    void run(Index, Job) override { FAIL() << "the executor was asked"; }
  } executor;
  Workers workers(executor);
  int ran = 0;
  workers.run(1, [&](Index, Arena&) { ++ran; });
  workers.run(0, [&](Index, Arena&) { ++ran; });
  EXPECT_EQ(ran, 1);
}

TEST(Workers, WithoutAnExecutorRunInOrderOnTheCallingThread) {
  Workers workers;
  EXPECT_EQ(workers.size(), 1);
  std::vector<Index> ran;
  workers.run(3, [&](Index job, Arena&) { ran.push_back(job); });
  EXPECT_EQ(ran, (std::vector<Index>{0, 1, 2}));
}

TEST(Workers, GiveBackTheScratchOfAJobWhenItEnds) {
  Serial serial;
  Workers workers(&serial, 1024);
  const std::size_t before = allocations_so_far();
  double* place = nullptr;
  workers.run(50, [&](Index, Arena& scratch) {
    double* taken = scratch.take<double>(100);
    EXPECT_TRUE(place == nullptr || taken == place);
    place = taken;
  });
  EXPECT_EQ(allocations_so_far(), before);
  EXPECT_EQ(workers.blocks(), 1u);
}

TEST(Workers, GrowAnArenaThatIsTooSmall) {
  Serial serial;
  Workers workers(&serial, 64);
  workers.run(2, [&](Index, Arena& scratch) { scratch.take<double>(1000); });
  EXPECT_EQ(workers.blocks(), 2u);
}

}  // namespace
}  // namespace heed
