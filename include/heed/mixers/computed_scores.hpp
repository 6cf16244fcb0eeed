// A = softmax(mask(Q K^T / sqrt(E))),   Q = turn(norm(x W_q + b_q)),   K = turn(norm(x W_k + b_k))
//
//   x [T x D]   W_q [D x H E]   W_k [D x G E]   K [S x E] per kv head, cached   A [T x S] per query head
//   The masks, the positions, and whether there are biases and norms, are options: softmax_scores.hpp.
// Source: Vaswani et al. 2017 (arXiv 1706.03762), eq. 1; rotation: Su et al. 2021 (arXiv 2104.09864).
#pragma once

#include <optional>

#include "softmax_scores.hpp"

namespace heed::inline HEED_ABI {

/// The probabilities are the layer's own. They are formed in tiles, and kept whole only for the heads a layer above reads.
struct ComputedScores {
  static constexpr std::string_view name = "computed scores";
  using consumes = signals<>;
  using publishes = signals<scores, keys>;
  using Config = SoftmaxOptions;

  template <class Scalar>
  struct Params {
    HeadProjection::Params<Scalar> q;  // to [T x H E]
    HeadProjection::Params<Scalar> k;  // to [T x G E]
    Matrix<Scalar> sinks;              // [1 x H], or absent

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : q(shape.width, shape.heads.count, shape.head_width, config.projection()),
          k(shape.width, shape.kv_heads.count, shape.head_width, config.projection()),
          sinks(make_sinks<Scalar>(shape, config)) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      HeadProjection::Params<Scalar>::visit("q", f, p.q...);
      HeadProjection::Params<Scalar>::visit("k", f, p.k...);
      visit_if_present(f, "sinks", Role::coefficient, p.sinks...);
    }
  };

  template <class Scalar>
  struct Cache {
    CachedRows<Scalar> k;

    Cache(const Shape& shape, const Config&, const CacheSize& size) : k(size, shape.kv_heads.count, shape.head_width) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("k", c.k...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config&) {
    return {.per_position = shape.kv_heads.count * shape.head_width};
  }

  static void check(const Shape& shape, const Config& config, std::string_view layer) { config.check(shape, layer); }
  static Index whole_rows(const Config& config) { return config.mask.whole_rows(); }
  /// q k^T
  static Index flops(const Shape& shape, const Config& config, Index keys) {
    return 2 * shape.q_width() * config.seen(keys);
  }

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar> q;
    HeadProjection::Record<Scalar> k;
    std::optional<Computed<Scalar>> operand;
    Scalar* d_k = nullptr;  // [T x G E] where attention here and above adds
  };

  /// Returns the operand that attend turns into probabilities, and publishes the keys, and the probabilities that are
  /// wanted.
  template <class Scalar>
  static Computed<Scalar> apply(const Call<ComputedScores, Scalar>& call, const View<Scalar>& x) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const Index E = shape.head_width;
    MutableView<Scalar> q =
        HeadProjection::apply(config.projection(), params.q, record.q, pass, x, pass.record());  // [T x H E]
    MutableView<Scalar> k =
        HeadProjection::apply(config.projection(), params.k, record.k, pass, x, pass.scratch);  // [T x G E]
    turn(config.positions, pass, E, q);
    turn(config.positions, pass, E, k);

    const auto k_table = outputs.template get<keys>().table;
    record.d_k = publish_rows(cache.k, k_table, pass, view_of(k));
    record.operand.emplace(softmax_operand(call, q, k_table));
    return *record.operand;
  }

  /// o, d_o [T x H E]: what came out of attend, and its gradient. Adds to the gradients of v too.
  template <class Scalar>
  static void backward(const Call<ComputedScores, Scalar>& call, const View<Scalar>& x,
                       const HeadTable<HeadRows<Scalar>>& v, const View<Scalar>& o, const View<Scalar>& d_o,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const Index E = shape.head_width;
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> d_q = pass.scratch.template zeros<Scalar>(x.rows(), params.q.w.cols());             // [T x H E]
    MutableView<Scalar> d_k = mutable_view_of(record.d_k, x.rows(), params.k.w.cols(), params.k.w.cols());  // [T x G E]

    // o = softmax(mask(scale q k^T)) v   =>   d_q, d_k, d_v, d_sinks
    softmax_backward(*record.operand, v, pass, o, d_o, d_q, gradients.sinks);
    // q = turn(q), k = turn(k)   =>   turn back
    turn_backward(config.positions, pass, E, d_k);
    turn_backward(config.positions, pass, E, d_q);
    // q = norm(x w_q + b_q), k = norm(x w_k + b_k)
    HeadProjection::backward(config.projection(), params.k, record.k, pass, x, d_k, d_x, gradients.k);
    HeadProjection::backward(config.projection(), params.q, record.q, pass, x, d_q, d_x, gradients.q);
  }
};

}  // namespace heed::inline HEED_ABI
