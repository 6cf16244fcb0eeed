// How a row is timed. In every round its runs take turns with the machine's limit:
//
//   limit  run  limit  run  limit  ...        figure = of a run and of the mean of the limits before and after it
//
// These machines are noisy, their clocks change, and others work on them: what is a result is the figure of a round, not
// the times it is made of. The median of the rounds is what counts; the spread is the distance of the quartiles over it.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "row.hpp"

namespace limits {

struct Measurement {
  std::vector<double> figures = {};  // of the rounds, ascending
  std::vector<double> limits = {};   // in the unit of the row's limit, ascending
  double longest_run = 0;            // seconds

  double median() const { return quantile(figures, 0.5); }
  double limit() const { return quantile(limits, 0.5); }
  double spread() const { return (quantile(figures, 0.75) - quantile(figures, 0.25)) / median(); }

 private:
  static double quantile(const std::vector<double>& sorted, double part) {
    const double at = part * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = (std::min)(below + 1, sorted.size() - 1);
    return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
  }
};

struct Effort {
  int rounds = 7;
  int rounds_of_long_runs = 5;  // of a second and more
  double run_seconds = 0.06;    // of a run in a round, at least
  double spread = 0.10;         // more than that, and runs are made longer
  int attempts = 3;
};

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

namespace detail {

/// The seconds of one of `repeats` runs.
inline double timed(const std::function<void()>& run, int repeats) {
  const Stopwatch watch;
  for (int i = 0; i < repeats; ++i) run();
  return watch.seconds() / repeats;
}

/// The machine's rate for a row: of the pool's threads, or how it grows from one to two.
inline double rate_for(const Row& row, MachineRates& rates, heed::Pool& pool) {
  if (!row.rate) return 0;
  if (!row.scaling) return rates.measure(*row.rate, pool);
  heed::Pool one(1), two(2);
  return rates.measure(*row.rate, two) / rates.measure(*row.rate, one);
}

}  // namespace detail

/// prepared has been checked, and so has run.
inline Measurement measure(const Row& row, const Prepared& prepared, MachineRates& rates, heed::Pool& pool, Effort effort) {
  const std::size_t runs = prepared.runs.size();
  std::vector<double> once(runs), seconds(runs);
  for (std::size_t i = 0; i < runs; ++i) {
    once[i] = detail::timed(prepared.runs[i], 1);
    if (once[i] > 1) effort.rounds = (std::min)(effort.rounds, effort.rounds_of_long_runs);
  }
  Measurement measured;
  for (int attempt = 0; attempt < effort.attempts; ++attempt, effort.run_seconds *= 2) {
    measured = {};
    double rate = detail::rate_for(row, rates, pool);
    for (int round = 0; round < effort.rounds; ++round) {
      for (std::size_t i = 0; i < runs; ++i) {
        const int repeats = (std::max)(1, static_cast<int>(effort.run_seconds / once[i]));
        seconds[i] = detail::timed(prepared.runs[i], repeats);
        measured.longest_run = (std::max)(measured.longest_run, seconds[i] * repeats);
      }
      const double before = rate;
      rate = detail::rate_for(row, rates, pool);
      measured.figures.push_back(prepared.figure(seconds, (before + rate) / 2));
      measured.limits.push_back(row.limit((before + rate) / 2));
    }
    std::sort(measured.figures.begin(), measured.figures.end());
    std::sort(measured.limits.begin(), measured.limits.end());
    if (measured.spread() <= effort.spread || measured.longest_run > 1) break;
  }
  return measured;
}

}  // namespace limits
