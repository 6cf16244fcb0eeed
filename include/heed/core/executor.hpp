// Who runs the jobs of an operation. Threads belong to the host: heed starts none.
//
// How work is cut into jobs depends on shapes only, and jobs write to places of their own, so the result has the same bits
// for any number of workers.
#pragma once

#include <type_traits>
#include <utility>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// A reference to a callable job(index, worker). It owns nothing and allocates nothing.
class Job {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Job>) Job(F&& f)  // NOLINT: a lambda converts to a Job
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Index index, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(object))(index, worker);
        }) {}

  void operator()(Index index, int worker) const { call_(object_, index, worker); }

 private:
  void* object_;
  void (*call_)(void*, Index, int);
};

/// Runs job(0, w) ... job(jobs - 1, w) in any order, w < workers() naming the thread, and returns when all are done.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual int workers() const = 0;
  virtual void run(Index jobs, Job job) = 0;
};

/// The calling thread does it all.
class Serial final : public Executor {
 public:
  int workers() const override { return 1; }
  void run(Index jobs, Job job) override {
    for (Index index = 0; index < jobs; ++index) job(index, 0);
  }
};

}  // namespace heed::inline HEED_ABI
