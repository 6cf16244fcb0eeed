// V = V_a
//
//   V_a [S x E_v] per kv head: the value rows of the layer a that Tap finds. No weights, no cache: V is stored once.
//   first<values>     the lowest layer that has some: SVFormer
//   nearest<values>   the closest layer below that has values of its own: SVFormer with anchors, cross-layer attention
// Source: Zhou et al. 2024 (arXiv 2410.17897), SVFormer, eq. 10, anchors: section 4.8; Brandon et al. 2024
// (arXiv 2405.12981), section 3.
#pragma once

#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The values are those of a layer below: the first that publishes some, unless Tap says another.
template <class Tap = first<values>>
struct SharedValues : Stateless {
  static constexpr std::string_view name = "shared values";
  using consumes = signals<Tap>;
  using publishes = signals<values>;

  struct Config {};

  /// Passes the origin's entries on, so that gradients land where the origin looks for them.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<SharedValues, Scalar>& call, const View<Scalar>&) {
    const auto v_shared = call.inputs.template get<Tap>();
    const auto table = call.outputs.template get<values>().table;
    for (Index b = 0; b < table.sequences; ++b)
      for (Index g = 0; g < table.heads; ++g) table.at(b, g) = v_shared.at(b, g);
    return table;
  }

  /// v = v_shared: its gradient was added at the origin.
  template <class Scalar>
  static void backward(const Call<SharedValues, Scalar>&, const View<Scalar>&, MutableView<Scalar>, Params<Scalar>&) {}
};

}  // namespace heed::inline HEED_ABI
