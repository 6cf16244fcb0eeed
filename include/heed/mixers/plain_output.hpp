// out = A V
//
// The third part of Attention<Scores, Values, Output>: what becomes of o = A V [T x H E_v] before W_o. It has the
// companions of a part (mixer.hpp) and
//   apply(call, v, o)                            returns out [T x H E_v]; v: the value rows that were attended over
//   backward(call, v, o, d_out, gradients)       returns d_o [T x H E_v]; adds to the gradients of v and to its own
// Where its own backward reads o or out, it finds them as it left them.
#pragma once

#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// Nothing.
struct PlainOutput : Stateless {
  static constexpr std::string_view name = "plain output";
  using consumes = signals<>;
  using publishes = signals<>;

  struct Config {};

  template <class Scalar>
  static View<Scalar> apply(const Call<PlainOutput, Scalar>&, const HeadTable<HeadRows<Scalar>>&, const View<Scalar>& o) {
    return o;
  }
  /// out = o   =>   d_o = d_out
  template <class Scalar>
  static View<Scalar> backward(const Call<PlainOutput, Scalar>&, const HeadTable<HeadRows<Scalar>>&, const View<Scalar>&,
                               const View<Scalar>& d_out, Params<Scalar>&) {
    return d_out;
  }
};

}  // namespace heed::inline HEED_ABI
