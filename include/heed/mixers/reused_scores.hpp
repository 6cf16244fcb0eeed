// A = A_below
//
//   A_below [T x S] per query head: the probabilities of the nearest layer below that has some, its heads 0, 1, ...
//   No W_q, no W_k, no K in the cache.
// Source: Bhojanapalli et al. 2021 (arXiv 2110.06821), section 3: scores are reused after the softmax.
#pragma once

#include "../ops/attend.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The probabilities are those of the layer below.
struct ReusedScores : Stateless {
  static constexpr std::string_view name = "reused scores";
  using consumes = signals<nearest<scores>>;
  using publishes = signals<scores>;

  struct Config {};

  /// Passes the origin's entries on, so that gradients land where the origin looks for them.
  template <class Scalar>
  static heed::Given<Scalar> apply(const Call<ReusedScores, Scalar>& call, const View<Scalar>&) {
    const auto below = call.inputs.template get<nearest<scores>>();
    const auto table = call.outputs.template get<scores>().table;
    for (Index b = 0; b < table.sequences; ++b)
      for (Index h = 0; h < table.heads; ++h) table.at(b, h) = below.at(b, h);
    return {table};
  }

  template <class Scalar>
  static void backward(const Call<ReusedScores, Scalar>& call, const View<Scalar>&, const HeadTable<HeadRows<Scalar>>& v,
                       const View<Scalar>&, const View<Scalar>& d_o, MutableView<Scalar>, Params<Scalar>&) {
    // o = a_below v   =>   d_v += a_below^T d_o,  d_a_below += d_o v^T, added at the origin
    attend_backward(heed::Given<Scalar>{call.outputs.template get<scores>().table}, v, call.pass.rows, d_o,
                    call.pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
