// Executors that try to break "the same bits for any number of workers".
#pragma once

#include <atomic>
#include <heed/core/executor.hpp>
#include <thread>
#include <vector>

namespace heed::reference {

/// Runs the jobs last to first, handing them to its workers in turn, on the calling thread.
class Backwards final : public Executor {
 public:
  explicit Backwards(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  void run(Index jobs, Job job) override {
    for (Index index = jobs; index-- > 0;) job(index, static_cast<int>(index % workers_));
  }

 private:
  int workers_;
};

/// Starts its threads anew for every run; each takes the next job when it is free.
class Threads final : public Executor {
 public:
  explicit Threads(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  void run(Index jobs, Job job) override {
    std::atomic<Index> next{0};
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers_; ++worker)
      threads.emplace_back([&, worker] {
        for (Index index = next++; index < jobs; index = next++) job(index, worker);
      });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int workers_;
};

}  // namespace heed::reference
