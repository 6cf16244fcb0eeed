// Prefill: T = S rows on an empty cache. FLOPs of causal attention are those of the pairs that are seen: about half.
#include <heed/ops/attend.hpp>
#include <memory>

#include "attend_sizes.hpp"
#include "oracle.hpp"
#include "row.hpp"

namespace limits {
namespace {

struct Prefill {
  AttendSizes sizes;
  heed::AttendOptions options;
  bench::HugeMatrix<float> q, k, v, y;

  Prefill(const AttendSizes& of, const heed::AttendOptions& how)
      : sizes(of),
        options(how),
        q(random(of.keys, of.heads * of.width, "q")),
        k(random(of.keys, of.kv_heads * of.width, "k")),
        v(random(of.keys, of.kv_heads * of.width, "v")),
        y(of.keys, of.heads * of.width) {
    options.heads = of.heads;
    options.kv_heads = of.kv_heads;
  }
  void run(heed::Workers& workers) { heed::attend_into(q.view(), k.view(), v.view(), options, y.mutable_view(), workers); }
  std::string check(heed::Workers& workers) {
    run(workers);
    for (const Index head : {Index(0), sizes.heads - 1}) {
      const Index kv = head / (sizes.heads / sizes.kv_heads) * sizes.width, at = head * sizes.width;
      const HeadOperands of{q.data() + at, k.data() + kv, v.data() + kv, q.cols(),    k.cols(),
                            v.cols(),      sizes.keys,    sizes.width,   options.mask};
      for (const Index row : some_rows(sizes.keys))
        if (std::string wrong = of.check("head " + std::to_string(head), row, row, y.data() + row * y.cols() + at);
            !wrong.empty())
          return wrong;
    }
    return {};
  }
};

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
