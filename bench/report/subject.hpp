// One variant: built, trained and measured.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "results.hpp"

namespace report {

using Bytes = std::span<const unsigned char>;

/// Called after every training step; the answer is whether to go on.
using OnStep = std::function<bool(const Curve& curve)>;

/// A model of one variant. The threads of the plan are its own as long as it lives.
class Subject {
 public:
  Subject(const Variant& variant, const Plan& plan);
  ~Subject();
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  /// Seconds of one training step, the median of a few. The weights are as before.
  double time_step(Bytes learned);
  Index parameters() const;
  CacheBytes cache_bytes() const;

  Curve train(Bytes learned, Bytes held_out, const OnStep& on_step);

  /// Of the trained model, on text it has not seen.
  Agreement agreement(Bytes text) const;
  double prefill(Bytes text) const;                  // tokens per second, on the plan's threads
  std::vector<DecodeTime> decode(Bytes text) const;  // on one thread
  /// What the model writes after a prompt, both together at most as long as a training window.
  std::string generate(std::string_view prompt) const;

 private:
  struct Held;
  std::unique_ptr<Held> held_;
};

}  // namespace report
