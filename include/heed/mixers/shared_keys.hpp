// A = softmax(mask(Q K_below^T / sqrt(E))),   Q = turn(norm(x W_q + b_q))
//
//   x [T x D]   W_q [D x H E]   K_below [S x E] per kv head, as the layer that Tap finds cached them: normed and turned
//   No W_k, no K in the cache. Keys come with the positions that they were turned to: Config.positions should be the
//   source's, and so should the norm.
// Source: Brandon et al. 2024 (arXiv 2405.12981), cross-layer attention (CLA), section 3: the first layer of a group
// computes keys, the others of the group share them.
#pragma once

#include <optional>

#include "softmax_scores.hpp"

namespace heed::inline HEED_ABI {

/// The probabilities compare the layer's own queries with the keys of a layer below: the nearest that has some, which is
/// the first of the group, because this publishes none.
template <class Tap = nearest<keys>>
struct SharedKeys {
  static constexpr std::string_view name = "shared keys";
  using consumes = signals<Tap>;
  using publishes = signals<scores>;
  using Config = SoftmaxOptions;

  template <class Scalar>
  struct Params {
    HeadProjection::Params<Scalar> q;  // to [T x H E]
    Matrix<Scalar> sinks;              // [1 x H], or absent

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : q(shape.width, shape.heads.count, shape.head_width, config.projection()),
          sinks(make_sinks<Scalar>(shape, config)) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      HeadProjection::Params<Scalar>::visit("q", f, p.q...);
      visit_if_present(f, "sinks", Role::coefficient, p.sinks...);
    }
  };

  template <class Scalar>
  using Cache = NoCache;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  static void check(const Shape& shape, const Config& config, std::string_view layer) { config.check(shape, layer); }
  static Index whole_rows(const Config& config) { return config.mask.whole_rows(); }
  /// q k^T
  static Index flops(const Shape& shape, const Config& config, Index keys) {
    return 2 * shape.q_width() * config.seen(keys);
  }

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar> q;
    std::optional<Computed<Scalar>> operand;
  };

  /// Returns the operand that attend turns into probabilities, and publishes those that are wanted.
  template <class Scalar>
  static Computed<Scalar> apply(const Call<SharedKeys, Scalar>& call, const View<Scalar>& x) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    MutableView<Scalar> q =
        HeadProjection::apply(config.projection(), params.q, record.q, pass, x, pass.record());  // [T x H E]
    turn(config.positions, pass, shape.head_width, q);
    record.operand.emplace(softmax_operand(call, q, inputs.template get<Tap>()));
    return *record.operand;
  }

  /// o, d_o [T x H E]: what came out of attend, and its gradient. Adds to the gradients of k_below and of v too.
  template <class Scalar>
  static void backward(const Call<SharedKeys, Scalar>& call, const View<Scalar>& x, const HeadTable<HeadRows<Scalar>>& v,
                       const View<Scalar>& o, const View<Scalar>& d_o, MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> d_q = pass.scratch.template zeros<Scalar>(x.rows(), params.q.w.cols());  // [T x H E]

    // o = softmax(mask(scale q k_below^T)) v   =>   d_q, d_k_below where the keys were computed, d_v, d_sinks
    softmax_backward(*record.operand, v, pass, o, d_o, d_q, gradients.sinks);
    // q = turn(q)   =>   turn back
    turn_backward(config.positions, pass, shape.head_width, d_q);
    // q = norm(x w_q + b_q)
    HeadProjection::backward(config.projection(), params.q, record.q, pass, x, d_q, d_x, gradients.q);
  }
};

}  // namespace heed::inline HEED_ABI
