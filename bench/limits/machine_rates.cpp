#include "machine_rates.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <heed/ops/kernels/selective_scan_block.hpp>
#include <heed/ops/lanes.hpp>
#include <thread>

#include "../support/caches.hpp"
#include "amx.hpp"

namespace limits {
namespace {

using Lanes = heed::detail::Lanes<float>;
using Decay = heed::detail::ScanDecay<float>;
constexpr Index lanes = heed::detail::full_width<float>;

/// What is computed is used, as far as the compiler knows.
void keep(float value) {
  asm volatile("" : : "g"(value) : "memory");
}

/// Twelve sums at once: more than a multiply-add takes to end, and with their factors no more than there are registers.
constexpr Index sums = 12;
constexpr Index multiply_adds = 200'000;  // of each of them

void multiply_and_add() {
  Lanes sum[sums];
  for (Index i = 0; i < sums; ++i) sum[i] = Lanes::all(static_cast<float>(i));
  const Lanes factor = Lanes::all(0.999f), term = Lanes::all(0.001f);
  for (Index n = 0; n < multiply_adds; ++n)
    for (Index i = 0; i < sums; ++i) sum[i] = multiply_add(sum[i], factor, term);
  for (Index i = 1; i < sums; ++i) sum[0] = sum[0] + sum[i];
  keep(sum[0].sum());
}

constexpr Index exponents = 2048;  // and as many results: 16 KiB

/// power: of lanes.
template <class Power>
void exponentiate(Power power) {
  alignas(64) static thread_local float in[exponents], out[exponents];
  for (Index i = 0; i < exponents; ++i) in[i] = -static_cast<float>(i % 79) / 8;
  for (Index n = 0; n < 512; ++n) {
    heed::detail::transform(exponents, out, power, static_cast<const float*>(in));
    keep(out[0]);
  }
}

/// Eight sums, so that no addition is waited for. What lies ahead in memory is asked for early: the hardware does so too,
/// but begins anew on every page.
template <Index ahead>
void read(const float* from, Index count) {
  constexpr Index at_once = 8 * lanes, line = 16;
  Lanes sum[8];
  for (Lanes& s : sum) s = Lanes::all(0);
  for (Index i = 0; i + at_once <= count; i += at_once) {
    if constexpr (ahead > 0)
      for (Index j = 0; j < at_once; j += line) __builtin_prefetch(from + i + j + ahead);
    for (Index j = 0; j < 8; ++j) sum[j] = sum[j] + Lanes::load(from + i + j * lanes);
  }
  for (Index j = 1; j < 8; ++j) sum[0] = sum[0] + sum[j];
  keep(sum[0].sum());
}

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string name_of(Rate rate) {
  switch (rate) {
    case Rate::fma:
      return "FP32 FMA";
    case Rate::l2:
      return "read from L2";
    case Rate::l3:
      return "read from L3";
    case Rate::dram:
      return "read from DRAM";
    case Rate::exponential:
      return "exponentials of any argument, in L1";
    case Rate::decay:
      return "exponentials of the scan, in L1";
    case Rate::amx:
      return "AMX bf16";
  }
  return "";
}

std::string unit_of(Rate rate) {
  switch (rate) {
    case Rate::fma:
    case Rate::amx:
      return "GFLOP/s";
    case Rate::l2:
    case Rate::l3:
    case Rate::dram:
      return "GB/s";
    case Rate::exponential:
    case Rate::decay:
      return "Gexp/s";
  }
  return "";
}

MachineRates::MachineRates(double seconds, int threads) : seconds_(seconds) {
  const Index l2 = bench::cache_bytes(2, Index(1) << 20), l3 = bench::cache_bytes(3, Index(1) << 24);
  l2_ = l2 / 2;
  l3_ = (std::min)(l3 / 2, 8 * l2);
  dram_ = (std::clamp)(4 * l3, Index(1) << 29, Index(1) << 30);
  if (seconds < 1e-3) dram_ = (std::max)(l3_, threads * l2_);  // nobody reads the figure
  memory_ = bench::huge_zeros<float>(dram_ / Index(sizeof(float)));
  heed::Pool alone(1);
  for (std::size_t i = 0; i < rate_count; ++i) {
    const Rate rate = static_cast<Rate>(i);
    if (work_of(rate, 1) == 0) continue;
    timed(rate, 1, alone);
    const double once = timed(rate, 1, alone);
    times_[i] = (std::max)(Index(1), static_cast<Index>(std::ceil(seconds / once)));
  }
}

Index MachineRates::bytes(Rate rate) const {
  return rate == Rate::l2 ? l2_ : rate == Rate::l3 ? l3_ : rate == Rate::dram ? dram_ : 0;
}

double MachineRates::measure(Rate rate, heed::Pool& pool) {
  const Index times = times_[static_cast<std::size_t>(rate)];
  if (times == 0) return 0;
  return work_of(rate, pool.workers()) * static_cast<double>(times * pool.workers()) / timed(rate, times, pool);
}

double MachineRates::timed(Rate rate, Index times, heed::Pool& pool) const {
  const int threads = pool.workers();
  std::atomic<int> present = 0;
  std::atomic<double> start = 0;
  pool.run(threads, [&](Index thread, int) {
    // Nobody begins before all have come: so nobody works for two.
    if (++present == threads) start = clock_seconds();
    while (present.load() < threads) std::this_thread::yield();
    run(rate, times, static_cast<int>(thread), threads);
  });
  return clock_seconds() - start;
}

double MachineRates::work_of(Rate rate, int threads) const {
  switch (rate) {
    case Rate::fma:
      return static_cast<double>(2 * lanes * sums * multiply_adds);
    case Rate::exponential:
    case Rate::decay:
      return static_cast<double>(512 * exponents);
    case Rate::l2:
      return static_cast<double>(l2_);
    case Rate::l3:
      return static_cast<double>(l3_ / threads);
    case Rate::dram:
      return static_cast<double>(dram_ / threads);
    case Rate::amx:
      return why_no_amx().empty() ? amx_flops : 0;
  }
  return 0;
}

void MachineRates::run(Rate rate, Index times, int thread, int threads) const {
  const auto count_of = [&](Index bytes) { return bytes / Index(sizeof(float)); };
  for (Index n = 0; n < times; ++n) switch (rate) {
      case Rate::fma:
        multiply_and_add();
        break;
      case Rate::exponential:
        exponentiate([](auto x) { return exponential(x); });
        break;
      case Rate::decay:
        exponentiate([](auto x) { return Decay::of(x, Lanes::all(Decay::scale)); });
        break;
      case Rate::l2:
        read<0>(memory_.data() + thread * count_of(l2_), count_of(l2_));
        break;
      case Rate::l3:
        read<0>(memory_.data() + thread * count_of(l3_ / threads), count_of(l3_ / threads));
        break;
      case Rate::dram:
        read<1024>(memory_.data() + thread * count_of(dram_ / threads), count_of(dram_ / threads));
        break;
      case Rate::amx:
        multiply_tiles();
        break;
    }
}

}  // namespace limits
