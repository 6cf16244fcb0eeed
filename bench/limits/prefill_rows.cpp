// Prefill in float: its products as they are.
#include <memory>

#include "prefill.hpp"
#include "row.hpp"

namespace limits {
namespace {

Row prefill_row(const std::string& workload, const AttendSizes& sizes, double must, double aim,
                const heed::AttendOptions& options = {}) {
  return {.workload = workload,
          .unit = "of the FP32 FMA peak",
          .must = must,
          .aim = aim,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak, GFLOP/s",
          .limit_unit = 1e9,
          .expected_seconds = seconds_for(sizes.flops(options.mask)),
          .prepare = [=](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            const AttendSizes scaled = sizes.at(scale);
            auto made = std::make_shared<Prefill>(scaled, options);
            return Prepared{.check = [=] { return made->check(*workers); },
                            .runs = {[=] { made->run(*workers); }},
                            .figure = [=](const std::vector<double>& seconds,
                                          double peak) { return scaled.flops(options.mask) / seconds[0] / peak; }};
          }};
}

Row two_threads_row() {
  const AttendSizes sizes{2048, 16, 16, 64};
  return {.workload = "the same as the first on 2 threads",
          .unit = "x one thread",
          .must = 1.85,
          .aim = 1.95,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak on 2 threads, x one thread",
          .expected_seconds = 2 * seconds_for(sizes.flops(heed::causal())),
          .prepare =
              [=](Scale scale, heed::Pool&) {
                auto made = std::make_shared<Prefill>(sizes.at(scale), heed::AttendOptions{});
                auto pool = std::make_shared<heed::Pool>(2);
                auto two = std::make_shared<heed::Workers>(pool.get());
                auto one = std::make_shared<heed::Workers>();
                return Prepared{
                    .check = [=, keep = pool] { return made->check(*two); },
                    .runs = {[=] { made->run(*one); }, [=, keep = pool] { made->run(*two); }},
                    .figure = [](const std::vector<double>& seconds, double) { return seconds[0] / seconds[1]; }};
              },
          .scaling = true,
          .why = std::thread::hardware_concurrency() < 2 ? "not on this machine: one hardware thread" : ""};
}

}  // namespace

std::vector<Row> prefill_rows() {
  return {prefill_row("causal prefill f32, 16 heads x 64, S 2048", {2048, 16, 16, 64}, 0.62, 0.75),
          prefill_row("causal prefill f32, 16 heads x 128, S 2048", {2048, 16, 16, 128}, 0.64, 0.80),
          prefill_row("causal prefill f32, 32 over 8 heads x 128, S 2048", {2048, 32, 8, 128}, 0.72, 0.82),
          two_threads_row(),
          prefill_row("causal prefill f32, 16 heads x 64, S 512", {512, 16, 16, 64}, 0.50, 0.65),
          prefill_row("causal prefill f32, 16 heads x 64, S 8192", {8192, 16, 16, 64}, 0.62, 0.75),
          prefill_row("bidirectional prefill f32, 16 heads x 128, S 2048", {2048, 16, 16, 128}, 0.70, 0.85,
                      {.mask = heed::bidirectional()})};
}

}  // namespace limits
