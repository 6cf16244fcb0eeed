// Prefill: T = S rows on an empty cache; in float, and in bf16 terms on tiles (AMX). FLOPs of causal attention are those of
// the pairs that are seen: about half.
#include <cmath>
#include <heed/ops/attend.hpp>
#include <memory>

#include "amx.hpp"
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
  /// Calls each(operands of the head, head, row, what was found) for some rows of some heads, until it returns a sentence.
  template <class F>
  std::string some(F&& each) const {
    for (const Index head : {Index(0), sizes.heads - 1}) {
      const Index kv = head / (sizes.heads / sizes.kv_heads) * sizes.width, at = head * sizes.width;
      const HeadOperands of{q.data() + at, k.data() + kv, v.data() + kv, q.cols(),    k.cols(),
                            v.cols(),      sizes.keys,    sizes.width,   options.mask};
      for (const Index row : some_rows(sizes.keys))
        if (std::string wrong = each(of, head, row, y.data() + row * y.cols() + at); !wrong.empty()) return wrong;
    }
    return {};
  }
  std::string check(heed::Workers& workers) {
    run(workers);
    return some([](const HeadOperands& of, Index head, Index row, const float* found) {
      return of.check("head " + std::to_string(head), row, row, found);
    });
  }
  /// The largest error of these rows.
  double error(heed::Workers& workers) {
    run(workers);
    double largest = 0;
    some([&](const HeadOperands& of, Index, Index row, const float* found) -> std::string {
      const Matrix<float> y_row = Eigen::Map<const Matrix<float>>(found, 1, sizes.width);
      largest = (std::max)(largest, heed::reference::error_of(y_row, of.attended<double>(row, row)));
      return {};
    });
    return largest;
  }
};

Row prefill_row(const std::string& workload, const AttendSizes& sizes, double must, double aim,
                const heed::AttendOptions& options = {}) {
  return {.workload = workload,
          .unit = "of the FP32 FMA peak",
          .must = must,
          .aim = aim,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak",
          .limit_unit = "GFLOP/s",
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
          .limit_of = "FP32 FMA peak on 2 threads",
          .limit_unit = "x one thread",
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

using heed::Precision;

/// How far a product of operands in these terms may be from the exact one, over the product of their magnitudes
/// (docs/numerics.md).
double error_of_product(Precision precision) {
  const double u = std::ldexp(1.0, -8);
  if (precision == Precision::bf16) return 2 * u + u * u;
  return precision == Precision::bf16x2 ? 3 * u * u + 3 * u * u * u : 4 * u * u * u;
}

/// o = sum_j a_j v_j where logits are off by d and |v| <= w: at most (e^2d - 1) w, and what the second product adds. Three
/// terms are held to four times the error of the same call in full.
std::string check_terms(Prefill& prefill, heed::Workers& workers) {
  const Precision precision = prefill.options.precision;
  const double error = prefill.error(workers), of_product = error_of_product(precision);
  double allowed = 0;
  if (precision == Precision::bf16x3) {
    prefill.options.precision = Precision::full;
    allowed = 4 * prefill.error(workers);
    prefill.options.precision = precision;
  } else {
    const double largest = std::sqrt(3.0);  // of all operands
    const double off = of_product * largest * largest * std::sqrt(static_cast<double>(prefill.sizes.width));
    allowed = (std::expm1(2 * off) + of_product) * largest;
  }
  if (error <= allowed) return {};
  return "expected an error of " + std::to_string(allowed) + " at most, found " + std::to_string(error);
}

Row tile_row(const std::string& workload, Precision precision, double must, double aim) {
  const AttendSizes sizes{2048, 16, 16, 128};
  return {.workload = workload + ", 16 heads x 128, S 2048",
          .unit = "FP32 FMA peaks",
          .must = must,
          .aim = aim,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak",
          .limit_unit = "GFLOP/s",
          .expected_seconds = 3,
          .prepare =
              [=](Scale scale, heed::Pool& pool) {
                auto workers = std::make_shared<heed::Workers>(pool);
                const AttendSizes scaled = sizes.at(scale);
                auto made = std::make_shared<Prefill>(scaled, heed::AttendOptions{.precision = precision});
                return Prepared{.check = [=] { return check_terms(*made, *workers); },
                                .runs = {[=] { made->run(*workers); }},
                                .figure = [=](const std::vector<double>& seconds,
                                              double peak) { return scaled.flops(heed::causal()) / seconds[0] / peak; }};
              },
          .why = why_no_amx()};
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

std::vector<Row> tile_rows() {
  return {tile_row("AMX bf16 prefill", Precision::bf16, 2.0, 3),
          tile_row("split-bf16 prefill on AMX, two terms (three products)", Precision::bf16x2, 1.1, 2),
          tile_row("split-bf16 prefill on AMX, three terms (six products)", Precision::bf16x3, 0.75, 1.2)};
}

}  // namespace limits
