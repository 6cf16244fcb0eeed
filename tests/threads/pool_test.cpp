#include "heed/threads/pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "heed/core/workers.hpp"
#include "support/allocations.hpp"

namespace {

using heed::Index;

// Long enough that helpers come while others still work.
void take_a_while() {
  std::atomic<int> turns = 0;
  while (++turns < 2000) {
  }
}

TEST(Allocations, AreCountedWhateverTheyAreCalled) {
  const void* volatile seen = nullptr;  // or the compiler may leave them out
  const std::size_t before = allocations_so_far();
  const auto number = std::make_unique<int>(1);
  seen = number.get();
  const std::vector<double> numbers(100);
  seen = numbers.data();
  const heed::Matrix<float> matrix(4, 4);
  seen = matrix.data();
  heed::Arena arena(100);
  seen = arena.take<int>(1);
  EXPECT_GE(allocations_so_far() - before, 5u) << seen;
}

TEST(Pool, CountsTheCallingThreadAmongItsWorkers) {
  for (int workers : {1, 2, 3, 7}) EXPECT_EQ(heed::Pool(workers).workers(), workers);
}

TEST(Pool, RefusesToHaveNoWorker) {
  EXPECT_THROW(heed::Pool(0), heed::ConfigError);
  EXPECT_THROW(heed::Pool(-1), heed::ConfigError);
}

TEST(Pool, RunsEveryJobOnce) {
  for (int workers : {1, 2, 3, 7}) {
    heed::Pool pool(workers);
    for (Index jobs : {0, 1, 2, 3, 33, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(jobs));
      pool.run(jobs, [&](Index index, int) { ++runs[static_cast<std::size_t>(index)]; });
      for (const auto& count : runs) EXPECT_EQ(count.load(), 1) << workers << " workers, " << jobs << " jobs";
    }
  }
}

TEST(Pool, HasReturnedFromEveryJobWhenRunReturns) {
  heed::Pool pool(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int> done(5, 0);  // gone when the round is: a late job would write to freed memory
    pool.run(5, [&](Index index, int) { done[static_cast<std::size_t>(index)] = round; });
    EXPECT_THAT(done, ::testing::Each(round));
  }
}

TEST(Pool, NeverRunsTwoJobsOfOneWorkerAtOnce) {
  heed::Pool pool(4);
  std::vector<std::atomic<int>> at_work(4);
  std::atomic<int> clashes = 0;
  for (int round = 0; round < 200; ++round)
    pool.run(20, [&](Index, int worker) {
      auto& mine = at_work[static_cast<std::size_t>(worker)];
      if (++mine != 1) ++clashes;
      take_a_while();
      --mine;
    });
  EXPECT_EQ(clashes.load(), 0);
}

TEST(Pool, LetsItsThreadsHelp) {
  heed::Pool pool(2);
  std::atomic<int> arrived = 0;
  // Two jobs that wait for each other: one thread alone would never end.
  pool.run(2, [&](Index, int) {
    ++arrived;
    while (arrived.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 2);
}

TEST(Pool, RunsJobsOfAJobOnTheSameWorker) {
  heed::Pool pool(3);
  std::atomic<int> inner_jobs = 0;
  std::atomic<int> strangers = 0;
  pool.run(10, [&](Index, int worker) {
    pool.run(10, [&](Index, int inner_worker) {
      ++inner_jobs;
      if (inner_worker != worker) ++strangers;
    });
  });
  EXPECT_EQ(inner_jobs.load(), 100);
  EXPECT_EQ(strangers.load(), 0);
}

TEST(Pool, ServesSeveralCallersAtOnce) {
  heed::Pool pool(3);
  std::atomic<Index> sum = 0;
  const auto call = [&] {
    for (int round = 0; round < 300; ++round) pool.run(10, [&](Index index, int) { sum += index; });
  };
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) callers.emplace_back(call);
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 3 * 300 * 45);
}

TEST(Pool, AllocatesNothingInRun) {
  heed::Pool pool(3);
  heed::Workers workers(pool);
  const auto step = [&] {
    for (Index jobs : {1, 2, 7, 100})
      workers.run(jobs, [&](Index index, heed::Arena& scratch) { scratch.take_zeroed<float>(index + 1); });
  };
  step();
  const std::size_t before = allocations_so_far();
  for (int round = 0; round < 300; ++round) step();
  EXPECT_EQ(allocations_so_far(), before);
}

TEST(Pool, EndsWithItsHelpersStillAsked) {
  for (int round = 0; round < 100; ++round) {
    heed::Pool pool(4);
    pool.run(4, [](Index, int) {});
  }
}

}  // namespace
