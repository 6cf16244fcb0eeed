// What Google Benchmark measured, as a table: an operation of heed's beside the same written plainly with Eigen.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/files.hpp"
#include "../support/format.hpp"

namespace limits {

/// The repetitions of one benchmark.
struct Measured {
  std::string operation;           // linear
  bool plain = false;              // written with Eigen
  std::vector<std::string> sizes;  // T 64, in 512
  double median = 0;               // us
  double deviation = 0;            // over the mean
  std::string rate;                // 12.3 GFLOP/s; or none
  double of_limit = -1;            // the rate over the machine's; or none, less than zero
};

/// 12.3 GFLOP/s, 1.23 GB/s, 123 k rows/s
inline std::string scaled(double number, const std::string& unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T"};
  std::size_t i = 0;
  for (; number >= 1000 && i < 4; ++i) number /= 1000;
  const std::string of_bytes = unit == "bytes/s" ? "B/s" : unit;
  const bool apart = i > 0 && of_bytes != "B/s" && of_bytes != "FLOP/s";
  return bench::printed(number < 10    ? "%.2f "
                        : number < 100 ? "%.1f "
                                       : "%.0f ",
                        number) +
         prefixes[i] + (apart ? " " : "") + of_bytes;
}

/// 12.3 us, 4.56 ms
inline std::string duration(double microseconds) {
  const bool long_one = microseconds >= 1000;
  const double number = long_one ? microseconds / 1000 : microseconds;
  return bench::printed(number < 10 ? "%.2f" : number < 100 ? "%.1f" : "%.0f", number) + (long_one ? " ms" : " us");
}

/// Of a name like linear/eigen/T:64/in:512, or ssd_prefill_naive_eigen/T:64
inline Measured named(const std::string& name) {
  std::vector<std::string> parts{""};
  for (const char c : name)
    if (c == '/')
      parts.emplace_back();
    else
      parts.back() += c == ':' ? ' ' : c;
  Measured made;
  made.operation = parts[0];
  const std::string ending = "_naive_eigen";
  if (const std::size_t at = parts[0].rfind(ending); at != std::string::npos && at + ending.size() == parts[0].size())
    made.operation.resize(at), made.plain = true;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    made.plain = made.plain || parts[i] == "eigen";
    if (parts[i] != "eigen" && parts[i] != "heed") made.sizes.push_back(parts[i]);
  }
  return made;
}

inline double microseconds(double time, const std::string& unit) {
  return time * (unit == "ns" ? 1e-3 : unit == "us" ? 1 : unit == "ms" ? 1e3 : 1e6);
}

/// What files hold that were written with --benchmark_report_aggregates_only.
inline std::vector<Measured> read_benchmarks(const std::vector<std::string>& files) {
  std::vector<Measured> all;
  for (const std::string& file : files) {
    const auto json = nlohmann::json::parse(bench::read_file(file));
    for (const auto& run : json.at("benchmarks")) {
      const std::string aggregate = run.value("aggregate_name", "");
      const double time = run.at("real_time").get<double>();
      if (aggregate == "cv" && !all.empty()) all.back().deviation = time;
      if (aggregate != "median") continue;
      Measured& made = all.emplace_back(named(run.at("run_name")));
      made.median = microseconds(time, run.at("time_unit"));
      for (const auto& [key, value] : run.items()) {
        if (key.size() <= 2 || key.substr(key.size() - 2) != "/s") continue;
        // Of several, the one that is nearest to its limit is what the time goes to.
        const char* limit = key == "FLOP/s"    ? "of the peak"
                            : key == "bytes/s" ? "of the read rate"
                            : key == "steps/s" ? "of the exponentials"
                                               : "";
        const double of_limit = run.value(limit, -1.0);
        if (!made.rate.empty() && of_limit <= made.of_limit) continue;
        made.rate = scaled(value.get<double>(), key);
        made.of_limit = of_limit;
      }
    }
  }
  return all;
}

/// A line for every benchmark of heed's.
inline std::vector<std::vector<std::string>> benchmark_cells(const std::vector<std::string>& files) {
  const std::vector<Measured> all = read_benchmarks(files);
  std::vector<std::vector<std::string>> lines{
      {"operation", "sizes", "median time", "deviation", "rate", "of the limit", "plain Eigen", "times as fast"}};
  for (const Measured& ours : all) {
    if (ours.plain) continue;
    // Eigen's has the same sizes, or lacks those at the end that only heed chooses.
    const auto plain = std::find_if(all.begin(), all.end(), [&](const Measured& other) {
      return other.plain && other.operation == ours.operation && other.sizes.size() <= ours.sizes.size() &&
             std::equal(other.sizes.begin(), other.sizes.end(), ours.sizes.begin());
    });
    std::string sizes;
    for (const std::string& size : ours.sizes) sizes += (sizes.empty() ? "" : ", ") + size;
    lines.push_back({"`" + ours.operation + "`", sizes, duration(ours.median), bench::fixed(100 * ours.deviation, 0) + " %",
                     ours.rate.empty() ? std::string(bench::no_figure) : ours.rate,
                     ours.of_limit < 0 ? std::string(bench::no_figure) : bench::fixed(ours.of_limit, 2),
                     plain == all.end() ? std::string(bench::no_figure) : duration(plain->median),
                     plain == all.end() ? std::string(bench::no_figure) : bench::fixed(plain->median / ours.median, 2)});
  }
  return lines;
}

}  // namespace limits
