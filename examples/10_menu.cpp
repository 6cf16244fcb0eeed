// The whole menu, from a JSON file that has a stack for every dish: built, fed in one call, and fed again row by row.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <heed/heed.hpp>
#include <heed/io/config.hpp>
#include <nlohmann/json.hpp>

using Model = heed::DynamicStack<float>;

// The largest difference between rows that are fed at once and rows that are fed one by one, behind those first ones that
// have to come together.
float of_decoding(const Model& model, const heed::Matrix<float>& x) {
  auto whole = model.make_cache({.positions = x.rows(), .rows = x.rows()});
  auto stepwise = model.make_cache({.positions = x.rows()});
  const heed::Matrix<float> y = model.forward(x, whole);
  float largest = 0;
  for (heed::Index row = 0, next = 0; row < x.rows(); row = next) {
    const heed::Index count = row == 0 ? (std::max)(heed::Index(1), model.plan().whole_rows) : 1;
    next = row + count;
    const heed::Matrix<float> step = model.forward(x.middleRows(row, count), stepwise);
    largest = (std::max)(largest, (step - y.middleRows(row, count)).cwiseAbs().maxCoeff());
  }
  return largest;
}

int main() {
  const auto menu = nlohmann::ordered_json::parse(std::ifstream("10_menu.json"));
  const auto registry = heed::standard_registry<float>();
  heed::Matrix<float> x(12, 64);
  heed::Random(1, "x").normal(x, 1);

  std::printf("%-56s %10s %13s  %s\n", "", "parameters", "cached bytes", "row by row");
  for (const auto& [dish, layers] : menu.items()) {
    nlohmann::ordered_json described = {{"width", 64}, {"heads", 4}};
    described.update(layers);
    const Model model = Model::build(heed::io::parse_config(described.dump(), dish), registry);
    const bool decodes = model.plan().whole_rows < x.rows();
    std::printf("%-56s %10td %13td  %s\n", dish.c_str(), heed::count_parameters(model.params()),
                heed::planned_cache_bytes(model, 12),
                !decodes                        ? "sees ahead"
                : of_decoding(model, x) < 1e-5f ? "the same"
                                                : "DIFFERENT");
  }
}
