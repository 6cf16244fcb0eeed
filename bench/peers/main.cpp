// heed beside Eigen and, where they are built in, OpenBLAS, oneDNN and libtorch: the same work on one thread, in turns,
// with the machine's limit between all of them (docs/benchmarks.md).
#include <cstdio>
#include <exception>
#include <heed/ops/attend.hpp>
#include <heed/ops/linear.hpp>
#include <map>
#include <reference/errors.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "../limits/measurement.hpp"
#include "../limits/page.hpp"
#include "../support/columns.hpp"
#include "../support/progress.hpp"
#include "calls.hpp"

namespace peers {
namespace {

using bench::HugeMatrix;
using limits::Measurement;

struct Options {
  bool check = false;
  std::string json, page, commit = "unknown";
};

/// A workload, those who do it, heed first, and what they wrote last.
struct Workload {
  std::string name;
  double flops;
  std::vector<Contestant> contestants;
  std::vector<const HugeMatrix<float>*> results;
  Index operations;  // that an element of a result goes through
};

template <class Call>
void add_peers(Workload& to, const Call& call) {
  for (const auto& some : {eigen(call), openblas(call), onednn(call), torch(call)})
    to.contestants.insert(to.contestants.end(), some.begin(), some.end());
}

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options), rates_(options.check ? 1e-5 : 0.02, 1), alone_(1), progress_(clock_) {}

  void all() {
    clock_.expect(5);
    prefill("causal prefill f32, 16 heads x 64, S 2048", {2048, 16, 16, 64});
    prefill("causal prefill f32, 16 heads x 128, S 2048", {2048, 16, 16, 128});
    prefill("causal prefill f32, 32 over 8 heads x 128, S 2048", {2048, 32, 8, 128});
    training("forward + backward f32, B 4, 12 heads x 64, S 1024", {1024, 12, 12, 64, 4});
    linear("linear layer f32, T 2048, 1024 -> 1024", 2048, 1024, 1024);
    finish();
  }
  bool right() const { return right_; }

 private:
  void prefill(const std::string& name, const AttendSizes& of) {
    AttendSizes sizes = of;
    if (options_.check) sizes.keys = 151;
    const HugeMatrix<float> q = limits::random(sizes.keys, sizes.heads * sizes.width, "q"),
                            k = limits::random(sizes.keys, sizes.kv_heads * sizes.width, "k"),
                            v = limits::random(sizes.keys, sizes.kv_heads * sizes.width, "v"), y(q.rows(), q.cols());
    heed::Workers workers;
    const auto ours = [&] {
      heed::attend_into(q.view(), k.view(), v.view(), {.heads = sizes.heads, .kv_heads = sizes.kv_heads}, y.mutable_view(),
                        workers);
    };
    Workload work{name, sizes.flops(heed::causal()), {{"heed", ours}}, {&y}, sizes.keys};
    add_peers(work, Attention{sizes, q.data(), k.data(), v.data(), y.mutable_view().data()});
    measure(work);
  }

  void training(const std::string& name, const AttendSizes& of) {
    AttendSizes sizes = of;
    if (options_.check) sizes.keys = 67;
    const Index rows = sizes.sequences * sizes.keys, cols = sizes.heads * sizes.width;
    const HugeMatrix<float> q = limits::random(rows, cols, "q"), k = limits::random(rows, cols, "k"),
                            v = limits::random(rows, cols, "v"), d_y = limits::random(rows, cols, "d_y"), y(rows, cols),
                            d_q(rows, cols), d_k(rows, cols), d_v(rows, cols), log_sum_exp(rows, sizes.heads);
    heed::Workers workers;
    heed::Arena arena;
    const heed::Sequences sequences = heed::Sequences::each(sizes.sequences, sizes.keys);
    auto k_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, sizes.sequences, sizes.heads);
    auto v_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, sizes.sequences, sizes.heads);
    for (Index b = 0; b < sizes.sequences; ++b)
      for (Index h = 0; h < sizes.heads; ++h) {
        const Index at = b * sizes.keys * cols + h * sizes.width;
        k_heads.at(b, h) = {k.data() + at, d_k.mutable_view().data() + at, sizes.keys, sizes.width, cols, cols};
        v_heads.at(b, h) = {v.data() + at, d_v.mutable_view().data() + at, sizes.keys, sizes.width, cols, cols};
      }
    const heed::Computed<float> scores{
        q.view(), k_heads, heed::causal(), 1 / std::sqrt(static_cast<float>(sizes.width)), log_sum_exp.mutable_view(), {}};
    const auto ours = [&] {
      for (const auto* added_to : {&y, &d_q, &d_k, &d_v}) added_to->mutable_view().setZero();
      heed::attend(scores, v_heads, sequences, y.mutable_view(), workers);
      heed::attend_backward(scores, v_heads, sequences, y.view(), d_y.view(), d_q.mutable_view(), workers);
    };
    Workload work{name, 3.5 * sizes.flops(heed::causal()), {{"heed", ours}}, {&y, &d_q, &d_k, &d_v}, sizes.keys};
    add_peers(work, Training{{sizes, q.data(), k.data(), v.data(), y.mutable_view().data()},
                             d_y.data(),
                             d_q.mutable_view().data(),
                             d_k.mutable_view().data(),
                             d_v.mutable_view().data()});
    measure(work);
  }

  void linear(const std::string& name, Index rows, Index in, Index out) {
    if (options_.check) rows = 67, in = 96, out = 80;
    const HugeMatrix<float> x = limits::random(rows, in, "x"), w = limits::random(in, out, "w"), y(rows, out);
    heed::Workers workers;
    const auto ours = [&] { heed::linear(x.view(), w.view(), y.mutable_view(), workers); };
    Workload work{name, 2.0 * static_cast<double>(rows * in * out), {{"heed", ours}}, {&y}, in};
    add_peers(work, Linear{rows, in, out, x.data(), w.data(), y.mutable_view().data()});
    measure(work);
  }

  /// Everybody's results are held against heed's, which the table of limits holds against the oracle.
  void measure(const Workload& work) {
    progress_.print(work.name);
    rows_.push_back({work.name, {}});
    std::vector<heed::Matrix<float>> expected;
    std::vector<double> once;
    for (const Contestant& contestant : work.contestants) {
      for (const auto* result : work.results) result->mutable_view().setZero();
      once.push_back(limits::detail::timed(contestant.run, 1));
      for (std::size_t i = 0; i < work.results.size(); ++i)
        if (expected.size() < work.results.size())
          expected.push_back(work.results[i]->view());
        else
          compare(work, contestant, work.results[i]->view(), expected[i]);
    }
    const limits::Effort effort = options_.check ? limits::Effort{.rounds = 1, .run_seconds = 0} : limits::Effort{};
    std::map<std::string, Measurement>& row = rows_.back().measured;
    double rate = rates_.measure(limits::Rate::fma, alone_);
    for (int round = 0; round < effort.rounds; ++round)
      for (std::size_t i = 0; i < work.contestants.size(); ++i) {
        const int repeats = (std::max)(1, static_cast<int>(effort.run_seconds / once[i]));
        const double seconds = limits::detail::timed(work.contestants[i].run, repeats), before = rate;
        rate = rates_.measure(limits::Rate::fma, alone_);
        Measurement& measured = row[column_of(work.contestants[i].name)];
        measured.figures.push_back(work.flops / seconds / ((before + rate) / 2));
        measured.limits.push_back((before + rate) / 2e9);
      }
    for (auto& [name, measured] : row) std::sort(measured.figures.begin(), measured.figures.end());
    for (auto& [name, measured] : row) std::sort(measured.limits.begin(), measured.limits.end());
    clock_.done(1);
  }
  void compare(const Workload& work, const Contestant& contestant, const heed::View<float>& found,
               const heed::Matrix<float>& expected) {
    const double error = heed::reference::error_of(found, expected);
    const double allowed = heed::reference::allowed_error<float>(expected, expected, work.operations);
    if (error <= allowed) return;
    right_ = false;
    progress_.say(work.name + ": " + contestant.name + ": expected a difference of " + std::to_string(allowed) +
                  " at most, found " + std::to_string(error));
  }
  /// A peer has one column, whatever it does there.
  std::string column_of(const std::string& name) {
    const std::string column = name.rfind("OpenBLAS", 0) == 0 ? "OpenBLAS" : name;
    if (std::find(columns_.begin(), columns_.end(), column) == columns_.end()) columns_.push_back(column);
    return column;
  }

  void finish() {
    if (options_.check) return;
    std::vector<std::vector<std::string>> lines{{"fraction of the FP32 FMA peak, 1 thread"}};
    lines[0].insert(lines[0].end(), columns_.begin(), columns_.end());
    lines[0].push_back("peak, GFLOP/s");
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto& [name, measured] : rows_) {
      lines.push_back({name});
      for (const std::string& column : columns_) {
        const auto at = measured.find(column);
        lines.back().push_back(at == measured.end() ? std::string(bench::no_figure) : bench::fixed(at->second.median(), 2));
        if (at == measured.end()) continue;
        list.push_back({{"workload", name},
                        {"who", column},
                        {"fraction_of_peak", at->second.median()},
                        {"min", at->second.figures.front()},
                        {"max", at->second.figures.back()},
                        {"peak_gflops", at->second.limit()}});
      }
      lines.back().push_back(bench::fixed(measured.at("heed").limit(), 0));
    }
    std::printf("%s\n%s\n%s\n", bench::aligned(lines).c_str(), absent().c_str(), limits::origin(options_.commit).c_str());
    if (!options_.json.empty()) bench::write_file(options_.json, list.dump(1) + "\n");
    if (!options_.page.empty())
      limits::write_between(options_.page, "peers",
                            limits::markdown(lines) + "\n" + absent() + limits::origin(options_.commit) + "\n");
  }
  static std::string absent() {
    std::string text;
#if !defined(HEED_HAS_OPENBLAS)
    text += "OpenBLAS is not measured: " HEED_WHY_NOT_OPENBLAS ".\n";
#endif
#if !defined(HEED_HAS_ONEDNN)
    text += "oneDNN is not measured: " HEED_WHY_NOT_ONEDNN ".\n";
#endif
#if !defined(HEED_HAS_TORCH)
    text += "libtorch is not measured: " HEED_WHY_NOT_TORCH ".\n";
#endif
    return text;
  }

  struct Line {
    std::string name;
    std::map<std::string, Measurement> measured;
  };

  const Options& options_;
  limits::MachineRates rates_;
  heed::Pool alone_;
  bench::Clock clock_;
  bench::Progress progress_;
  std::vector<std::string> columns_;
  std::vector<Line> rows_;
  bool right_ = true;
};

}  // namespace
}  // namespace peers

int main(int argc, char** argv) {
  try {
    peers::Options options;
    CLI::App app("Measures heed beside Eigen, OpenBLAS, oneDNN and libtorch, interleaved, on one thread.");
    app.add_flag("--check", options.check, "small sizes: all results are compared, no time means anything");
    app.add_option("--json", options.json, "file for the figures");
    app.add_option("--page", options.page)->group("");      // scripts/bench says it
    app.add_option("--commit", options.commit)->group("");  // and this
    CLI11_PARSE(app, argc, argv);
    peers::Run run(options);
    run.all();
    return run.right() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "peers: %s\n", error.what());
    return 1;
  }
}
