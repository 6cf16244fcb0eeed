// The table of limits: heed's kernels beside what this machine does at best (docs/benchmarks.md).
#include <cstdio>
#include <exception>

#include "../support/files.hpp"
#include "../support/interrupt.hpp"
#include "../support/machine.hpp"
#include "../support/progress.hpp"
#include "amx.hpp"
#include "options.hpp"
#include "page.hpp"
#include "results.hpp"

namespace limits {
namespace {

/// The limits by themselves, for the table above the table.
void measure_machine(Results& results, MachineRates& rates, heed::Pool& alone, heed::Pool& pool) {
  const auto line = [&](Rate rate, const std::string& of = "") {
    const auto best = [&](heed::Pool& on) {
      double most = 0;
      for (int round = 0; round < 3; ++round) most = (std::max)(most, rates.measure(rate, on));
      return figure(most / giga);
    };
    results.machine.push_back({name_of(rate) + of + ", " + unit_of(rate), {best(alone), best(pool)}});
  };
  const auto mebibytes = [&](Rate rate) {
    return bench::fixed(static_cast<double>(rates.bytes(rate)) / (1 << 20), 1) + " MiB";
  };
  line(Rate::fma);
  line(Rate::l2, " (" + mebibytes(Rate::l2) + " a thread)");
  line(Rate::l3, " (" + mebibytes(Rate::l3) + ")");
  line(Rate::dram, " (" + mebibytes(Rate::dram) + ")");
  line(Rate::exponential);
  line(Rate::decay);
  if (why_no_amx().empty())
    line(Rate::amx);
  else
    results.machine.push_back(
        {name_of(Rate::amx) + ": " + why_no_amx(), {std::string(bench::no_figure), std::string(bench::no_figure)}});
}

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options),
        progress_(clock_),
        rates_(options.check ? 1e-5 : 0.02, (std::max)(options.threads, 2)),
        alone_(1),
        pool_(options.threads) {
    results_.threads = options.threads;
  }

  Results& all() {
    measure_machine(results_, rates_, alone_, pool_);
    std::vector<Row> rows;
    double expected = 0;
    for (Row& row : all_rows()) {
      if (row.workload.find(options_.rows) == std::string::npos) continue;
      expected += seconds_of(row);
      rows.push_back(std::move(row));
    }
    clock_.expect(expected);
    for (Row& row : rows) {
      progress_.print("[" + std::to_string(results_.all.size() + 1) + "/" + std::to_string(rows.size()) + "] " +
                      row.workload);
      results_.all.push_back(one(row));
      clock_.done(seconds_of(row));
      if (!options_.check) progress_.say(summary(results_.all.back()));
    }
    return results_;
  }
  bool right() const { return right_; }

 private:
  static double seconds_of(const Row& row) { return row.why.empty() ? 2 * row.expected_seconds : 0; }

  static std::string summary(const Result& result) {
    const Row& row = result.row;
    if (!result.one) return row.workload + ": " + result.why;
    return row.workload + ": " + figure(result.one->median()) + " " + row.unit + " (must " + figure(row.must) + ", aim " +
           figure(row.aim) + ")";
  }

  Result one(const Row& row) {
    Result result{.row = row, .why = row.why};
    if (bench::interrupted()) result.why = "interrupted";
    // What cannot be timed here, as the same is computed another way, is checked nevertheless.
    if (!result.why.empty() && !options_.check) return result;
    result.one = on(row, alone_, result.why);
    if (result.one && !row.scaling && pool_.workers() > 1 && !bench::interrupted()) result.all = on(row, pool_, result.why);
    return result;
  }
  /// Nothing is timed that has not been checked.
  std::optional<Measurement> on(const Row& row, heed::Pool& pool, std::string& why) {
    const Prepared prepared = row.prepare(options_.check ? Scale::small : Scale::whole, pool);
    if (const std::string wrong = prepared.check(); !wrong.empty()) {
      right_ = false;
      why = "wrong on " + std::to_string(pool.workers()) + " threads: " + wrong;
      progress_.say(row.workload + ": " + why);
      return std::nullopt;
    }
    Effort effort;
    if (clock_.seconds() > 240) effort.attempts = 1;  // the rest should end in time
    if (options_.check) effort = {.rounds = 1, .run_seconds = 0, .attempts = 1};
    return measure(row, prepared, rates_, pool, effort);
  }

  const Options& options_;
  bench::Clock clock_;
  bench::Progress progress_;
  MachineRates rates_;
  heed::Pool alone_, pool_;
  Results results_;
  bool right_ = true;
};

int run(const Options& options) {
  bench::stop_on_interrupt();
  if (!options.json.empty()) bench::write_file(options.json, "[]\n");  // now rather than in some minutes
  Run run(options);
  const Results& results = run.all();
  if (!options.json.empty()) bench::write_file(options.json, json_text(results));
  if (!options.page.empty()) write_tables(options.page, results, options.benchmarks, options.commit);
  if (!options.check)
    std::printf("%s\n%s\n%s\n", bench::aligned(machine_cells_of(results)).c_str(),
                bench::aligned(cells_of(results)).c_str(), origin(options.commit).c_str());
  if (!run.right()) std::fprintf(stderr, "bench: a result is wrong, the table says which\n");
  return bench::interrupted() ? 128 + static_cast<int>(bench::interrupt_signal) : run.right() ? 0 : 1;
}

}  // namespace
}  // namespace limits

int main(int argc, char** argv) {
  try {
    limits::Options options;
    if (const auto status = limits::parse(argc, argv, options)) return *status;
    return limits::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench: %s\n", error.what());
    return 1;
  }
}
