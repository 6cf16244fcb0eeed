#include "oracle.hpp"

#include <heed/model/language_model.hpp>

#include "layers.hpp"

namespace report {

heed::Matrix<double> logits_in_double(const Variant& variant, const Plan& plan, const Weights& weights,
                                      std::span<const int> tokens) {
  using Stack = heed::DynamicStack<double>;
  heed::LanguageModel<Stack> model(vocabulary, Stack::build(plan.sizes(), layers_of<double>(variant, plan.layers)));
  heed::visit(
      [&](std::string_view name, heed::Role, heed::Matrix<double>& tensor) { tensor = weights.at(std::string(name)); },
      model.params());
  const auto rows = static_cast<Index>(tokens.size());
  auto cache = model.make_cache({.positions = rows, .rows = rows});
  return model.logits(tokens, cache);
}

}  // namespace report
