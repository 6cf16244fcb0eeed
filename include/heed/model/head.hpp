// From the last row of the stack to logits. Two types, and no flag.
//
//   TiedHead     logits = h E^T      E [V x D], the embedding table: nothing else is learned
//   UntiedHead   logits = h W        W [D x V]
//
//   h [T x D]   logits [T x V]
// Source of the tie: Press and Wolf 2017 (arXiv 1608.05859), section 2.
#pragma once

#include <concepts>

#include "../core/weight.hpp"
#include "../mixers/shape.hpp"
#include "../ops/linear.hpp"

namespace heed::inline HEED_ABI {

struct HeadConfig {
  Index vocabulary = 0;  // V
};

/// Nothing of its own is learned.
struct TiedHead {
  using Config = HeadConfig;

  template <class Scalar>
  using Params = NoParams;

  /// logits += h E^T
  template <class Scalar>
  static void apply(const Params<Scalar>&, const Weight<Scalar>& embedding, const View<Scalar>& h,
                    MutableView<Scalar> logits, Workers& workers) {
    linear_transposed(h, embedding, logits, workers);
  }

  template <class Scalar>
  static void backward(const Params<Scalar>&, const Matrix<Scalar>& embedding, const View<Scalar>& h,
                       const View<Scalar>& d_logits, MutableView<Scalar> d_h, Params<Scalar>&, Matrix<Scalar>& d_embedding,
                       Workers& workers) {
    // logits = h E^T   =>   d_h += d_logits E,  d_E += d_logits^T h
    linear_transposed_backward(h, embedding, d_logits, d_h, d_embedding, workers);
  }
};

struct UntiedHead {
  using Config = HeadConfig;

  template <class Scalar>
  struct Params {
    Weight<Scalar> weight;  // [D x V]

    Params() = default;
    Params(const Shape& shape, const Config& config) : weight(shape.width, config.vocabulary) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("weight", Role::matrix, p.weight...);
    }
  };

  /// logits += h W
  template <class Scalar>
  static void apply(const Params<Scalar>& params, const Weight<Scalar>&, const View<Scalar>& h, MutableView<Scalar> logits,
                    Workers& workers) {
    linear(h, params.weight, logits, workers);
  }

  template <class Scalar>
  static void backward(const Params<Scalar>& params, const Matrix<Scalar>&, const View<Scalar>& h,
                       const View<Scalar>& d_logits, MutableView<Scalar> d_h, Params<Scalar>& gradients, Matrix<Scalar>&,
                       Workers& workers) {
    // logits = h W   =>   d_h += d_logits W^T,  d_W += h^T d_logits
    linear_backward(h, params.weight, d_logits, d_h, gradients.weight, workers);
  }
};

/// What turns rows into logits: a head has Config, copyable Params, apply and backward. The embedding that apply is given
/// may be stored in 16 bits.
template <class T>
concept LanguageHead = requires {
  typename T::Config;
  requires std::copyable<typename T::template Params<float>>;
};

}  // namespace heed::inline HEED_ABI
