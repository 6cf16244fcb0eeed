// A = softmax(mask(Q K^T / sqrt(E))),   Q = rotate(x W_q),   K = rotate(x W_k)
//
//   x [T x D]   W_q [D x H E]   W_k [D x G E]   K [S x E] per kv head, cached   A [T x S] per query head
// Source: Vaswani et al. 2017 (arXiv 1706.03762), eq. 1; rotation: Su et al. 2021 (arXiv 2104.09864), half-split pairs.
#pragma once

#include <cmath>
#include <optional>

#include "../ops/attend.hpp"
#include "../ops/linear.hpp"
#include "../ops/rotary.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The probabilities are the layer's own. They are formed in tiles, and kept whole only for the heads a layer above reads.
struct ComputedScores {
  static constexpr std::string_view name = "computed scores";
  using consumes = signals<>;
  using publishes = signals<scores>;

  struct Config {
    Mask mask = causal();
    Rotary positions = {};
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w_q;  // [D x H E]
    Matrix<Scalar> w_k;  // [D x G E]

    Params() = default;
    Params(const Shape& shape, const Config&) : w_q(shape.width, shape.q_width()), w_k(shape.width, shape.kv_width()) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_q", Role::matrix, p.w_q...);
      f("w_k", Role::matrix, p.w_k...);
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
  static CachePlan plan(const Shape& shape, const Config&) { return {.per_position = shape.kv_width()}; }

  static void check(const Shape& shape, const Config&, std::string_view layer) {
    HEED_EXPECTS(ConfigError, shape.head_width % 2 == 0, layer,
                 ": head_width: expected an even number (rotary pairs), found ", shape.head_width);
  }
  static bool sees_ahead(const Config& config) { return config.mask.sees_ahead(); }

  template <class Scalar>
  struct Record {
    std::optional<Computed<Scalar>> operand;
    Scalar* d_k = nullptr;  // [T x G E]
  };

  /// Returns the operand that attend turns into probabilities, and publishes those that are wanted.
  template <class Scalar>
  static Computed<Scalar> apply(const Call<ComputedScores, Scalar>& call, const View<Scalar>& x) {
    const Pass& pass = call.pass;
    const Shape& shape = call.shape;
    MutableView<Scalar> q = pass.record().zeros<Scalar>(x.rows(), shape.q_width());  // [T x H E]
    MutableView<Scalar> k = pass.scratch.zeros<Scalar>(x.rows(), shape.kv_width());  // [T x G E]
    linear(x, call.params.w_q, q, pass.workers);
    linear(x, call.params.w_k, k, pass.workers);
    apply_rotary(call.config.positions, pass.rows, pass.past, shape.head_width, q, pass.workers);
    apply_rotary(call.config.positions, pass.rows, pass.past, shape.head_width, k, pass.workers);

    const auto k_table = call.cache.k.append(pass, view_of(k), pass.record());
    if (pass.training()) {
      MutableView<Scalar> d_k = pass.kept.zeros<Scalar>(x.rows(), shape.kv_width());  // [T x G E]
      set_gradients(k_table, pass, d_k);
      call.record.d_k = d_k.data();
    }

    const Published<scores, Scalar> published = call.outputs.template get<scores>();
    for (Index b = 0; b < pass.sequences(); ++b)
      for (Index h = 0; h < shape.heads.count; ++h)
        if (published.is_wanted(h))
          published.table.at(b, h) =
              Probabilities<Scalar>::make(pass.kept, pass.rows.rows(b), pass.visible(b), call.config.mask,
                                          pass.past[static_cast<std::size_t>(b)], pass.training());

    call.record.operand.emplace(Computed<Scalar>{
        .q = view_of(q),
        .k = k_table,
        .mask = call.config.mask,
        .scale = static_cast<Scalar>(1 / std::sqrt(static_cast<double>(shape.head_width))),
        .log_sum_exp = pass.record().template matrix<Scalar>(x.rows(), shape.heads.count),  // [T x H]
        .probabilities = published.table,
    });
    return *call.record.operand;
  }

  /// o, d_o [T x H E]: what came out of attend, and its gradient. Adds to the gradients of v too.
  template <class Scalar>
  static void backward(const Call<ComputedScores, Scalar>& call, const View<Scalar>& x,
                       const HeadTable<HeadRows<Scalar>>& v, const View<Scalar>& o, const View<Scalar>& d_o,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const Pass& pass = call.pass;
    const Shape& shape = call.shape;
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> d_q = pass.scratch.zeros<Scalar>(x.rows(), shape.q_width());  // [T x H E]
    MutableView<Scalar> d_k = mutable_view_of(call.record.d_k, x.rows(), shape.kv_width(), shape.kv_width());

    // o = softmax(mask(q k^T / sqrt(E))) v   =>   d_q, d_k, d_v
    attend_backward(*call.record.operand, v, pass.rows, o, d_o, d_q, pass.workers);
    // q = rotate(q), k = rotate(k)   =>   rotate back
    apply_rotary_backward(call.config.positions, pass.rows, pass.past, shape.head_width, d_k, pass.workers);
    apply_rotary_backward(call.config.positions, pass.rows, pass.past, shape.head_width, d_q, pass.workers);
    // k = x w_k   =>   d_x += d_k w_k^T,  d_w_k += x^T d_k
    linear_backward(x, call.params.w_k, d_k, d_x, gradients.w_k, pass.workers);
    // q = x w_q   =>   d_x += d_q w_q^T,  d_w_q += x^T d_q
    linear_backward(x, call.params.w_q, d_q, d_x, gradients.w_q, pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
