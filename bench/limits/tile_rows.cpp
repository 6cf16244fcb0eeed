// Prefill on bf16 tiles (AMX): f32 in and out.
#include "amx.hpp"
#include "row.hpp"

namespace limits {
namespace {

Row tile_row(const std::string& workload, double must, double aim) {
  Row row{.workload = workload,
          .unit = "FP32 FMA peaks",
          .must = must,
          .aim = aim,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak, GFLOP/s",
          .limit_unit = 1e9,
          .expected_seconds = 3,
          .prepare = {}};
  row.why = why_no_amx().empty() ? "not in heed yet" : why_no_amx();
  return row;
}

}  // namespace

std::vector<Row> tile_rows() {
  return {tile_row("bf16 prefill on AMX, 16 heads x 128, S 2048", 2.0, 3),
          tile_row("bf16 prefill on AMX in two terms, three products, 16 heads x 128, S 2048", 1.1, 2),
          tile_row("bf16 prefill on AMX in three terms, six products, 16 heads x 128, S 2048", 0.75, 1.2)};
}

}  // namespace limits
