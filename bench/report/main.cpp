// The report: every variant trained on one text for the same number of steps, measured, and drawn (docs/report.md).
#include <cstdio>
#include <exception>
#include <filesystem>

#include "drawing.hpp"
#include "json.hpp"
#include "options.hpp"
#include "page.hpp"
#include "shared.hpp"
#include "subject.hpp"

namespace report {
namespace {

/// What a variant costs beside its training steps, in training steps: forward passes are a third of one.
double steps_of_measuring(const Plan& plan, Index held_out_bytes) {
  const double step = 3 * static_cast<double>(plan.bytes_of_step());
  return static_cast<double>(plan.validations() * held_out_bytes) / step + 60'000 / step;
}

/// One step of every variant, in seconds.
std::vector<double> time_steps(const Report& report, const Parts& parts, Progress& progress) {
  progress.say("timing a step of every variant");
  std::vector<double> seconds;
  for (const Variant* variant : report.variants) {
    if (interrupted()) break;
    Subject subject(*variant, report.plan);
    seconds.push_back(subject.time_step(parts.learned));
  }
  return seconds;
}

/// As many steps as fit into the time, the same for all.
Index steps_within(const Plan& plan, double seconds_of_one_step_each, double measuring) {
  const auto steps = static_cast<Index>(plan.seconds() / seconds_of_one_step_each - measuring);
  return steps >= 100 ? steps / 10 * 10 : (std::max)(steps, Index(10));
}

class Run {
 public:
  Run(const Options& options, const Parts& parts, Report& report, Clock& clock, Progress& progress)
      : out_(options.out), learned_(parts.learned), report_(report), clock_(clock), progress_(progress) {
    held_out_ =
        parts.held_out.first((std::min)(parts.held_out.size(), static_cast<std::size_t>(report.plan.held_out_bytes())));
  }

  void all(const std::vector<double>& step_seconds) {
    measuring_ = steps_of_measuring(report_.plan, static_cast<Index>(held_out_.size()));
    double total = 0;
    for (const double seconds : step_seconds) total += seconds * (static_cast<double>(report_.plan.steps) + measuring_);
    clock_.expect(total);
    for (std::size_t i = 0; i < step_seconds.size() && !interrupted(); ++i) {
      one(*report_.variants[i], step_seconds[i]);
      write();
    }
  }
  void write() {
    report_.interrupted = interrupted();
    report_.seconds = clock_.seconds();
    std::vector<Chart> charts = charts_of(report_);
    for (Chart& chart : charts) draw(chart, out_);
    draw_overview(charts[1], charts[2], out_);
    write_file(out_ / "results.json", json_text(report_));
    write_file(out_ / "results.md", markdown_table(report_));
    write_file(out_ / "index.html", page(report_, charts));
  }

 private:
  void one(const Variant& variant, double step_seconds) {
    const std::string label = "[" + std::to_string(report_.results.size() + 1) + "/" +
                              std::to_string(report_.variants.size()) + "] " + std::string(variant.key);
    Subject subject(variant, report_.plan);
    report_.results.emplace_back();
    Result& result = report_.results.back();
    result.variant = &variant;
    result.parameters = subject.parameters();
    result.cache = subject.cache_bytes();
    result.curve = subject.train(learned_, held_out_, [&](const Curve& curve) {
      clock_.done(step_seconds);
      progress_.show(label + step_line(curve));
      return !interrupted();
    });
    if (interrupted()) return;
    progress_.print(label + "  measuring");
    measure(subject, result);
    clock_.done(step_seconds * measuring_);
    progress_.say(label + ": held-out loss " + fixed(*result.held_out_loss(), 3) + " nats per byte after " +
                  grouped(result.curve.steps()) + " steps in " + minutes(result.curve.seconds) + " minutes");
  }

  /// Nothing is timed that has not been checked.
  void measure(const Subject& subject, Result& result) {
    result.agreement = subject.agreement(held_out_);
    result.generated = subject.generate(report_.prompt);
    if (!result.agreement->holds()) return;
    if (!interrupted()) result.prefill = subject.prefill(held_out_);
    if (!interrupted()) result.decode = subject.decode(held_out_);
  }

  std::string step_line(const Curve& curve) const {
    const double tokens = static_cast<double>(curve.steps() * report_.plan.bytes_of_step());
    return "  " + grouped(curve.steps()) + "/" + grouped(report_.plan.steps) + "  loss " + fixed(curve.losses.back(), 3) +
           "  " + speed(tokens / curve.seconds) + " tokens/s";
  }

  std::filesystem::path out_;
  Bytes learned_, held_out_;
  Report& report_;
  Clock& clock_;
  Progress& progress_;
  double measuring_ = 0;
};

void say_skipped(const Text& text, Progress& progress) {
  if (text.skipped.empty()) return;
  progress.say("skipped in " + text.name + ":");
  constexpr std::size_t shown = 5;
  for (std::size_t i = 0; i < (std::min)(shown, text.skipped.size()); ++i)
    progress.say("  " + readable(text.skipped[i].name) + ": " + text.skipped[i].reason);
  if (text.skipped.size() > shown) progress.say("  and " + std::to_string(text.skipped.size() - shown) + " more");
}

/// The first line of the held-out text that is not blank, and what follows, up to a length.
std::string prompt_of(Bytes held_out, std::size_t length) {
  const std::string_view text(reinterpret_cast<const char*>(held_out.data()), held_out.size());
  std::size_t begin = text.find('\n');
  begin = begin == std::string_view::npos ? std::string_view::npos : text.find_first_not_of("\n\r", begin);
  if (begin == std::string_view::npos || begin + length > text.size()) begin = 0;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u) ++begin;
  std::size_t end = begin;
  while (end < text.size() && end < begin + length) {
    const std::size_t character = character_at(text, end);
    end += character == 0 ? 1 : character;
  }
  return begin == end ? "\n" : std::string(text.substr(begin, end - begin));
}

std::string command_of(int argc, char** argv, const Plan& plan) {
  std::string command = "scripts/report";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool replaced = argument == "--commit" || argument == "--steps";
    if (replaced) ++i;
    if (!replaced && argument.rfind("--steps=", 0) != 0) command += " " + shell_word(argument);
  }
  return command + " --steps " + std::to_string(plan.steps);
}

int run(const Options& options, int argc, char** argv) {
  Clock clock;
  Progress progress(clock);
  Report report{.plan = options.plan, .variants = pick_variants(options.variants)};
  const Text text = options.text.empty() ? load_repository(HEED_REPORT_REPOSITORY) : load_text(options.text);
  const Parts parts = divide(text, report.plan.length);
  say_skipped(text, progress);
  report.commit = options.commit;
  report.machine = machine();
  report.compiler = compiler();
  report.date = today();
  report.text_name = readable(text.name);
  report.text_hash = hash_of(text.bytes);
  report.text_bytes = static_cast<Index>(text.bytes.size());
  report.text_files = text.files;
  report.text_skipped = static_cast<Index>(text.skipped.size());
  report.held_out_bytes = (std::min)(report.plan.held_out_bytes(), static_cast<Index>(parts.held_out.size())) - 1;
  report.prompt = prompt_of(parts.held_out, 48);
  progress.say("text: " + text.name + ", " + grouped(report.text_bytes) + " bytes, FNV-1a 64 " + report.text_hash);
  std::filesystem::create_directories(options.out);
  stop_on_interrupt();

  const std::vector<double> step_seconds = time_steps(report, parts, progress);
  double one_each = 0;
  for (const double seconds : step_seconds) one_each += seconds;
  report.steps_chosen = "as asked";
  if (report.plan.steps == 0) {
    report.plan.steps = steps_within(report.plan, one_each, steps_of_measuring(report.plan, report.held_out_bytes));
    report.steps_chosen = "chosen to take " + minutes(report.plan.seconds()) +
                          " minutes here: one step of all variants took " + fixed(one_each, 2) + " s";
  }
  report.command = command_of(argc, argv, report.plan);
  progress.say("steps of every variant: " + grouped(report.plan.steps) + ", " + report.steps_chosen);

  Run everything(options, parts, report, clock, progress);
  everything.all(step_seconds);
  everything.write();

  bool right = true;
  for (const Result& result : report.results)
    right = right && result.cache.allocated && (!result.agreement || result.agreement->holds());
  std::printf("%s%s\nOne short run is not a ranking. Figures for a document: %s\n%s\n",
              report.interrupted ? "Stopped before the end. What ran:\n" : "", terminal_table(report.results).c_str(),
              (options.out / "results.md").string().c_str(), (options.out / "index.html").string().c_str());
  if (!right) std::fprintf(stderr, "report: a check failed, the page says which\n");
  return report.interrupted ? 128 + static_cast<int>(interrupt_signal) : right ? 0 : 1;
}

}  // namespace
}  // namespace report

int main(int argc, char** argv) {
  try {
    report::Options options = report::default_options(HEED_REPORT_REPOSITORY);
    if (const auto status = report::parse(argc, argv, options)) return *status;
    options.out = std::filesystem::absolute(options.out).lexically_normal();
    return report::run(options, argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "report: %s\n", error.what());
    return 1;
  }
}
