// An executor together with one scratch arena for each of its workers. Without an executor the calling thread does it all.
#pragma once

#include <vector>

#include "arena.hpp"
#include "executor.hpp"

namespace heed::inline HEED_ABI {

class Workers {
 public:
  /// scratch_bytes: what each worker's arena holds before it has to grow.
  explicit Workers(Executor* executor = nullptr, std::size_t scratch_bytes = std::size_t(1) << 20) : executor_(executor) {
    const int workers = executor == nullptr ? 1 : executor->workers();
    arenas_.reserve(static_cast<std::size_t>(workers));
    for (int worker = 0; worker < workers; ++worker) arenas_.emplace_back(scratch_bytes);
  }
  explicit Workers(Executor& executor) : Workers(&executor) {}

  int size() const { return static_cast<int>(arenas_.size()); }

  /// Runs job(index, scratch) for index in [0, jobs). What a job takes from scratch is given back when it ends.
  /// Operations may be called with these Workers from the only job of a run, not from one of several: they take from the
  /// first worker's scratch.
  template <class F>
  void run(Index jobs, F&& job) {
    const auto in_scope = [&](Index index, int worker) {
      Arena& scratch = arenas_[static_cast<std::size_t>(worker)];
      const Arena::Scope scope(scratch);
      job(index, scratch);
    };
    if (executor_ != nullptr && jobs > 1)
      executor_->run(jobs, in_scope);
    else
      Serial().run(jobs, in_scope);
  }

  /// Blocks over all arenas: grows when an arena was too small.
  std::size_t blocks() const {
    std::size_t sum = 0;
    for (const Arena& arena : arenas_) sum += arena.blocks();
    return sum;
  }
  /// Bytes over all arenas.
  std::size_t capacity() const {
    std::size_t sum = 0;
    for (const Arena& arena : arenas_) sum += arena.capacity();
    return sum;
  }

 private:
  Executor* executor_;
  std::vector<Arena> arenas_;
};

}  // namespace heed::inline HEED_ABI
