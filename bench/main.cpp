// Runs the benchmarks that are registered. What the machine does at best is measured before, and stands in the context.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "best_rates.hpp"

namespace {

/// Google Benchmark's reporter, but fractions are not a second: it would print 0.75/s.
class Reporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override { return shown_->ReportContext(context); }
  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> copies = runs;
    for (Run& run : copies)
      for (auto& [name, counter] : run.counters)
        if (name.rfind("of the ", 0) == 0) counter.flags = benchmark::Counter::kDefaults;
    shown_->ReportRuns(copies);
  }
  void Finalize() override { shown_->Finalize(); }

 private:
  std::unique_ptr<benchmark::BenchmarkReporter> shown_{benchmark::CreateDefaultDisplayReporter()};
};

void add_context() {
  for (std::size_t i = 0; i < limits::rate_count; ++i) {
    const auto rate = static_cast<limits::Rate>(i);
    const double best = heed::bench::best_rate(rate) / limits::giga;
    std::array<char, 32> figure{};
    std::snprintf(figure.data(), figure.size(), "%.3g", best);
    if (best > 0) benchmark::AddCustomContext(limits::name_of(rate) + ", " + limits::unit_of(rate), figure.data());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool lists = std::any_of(argv, argv + argc, [](const char* argument) {
    return std::string(argument).rfind("--benchmark_list_tests", 0) == 0;
  });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  if (!lists) add_context();
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
}
