// What the charts show, as tables: one row per abscissa, one column per variant.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "results.hpp"

namespace report {

/// What a variant has no figure for is NaN.
struct Series {
  std::string abscissa;
  std::vector<Index> at;
  std::vector<const Variant*> variants;
  std::vector<std::vector<double>> columns;  // by variant, by abscissa

  bool has_figures(std::size_t column) const {
    return std::any_of(columns[column].begin(), columns[column].end(), [](double y) { return std::isfinite(y); });
  }
  bool empty() const {
    for (std::size_t column = 0; column < columns.size(); ++column)
      if (has_figures(column)) return false;
    return true;
  }
  std::string tsv() const {
    std::string text = abscissa;
    for (const Variant* variant : variants) text += "\t" + std::string(variant->key);
    for (std::size_t row = 0; row < at.size(); ++row) {
      text += "\n" + std::to_string(at[row]);
      for (const auto& column : columns) text += std::isfinite(column[row]) ? printed("\t%.9g", column[row]) : "\tnan";
    }
    return text + "\n";
  }
};

namespace detail {

inline constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

/// figure(result, x) for every variant and every x.
template <class Figure>
Series series(std::string abscissa, std::vector<Index> at, const std::vector<Result>& results, Figure&& figure) {
  Series all{std::move(abscissa), std::move(at), {}, {}};
  for (const Result& result : results) {
    all.variants.push_back(result.variant);
    std::vector<double> column;
    for (const Index x : all.at) column.push_back(figure(result, x));
    all.columns.push_back(std::move(column));
  }
  return all;
}

}  // namespace detail

inline Index smoothing_window(const Plan& plan) {
  return (std::max)(Index(1), plan.steps / 25);
}

/// Training losses, each the mean of the last few steps, nats per byte.
inline Series training_losses(const Report& report) {
  Index steps = 0;
  for (const Result& result : report.results) steps = (std::max)(steps, result.curve.steps());
  std::vector<Index> at;
  for (Index step = 1; step <= steps; ++step) at.push_back(step);
  const Index window = smoothing_window(report.plan);
  return detail::series("step", std::move(at), report.results, [&](const Result& result, Index step) {
    if (step > result.curve.steps()) return detail::no_number;
    double sum = 0;
    const Index first = (std::max)(Index(0), step - window);
    for (Index i = first; i < step; ++i) sum += result.curve.losses[static_cast<std::size_t>(i)];
    return sum / static_cast<double>(step - first);
  });
}

/// Losses on the held-out text, nats per byte.
inline Series held_out_losses(const Report& report) {
  std::vector<Index> at;
  for (const Result& result : report.results)
    for (const HeldOut& point : result.curve.held_out) at.push_back(point.step);
  std::sort(at.begin(), at.end());
  at.erase(std::unique(at.begin(), at.end()), at.end());
  return detail::series("step", std::move(at), report.results, [](const Result& result, Index step) {
    for (const HeldOut& point : result.curve.held_out)
      if (point.step == step) return point.loss;
    return detail::no_number;
  });
}

/// The cache of one sequence, MiB.
inline Series cache_mebibytes(const Report& report) {
  std::vector<Index> at;
  for (Index positions = 0; positions <= 32768; positions += 1024) at.push_back(positions);
  return detail::series("positions", std::move(at), report.results, [](const Result& result, Index positions) {
    return static_cast<double>(result.cache.at(positions)) / (1 << 20);
  });
}

/// Microseconds for one more token.
inline Series decode_times(const Report& report) {
  return detail::series("positions", {std::begin(Plan::decode_lengths), std::end(Plan::decode_lengths)}, report.results,
                        [](const Result& result, Index position) {
                          for (const DecodeTime& time : result.decode)
                            if (time.position == position) return 1e6 * time.seconds;
                          return detail::no_number;
                        });
}

}  // namespace report
