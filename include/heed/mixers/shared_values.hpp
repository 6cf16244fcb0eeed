// V = V_first
//
//   V_first [S x E_v] per kv head: the value rows of the lowest layer that has some. No weights, no cache: V is stored
//   once.
// Source: Zhou et al. 2024 (arXiv 2410.17897), SVFormer, eq. 10.
#pragma once

#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The values are those of the first layer that publishes some.
struct SharedValues {
  static constexpr std::string_view name = "shared values";
  using consumes = signals<first<values>>;
  using publishes = signals<values>;

  struct Config {};

  template <class Scalar>
  struct Params : NoParams {
    Params() = default;
    Params(const Shape&, const Config&) {}
  };
  template <class Scalar>
  using Cache = NoCache;
  template <class Scalar>
  using Record = NoRecord;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  /// Passes the origin's entries on, so that gradients land where the origin looks for them.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<SharedValues, Scalar>& call, const View<Scalar>&) {
    const auto v_first = call.inputs.template get<first<values>>();
    const auto table = call.outputs.template get<values>().table;
    for (Index b = 0; b < table.sequences; ++b)
      for (Index g = 0; g < table.heads; ++g) table.at(b, g) = v_first.at(b, call.shape.kv_heads.begin + g);
    return table;
  }

  /// v = v_first: its gradient was added at the origin.
  template <class Scalar>
  static void backward(const Call<SharedValues, Scalar>&, const View<Scalar>&, MutableView<Scalar>, Params<Scalar>&) {}
};

}  // namespace heed::inline HEED_ABI
