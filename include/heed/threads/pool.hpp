// An executor over Eigen's thread pool. The only header of heed that starts threads (CMake target heed::threads).
//
//   heed::Pool pool(3);             the calling thread and two more
//   pool.run(jobs, job);            job(0, w) ... job(jobs - 1, w), w < 3, each index once
//
// Jobs are claimed one by one from a counter, by whoever is free. Which worker runs which job changes from run to run; as
// jobs are cut by shape and write to places of their own, what they compute does not.
#pragma once

#if __has_include(<Eigen/ThreadPool>)
#include <Eigen/ThreadPool>  // Eigen 5
#else
#include <unsupported/Eigen/CXX11/ThreadPool>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "../core/executor.hpp"

namespace heed::inline HEED_ABI {

/// run() allocates nothing. It may be called from several threads at once, and from inside a job: a call that finds the
/// pool at work does its jobs itself, in order. A job must not throw.
class Pool final : public Executor {
 public:
  /// workers: how many threads work at once, the calling one among them. Pool(1) starts none.
  explicit Pool(int workers) : workers_(workers) {
    HEED_EXPECTS(ConfigError, workers >= 1, "a pool has 1 worker or more, found ", workers);
    if (workers > 1) helpers_ = std::make_unique<Eigen::ThreadPool>(workers - 1);
    meet();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int workers() const override { return workers_; }

  void run(Index jobs, Job job) override {
    if (jobs < 2 || !helpers_ || busy_.exchange(true)) {
      const int worker = current_worker();
      for (Index index = 0; index < jobs; ++index) job(index, worker);
      return;
    }
    const Round round(*this, jobs, job);
    const Index wanted = (std::min)(jobs, Index(workers_)) - 1;
    for (Index asked = asked_.load(); asked < wanted; ++asked) {
      asked_.fetch_add(1);
      helpers_->Schedule([this] { help(); });  // a capture this small is kept without allocating
    }
    work();
  }

 private:
  // One run(): jobs can be claimed while it lives, and it ends when nobody is at them any more.
  class Round {
   public:
    Round(Pool& pool, Index jobs, Job& job) : pool_(pool) {
      pool.job_ = &job;
      pool.jobs_ = jobs;
      pool.next_.store(0);
      pool.gate_.store(open);
    }
    ~Round() {
      for (std::uint32_t gate = pool_.gate_.fetch_sub(open) - open; gate != 0; gate = pool_.gate_.load())
        pool_.gate_.wait(gate);
      pool_.busy_.store(false);
    }
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;

   private:
    Pool& pool_;
  };

  // 0 for a thread that is not of this pool: it came through run().
  int current_worker() const { return helpers_ ? helpers_->CurrentThreadId() + 1 : 0; }

  // Ends when every thread has come, so that what a thread does when it starts is over before the first run().
  void meet() {
    std::atomic<int> present = 0;
    run(workers_, [&](Index, int) {
      ++present;
      while (present.load() < workers_) std::this_thread::yield();
    });
  }

  void work() {
    const int worker = current_worker();
    for (Index index = next_.fetch_add(1); index < jobs_; index = next_.fetch_add(1)) (*job_)(index, worker);
  }

  // What a helper was asked to do. It may come late, when the round has closed or another one is open: either is fine.
  // Taking back the question comes before looking at the gate, as run() opens the gate before it counts the questions.
  void help() {
    asked_.fetch_sub(1);
    std::uint32_t gate = gate_.load();
    do {
      if ((gate & open) == 0) return;
    } while (!gate_.compare_exchange_weak(gate, gate + inside));
    work();
    if (gate_.fetch_sub(inside) == inside) gate_.notify_one();  // the round was closed and waits for the last one
  }

  static constexpr std::uint32_t open = 1;
  static constexpr std::uint32_t inside = 2;

  const int workers_;
  std::atomic<bool> busy_ = false;
  std::atomic<Index> asked_ = 0;         // helpers asked that have not come yet
  std::atomic<std::uint32_t> gate_ = 0;  // open, and how many helpers are inside
  std::atomic<Index> next_ = 0;          // the next job to claim
  Index jobs_ = 0;
  Job* job_ = nullptr;
  std::unique_ptr<Eigen::ThreadPool> helpers_;  // last: its threads end before what they look at
};

}  // namespace heed::inline HEED_ABI
