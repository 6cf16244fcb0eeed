// Layers from a list: the same stack, wired while it is built.
//
//   auto model = DynamicStack<float>::build({.width = 64, .heads = 4}, {{choose<StandardAttention>()},
//                                                                       {choose<SharedValueAttention>()}});
#pragma once

#include "../core/precision.hpp"
#include "../mixers/any_mixer.hpp"
#include "layered.hpp"

namespace heed::inline HEED_ABI {

template <class ScalarOrPrecision>
class DynamicStack : public Layered<typename PrecisionOf<ScalarOrPrecision>::Arithmetic,
                                    Block<AnyMixer<typename PrecisionOf<ScalarOrPrecision>::Arithmetic>>> {
  using Scalar = typename PrecisionOf<ScalarOrPrecision>::Arithmetic;
  using Base = Layered<Scalar, Block<AnyMixer<Scalar>>>;

 public:
  /// The config of one layer, from a choice of mixer.
  struct Layer {
    template <class Chosen>
    requires requires(const Chosen& chosen) { chosen.template erased<Scalar>(); }
    Layer(const Chosen& chosen, SwiGlu::Config feed_forward = {}, RmsNorm::Config norm = {})  // NOLINT: a choice is a layer
        : config{chosen.template erased<Scalar>(), feed_forward, norm} {}

    typename Block<AnyMixer<Scalar>>::Config config;
  };

  /// Raises ConfigError, naming the layer and the tap, for wrong wiring, heads that a source does not publish and sizes
  /// that do not fit together. Weights are initialised with seed 0.
  static DynamicStack build(const Sizes& sizes, const std::vector<Layer>& layers) {
    std::vector<typename Base::Plan::Place> places;
    typename Base::Plan::Configs configs;
    for (const Layer& layer : layers) {
      places.push_back({0, places.size()});
      std::get<0>(configs).push_back(layer.config);
    }
    return DynamicStack(sizes, std::move(places), std::move(configs));
  }

 private:
  using Base::Base;
};

}  // namespace heed::inline HEED_ABI
