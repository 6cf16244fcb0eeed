// Prefill in bf16 terms on tiles (AMX): float in and out.
#include <cmath>
#include <memory>

#include "amx.hpp"
#include "prefill.hpp"
#include "row.hpp"

namespace limits {
namespace {

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
          .limit_of = "FP32 FMA peak, GFLOP/s",
          .limit_unit = 1e9,
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

std::vector<Row> tile_rows() {
  return {tile_row("AMX bf16 prefill", Precision::bf16, 2.0, 3),
          tile_row("split-bf16 prefill on AMX, two terms (three products)", Precision::bf16x2, 1.1, 2),
          tile_row("split-bf16 prefill on AMX, three terms (six products)", Precision::bf16x3, 0.75, 1.2)};
}

}  // namespace limits
