// y += (A V) W_o + b_o,   A = softmax(Q K^T / sqrt(E)),   Q = norm(x W_q + b_q),   K = norm(m W_k + b_k),   V = m W_v + b_v
//
//   x [T x D]   m [S_m x D_m], the memory of the sequence   W_q [D x H E]   W_k [D_m x G E]   W_v [D_m x G E_v]
//   A [T x S_m] per query head   W_o [H E_v x D]
//
// Every row sees the whole memory; there are no positions. K and V are formed in the call that brings a sequence its first
// rows, and cached: later calls need no memory, and what they are given is not read. The cache does not grow.
// Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.3, encoder-decoder attention.
#pragma once

#include <cmath>
#include <optional>

#include "../ops/attend_scratch.hpp"
#include "memory_projection.hpp"
#include "reach.hpp"
#include "softmax_scores.hpp"

namespace heed::inline HEED_ABI {

struct CrossAttention {
  static constexpr std::string_view name = "cross attention";
  using consumes = signals<first<memory>>;
  using publishes = signals<>;

  struct Config {
    Index memory_positions = 0;  // rows that a memory may have: 1 or more
    Index memory_width = 0;      // D_m; 0: D
    bool biases = false;         // of all four projections
    QueryKeyNorm query_key_norm = QueryKeyNorm::none;
    double norm_epsilon = 1e-6;
    double scale = 0;                       // of the products; 0: 1 / sqrt(E)
    double soft_cap = 0;                    // of the scaled products; 0: none
    bool sinks = false;                     // one learned logit for each query head, from 0 on: softmax_scores.hpp
    Precision precision = Precision::full;  // of the products of float, in forward: ops/precision.hpp

    Index width_of_memory(const Shape& shape) const { return memory_width == 0 ? shape.width : memory_width; }
    HeadProjection::Config comparing() const { return {biases, query_key_norm, norm_epsilon}; }  // queries and keys
    HeadProjection::Config values() const { return {.biases = biases}; }

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("memory_positions", config.memory_positions);
      f("memory_width", config.memory_width);
      f("biases", config.biases);
      f("query_key_norm", config.query_key_norm);
      f("norm_epsilon", config.norm_epsilon);
      f("scale", config.scale);
      f("soft_cap", config.soft_cap);
      f("sinks", config.sinks);
      f("precision", config.precision);
    }
  };

  template <class Scalar>
  struct Params {
    HeadProjection::Params<Scalar> q;  // to [T x H E]
    HeadProjection::Params<Scalar> k;  // to [S_m x G E]
    Matrix<Scalar> sinks;              // [1 x H], or absent
    HeadProjection::Params<Scalar> v;  // to [S_m x G E_v]
    Weight<Scalar> w_o;                // [H E_v x D]
    Matrix<Scalar> b_o;                // [1 x D], or absent

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : q(shape.width, shape.heads.count, shape.head_width, config.comparing()),
          k(config.width_of_memory(shape), shape.kv_heads.count, shape.head_width, config.comparing()),
          sinks(make_sinks<Scalar>(shape, config)),
          v(config.width_of_memory(shape), shape.kv_heads.count, shape.value_width, config.values()),
          w_o(shape.o_width(), shape.width) {
      if (config.biases) b_o.setZero(1, shape.width);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      HeadProjection::Params<Scalar>::visit("q", f, p.q...);
      HeadProjection::Params<Scalar>::visit("k", f, p.k...);
      visit_if_present(f, "sinks", Role::coefficient, p.sinks...);
      HeadProjection::Params<Scalar>::visit("v", f, p.v...);
      f("w_o", Role::output, p.w_o...);
      visit_if_present(f, "b_o", Role::bias, p.b_o...);
    }
  };

  template <class Scalar>
  struct Cache {
    CachedMemory<Scalar> k;  // [S_m x E] per (sequence, kv head)
    CachedMemory<Scalar> v;  // [S_m x E_v]

    Cache(const Shape& shape, const Config& config, const CacheSize& size)
        : k(size, config.memory_positions, shape.kv_heads.count, shape.head_width),
          v(size, config.memory_positions, shape.kv_heads.count, shape.value_width) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("k", c.k...);
      f("v", c.v...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) {
    return {.per_sequence = config.memory_positions * (shape.k_width() + shape.v_width())};
  }

  static void check(const Shape&, const Config& config, std::string_view layer) {
    HEED_EXPECTS(ConfigError, config.memory_positions >= 1, layer,
                 ": memory_positions: expected 1 or more (how many rows a memory may have), found ",
                 config.memory_positions);
    detail::expects_size(layer, "memory_positions", config.memory_positions, 1);
    detail::expects_size(layer, "memory_width", config.memory_width, 0);
    detail::expects_epsilon(layer, "norm_epsilon", config.norm_epsilon);
    detail::expects_number(layer, "scale", config.scale);
    detail::expects_soft_cap(layer, config.soft_cap);
  }
  /// q k^T and A V over a whole memory; its projections are of the first call, and of no other
  static Index flops(const Shape& shape, const Config& config, Index) {
    return 2 * config.memory_positions * (shape.q_width() + shape.o_width()) -
           2 * config.width_of_memory(shape) * (shape.k_width() + shape.v_width());
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    const std::size_t of_attend =
        attend_scratch_bytes<Scalar>(size.sequences, size.rows, config.memory_positions, shape.heads.count,
                                     shape.kv_heads.count, shape.head_width, shape.value_width, config.precision);
    return (std::max)({of_attend, MemoryProjection::job_bytes<Scalar>(config.memory_positions, shape.k_width()),
                       MemoryProjection::job_bytes<Scalar>(config.memory_positions, shape.v_width())});
  }

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar> q;
    MemoryProjection::Record<Scalar> k;
    MemoryProjection::Record<Scalar> v;
    std::optional<Computed<Scalar>> operand;
    const Scalar* o = nullptr;  // [T x H E_v]
  };

  template <class Scalar>
  static void apply(const Call<CrossAttention, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const auto m = inputs.template get<first<memory>>();  // per sequence [S_m x D_m]
    MemoryProjection::check(params.k, cache.k, pass, m);

    const Index heads = shape.kv_heads.count;
    const auto k = MemoryProjection::apply(config.comparing(), params.k, cache.k, record.k, pass, m, heads);
    const auto v = MemoryProjection::apply(config.values(), params.v, cache.v, record.v, pass, m, heads);
    const MutableView<Scalar> q =
        HeadProjection::apply(config.comparing(), params.q, record.q, pass, x, pass.record());  // [T x H E]
    const double scale = config.scale == 0 ? 1 / std::sqrt(static_cast<double>(shape.head_width)) : config.scale;
    record.operand.emplace(Computed<Scalar>{
        .q = view_of(q),
        .k = k,
        .mask = bidirectional(),
        .scale = static_cast<Scalar>(scale),
        .log_sum_exp = pass.record().template matrix<Scalar>(x.rows(), shape.heads.count),  // [T x H]
        .probabilities = {},
        .soft_cap = static_cast<Scalar>(config.soft_cap),
        .sinks = config.sinks ? params.sinks.data() : nullptr,
        .precision = config.precision,
    });
    MutableView<Scalar> o = pass.record().template zeros<Scalar>(x.rows(), shape.o_width());  // [T x H E_v]
    attend(*record.operand, v, pass.rows, o, pass.workers);
    linear(o, params.w_o, y, pass.workers);
    if (config.biases) add_bias(params.b_o, y, pass.workers);
    record.o = o.data();
  }

  template <class Scalar>
  static void backward(const Call<CrossAttention, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const auto m = inputs.template get<first<memory>>();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> o = view_of(record.o, x.rows(), shape.o_width(), shape.o_width());      // [T x H E_v]
    MutableView<Scalar> d_o = pass.scratch.template zeros<Scalar>(x.rows(), shape.o_width());  // [T x H E_v]
    MutableView<Scalar> d_q = pass.scratch.template zeros<Scalar>(x.rows(), shape.q_width());  // [T x H E]
    // y += o w_o + b_o   =>   d_b_o += sum_t d_y,  d_o += d_y w_o^T,  d_w_o += o^T d_y
    if (config.biases) add_bias_backward(d_y, gradients.b_o, pass.scratch, pass.workers);
    linear_backward(o, params.w_o, d_y, d_o, gradients.w_o, pass.workers);
    // o = softmax(scale q k^T) v   =>   d_q, d_k, d_v, d_sinks
    softmax_backward(*record.operand, record.v.rows, pass, o, view_of(d_o), d_q, gradients.sinks);
    // q = norm(x w_q + b_q), k = norm(m w_k + b_k), v = m w_v + b_v
    HeadProjection::backward(config.comparing(), params.q, record.q, pass, x, d_q, d_x, gradients.q);
    MemoryProjection::backward(config.values(), params.v, record.v, pass, m, gradients.v);
    MemoryProjection::backward(config.comparing(), params.k, record.k, pass, m, gradients.k);
  }
};

}  // namespace heed::inline HEED_ABI
