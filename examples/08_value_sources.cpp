// Two ways to values of one's own: a source of values (token_gated_values.hpp), and coefficients for the library's
// residual values (normalised_coefficients.hpp).
#include <heed/heed.hpp>
#include <iostream>

#include "normalised_coefficients.hpp"
#include "token_gated_values.hpp"

using Standard = heed::StandardAttention;
using Model = heed::DynamicStack<float>;

int main() {
  const heed::Sizes sizes{.width = 32, .heads = 4, .kv_heads = 2};
  const auto model = Model::build(sizes, {heed::choose<Standard>(), heed::choose<app::NormalisedResidualAttention>(),
                                          heed::choose<app::TokenGatedAttention>({.values = {.scale = 2}})});
  for (std::size_t layer = 0; layer < 3; ++layer) std::cout << model.plan().describe(layer) << "\n";

  // Coefficients that start at (0, 1) change nothing yet: the rows of a standard stack, to the bit.
  const auto standard = Model::build(sizes, {heed::choose<Standard>(), heed::choose<Standard>()});
  const auto normalised = Model::build(sizes, {heed::choose<Standard>(), heed::choose<app::NormalisedResidualAttention>()});
  heed::Matrix<float> x(10, 32);
  heed::Random(1, "x").normal(x, 1);
  auto standard_cache = standard.make_cache({.positions = 10, .rows = 10});
  auto normalised_cache = normalised.make_cache({.positions = 10, .rows = 10});
  const heed::Matrix<float> y = standard.forward(x, standard_cache);
  const heed::Matrix<float> z = normalised.forward(x, normalised_cache);
  std::cout << "normalised residual values start as standard attention: " << std::boolalpha << (y == z) << "\n";
}
