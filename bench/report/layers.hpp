// The layers of every variant. A model is built from the list at run time (DynamicStack).
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include <heed/heed.hpp>

#include "variants.hpp"

namespace report {

template <class Scalar>
using Layers = std::vector<typename heed::DynamicStack<Scalar>::Layer>;

namespace detail {

/// Layer 0 is First; of those above, the odd ones are Odd and the even ones Even.
template <class Scalar, class First, class Odd, class Even>
Layers<Scalar> pattern(Index count) {
  Layers<Scalar> layers;
  for (Index layer = 0; layer < count; ++layer)
    if (layer == 0)
      layers.push_back(heed::choose<First>());
    else if (layer % 2 == 1)
      layers.push_back(heed::choose<Odd>());
    else
      layers.push_back(heed::choose<Even>());
  return layers;
}

}  // namespace detail

template <class Scalar>
Layers<Scalar> layers_of(const Variant& variant, Index count) {
  using namespace heed;
  using Standard = StandardAttention;
  using LearnedResFormer = LearnedResidualValueAttention;
  struct Entry {
    std::string_view key;
    Layers<Scalar> (*layers)(Index count);
  };
  static constexpr Entry menu[] = {
      {"standard", detail::pattern<Scalar, Standard, Standard, Standard>},
      {"resformer", detail::pattern<Scalar, Standard, ResFormer, ResFormer>},
      {"resformer-learned", detail::pattern<Scalar, Standard, LearnedResFormer, LearnedResFormer>},
      {"svformer", detail::pattern<Scalar, Standard, SVFormer, SVFormer>},
      {"score-reuse", detail::pattern<Scalar, Standard, ReuseTransformer, Standard>},
      {"recurrent-mix", detail::pattern<Scalar, RecurFormer, RecurFormer, RecurFormer>},
  };
  for (const Entry& entry : menu)
    if (entry.key == variant.key) return entry.layers(count);
  throw std::logic_error("variants: no layers for " + std::string(variant.key));
}

}  // namespace report
