// V = V_below: the values of the nearest layer below. Reads what a layer publishes, so that its echo is not empty.
#pragma once

#include <heed/mixers/attention.hpp>
#include <heed/mixers/shared_values.hpp>

namespace reading {

struct NearestValues : heed::Stateless {
  static constexpr std::string_view name = "nearest values";
  using consumes = heed::signals<heed::nearest<heed::values>>;
  using publishes = heed::signals<heed::values>;

  struct Config {};
  template <class Scalar>
  static heed::HeadTable<heed::HeadRows<Scalar>> apply(const heed::Call<NearestValues, Scalar>& call,
                                                       const heed::View<Scalar>&) {
    const auto below = call.inputs.template get<heed::nearest<heed::values>>();
    const auto table = call.outputs.template get<heed::values>().table;
    for (heed::Index b = 0; b < table.sequences; ++b)
      for (heed::Index g = 0; g < table.heads; ++g) table.at(b, g) = below.at(b, g);
    return table;
  }
  /// v = v_below: its gradient was added at the origin.
  template <class Scalar>
  static void backward(const heed::Call<NearestValues, Scalar>&, const heed::View<Scalar>&, heed::MutableView<Scalar>,
                       Params<Scalar>&) {}
};

/// A layer that attends over the values of the layer below it.
using ValueReader = heed::Attention<heed::ComputedScores, NearestValues>;

}  // namespace reading
