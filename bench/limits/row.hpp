// A row of the table: a workload, what is timed for it, and the figure that is made of these times.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <heed/core/workers.hpp>

#include "machine_rates.hpp"

namespace limits {

/// As the table has it, or small enough for a test.
enum class Scale { whole, small };

/// Operands of a workload, ready.
struct Prepared {
  /// What is wrong with the results, against the double oracle; or nothing.
  std::function<std::string()> check;
  /// What is timed, one after another in every round.
  std::vector<std::function<void()>> runs;
  /// The figure, of the seconds that each run took and of the machine's rate in the same round, if the row has one.
  std::function<double(const std::vector<double>& seconds, double rate)> figure;
};

struct Row {
  std::string workload;
  std::string unit;
  double must;
  double aim;
  std::optional<Rate> rate;  // that is measured beside it
  std::string limit_of;      // what the limit is: that rate or a number
  std::string limit_unit;    // of it: GFLOP/s, which need not be the unit of the figure
  double expected_seconds;   // of a measurement on one thread
  std::function<Prepared(Scale, heed::Pool&)> prepare;
  double fixed_limit = 0;  // where it is no rate
  bool scaling = false;    // its runs have one and two threads of their own, and the limit is what the rate gains by that
  std::string why = {};    // it cannot run here

  /// A limit as it is shown, of a rate as it is measured.
  double limit(double measured_rate) const { return !rate ? fixed_limit : scaling ? measured_rate : measured_rate / giga; }
  bool less_is_better() const { return aim < must; }
};

/// In the order of the table.
std::vector<Row> prefill_rows();
std::vector<Row> training_rows();
std::vector<Row> decode_rows();
std::vector<Row> recurrence_rows();
std::vector<Row> tile_rows();
std::vector<Row> layer_rows();

inline std::vector<Row> all_rows() {
  std::vector<Row> all;
  for (const auto& part : {prefill_rows(), training_rows(), decode_rows(), recurrence_rows(), tile_rows(), layer_rows()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace limits
