// A sixth variant in user code: see gated_value_attention.hpp. In both kinds of stack, and held to the library's own laws.
#include <heed/heed.hpp>
#include <heed/testing/mixer_contract.hpp>
#include <iostream>

#include "gated_value_attention.hpp"

using Standard = heed::StandardAttention;
using Gated = app::GatedValueAttention;
using heed::testing::Layers;

int main() {
  // Layers as types. Above layer 0, which publishes values, each gated layer reads the one below it.
  using Model = heed::Stack<float, heed::Block<Standard>, heed::Repeat<2, heed::Block<Gated>>, heed::Block<heed::SVFormer>>;
  Model::Config config{.width = 32, .heads = 4, .kv_heads = 2};
  config.layer<2>().mixer.values.gate = 1;
  Model model(config);
  std::cout << heed::inspect(model) << "\n";

  // The same layers from a list, and the same rows from both.
  const auto listed =
      heed::DynamicStack<float>::build({.width = 32, .heads = 4, .kv_heads = 2},
                                       {heed::choose<Standard>(), heed::choose<Gated>(),
                                        heed::choose<Gated>({.values = {.gate = 1}}), heed::choose<heed::SVFormer>()});
  heed::Matrix<float> x(10, 32);
  heed::Random(1, "x").normal(x, 1);
  auto cache = model.make_cache({.positions = 10, .rows = 10});
  auto listed_cache = listed.make_cache({.positions = 10, .rows = 10});
  const heed::Matrix<float> y = model.forward(x, cache);
  const heed::Matrix<float> z = listed.forward(x, listed_cache);
  std::cout << "from types and from a list the same: " << std::boolalpha << (y == z) << "\n";

  // Where nobody below publishes values, the stack is not built. heed::Stack<float, heed::Block<Gated>> does not compile.
  try {
    static_cast<void>(heed::DynamicStack<float>::build({.width = 32, .heads = 4}, {heed::choose<Gated>()}));
  } catch (const heed::ConfigError& error) {
    std::cout << "refused: " << error.what() << "\n";
  }

  // Chunks, packed batches, causality, rollback, forks, finite numbers, and every gradient by differences. Below it a layer
  // to read from; above it one that reads its values.
  const auto report = heed::testing::mixer_contract<Gated, Layers<Standard>, Layers<Gated>>({.values = {.gate = 0.3}});
  std::cout << (report.holds() ? "holds every law of the mixer contract\n" : report.text());
  return report.holds() ? 0 : 1;
}
