// What this machine does at best, for a program that is compiled as this one is:
//
//   fma            FLOP/s of multiply-adds of floats in registers, at the width of Lanes
//   l2, l3, dram   bytes read a second, from memory that the cache before does not hold
//   exponential    e^x a second of any x, by Lanes, in the first cache
//   decay          e^(dt a) a second of dt a <= 0, as the scan of Mamba-1 computes it, in the first cache
//   amx            FLOP/s of products of bf16 tiles in registers
//
// On several threads every thread works for itself: on a second cache of its own, and on its part of what is shared.
#pragma once

#include <array>
#include <string>

#include <heed/threads/pool.hpp>

#include "../support/huge_pages.hpp"

namespace limits {

using heed::Index;

enum class Rate { fma, l2, l3, dram, exponential, decay, amx };
inline constexpr std::size_t rate_count = 7;

/// FP32 FMA
std::string name_of(Rate rate);
/// GFLOP/s: a thousand million of what is measured.
std::string unit_of(Rate rate);
inline constexpr double giga = 1e9;

class MachineRates {
 public:
  /// A measurement takes about `seconds`, but for DRAM at least one pass. threads: the most that will measure.
  MachineRates(double seconds, int threads);

  /// Work a second, on all threads of the pool; 0 if there is nothing to do it.
  double measure(Rate rate, heed::Pool& pool);

  Index bytes(Rate rate) const;  // that are read
  double seconds() const { return seconds_; }

 private:
  /// What one of `threads` threads does so many times, and how much work that is once.
  double work_of(Rate rate, int threads) const;
  void run(Rate rate, Index times, int thread, int threads) const;
  double timed(Rate rate, Index times, heed::Pool& pool) const;

  double seconds_;
  Index l2_, l3_, dram_;  // bytes
  heed::detail::Pages<float> memory_;
  std::array<Index, rate_count> times_{};  // of one measurement
};

}  // namespace limits
