// The unmixed values of all lower layers, as a chain: what a layer publishes for those that mix them all.
//
//   V_i [T_b x E_v] per (sequence, kv head): the new rows of layer i before they were mixed, with their own gradient
#pragma once

#include "projected_values.hpp"
#include "reach.hpp"

namespace heed::inline HEED_ABI {

/// One layer's link of the chain, for one (sequence, kv head).
template <class Scalar>
struct ValueHistory {
  HeadRows<Scalar> rows = {};           // [T_b x E_v], new rows only, and where their gradient is added
  const ValueHistory* below = nullptr;  // the next lower layer's; none at the lowest
  Index length = 0;                     // layers in the chain from here down
};

template <class Scalar>
struct entry_of<value_history, Scalar> {
  using type = ValueHistory<Scalar>;
};

/// The layer's own values, which begin a history: V = x W_v + b_v, as ProjectedValues.
struct HistoryValues {
  static constexpr std::string_view name = "projected values with history";
  using consumes = signals<>;
  using publishes = signals<values, value_history>;

  using Config = ProjectedValues::Config;
  template <class Scalar>
  using Params = ProjectedValues::Params<Scalar>;
  template <class Scalar>
  using Cache = ValueCache<Scalar>;
  template <class Scalar>
  using Record = ProjectedValues::Record<Scalar>;
  static CachePlan plan(const Shape& shape, const Config& config) { return ProjectedValues::plan(shape, config); }
  /// A chain of one layer.
  static void count_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config&,
                              std::span<Index> counts) {
    if (signal == value_history::name) count_own(alignment, shape, 1, counts);
  }

  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<HistoryValues, Scalar>& call, const View<Scalar>& x) {
    const auto v = ProjectedValues::apply<Scalar>(projected(call), x);
    const auto history = call.outputs.template get<value_history>().table;
    for (Index b = 0; b < v.sequences; ++b)
      for (Index g = 0; g < v.heads; ++g) history.at(b, g) = {last_rows(v.at(b, g), call.pass.rows.rows(b)), nullptr, 1};
    return v;
  }
  /// Unmixed and attended over, they are the same rows with the same gradient.
  template <class Scalar>
  static void backward(const Call<HistoryValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    ProjectedValues::backward<Scalar>(projected(call), x, d_x, gradients);
  }

 private:
  template <class Scalar>
  static Call<ProjectedValues, Scalar> projected(const Call<HistoryValues, Scalar>& call) {
    return part_of<ProjectedValues>(call, call.config, call.params, call.cache, call.record);
  }
  // Sequences are whole where rows have gradients: then all rows are new.
  template <class Scalar>
  static HeadRows<Scalar> last_rows(HeadRows<Scalar> visible, Index count) {
    const Index past = visible.rows - count;
    if (visible.data != nullptr) visible.data += past * visible.stride;
    if (visible.narrow != nullptr) visible.narrow += past * visible.stride;
    visible.rows = count;
    return visible;
  }
};

}  // namespace heed::inline HEED_ABI
