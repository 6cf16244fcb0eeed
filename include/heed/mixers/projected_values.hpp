// V = x W_v + b_v
//
//   x [T x D]   W_v [D x G E_v]   b_v [1 x G E_v]   V [S x E_v] per kv head, cached
// Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2; grouped heads: Ainslie et al. 2023 (arXiv 2305.13245).
#pragma once

#include "head_projection.hpp"
#include "mixer.hpp"
#include "value_cache.hpp"

namespace heed::inline HEED_ABI {

/// The values are a projection of the layer's own input.
struct ProjectedValues {
  static constexpr std::string_view name = "projected values";
  using consumes = signals<>;
  using publishes = signals<values>;

  struct Config {
    bool biases = false;  // b_v

    HeadProjection::Config projection() const { return {.biases = biases}; }

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("biases", config.biases);
    }
  };

  template <class Scalar>
  struct Params {
    HeadProjection::Params<Scalar> v;  // to [T x G E_v]

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : v(shape.width, shape.kv_heads.count, shape.value_width, config.projection()) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      HeadProjection::Params<Scalar>::visit("v", f, p.v...);
    }
  };

  template <class Scalar>
  using Cache = ValueCache<Scalar>;
  static CachePlan plan(const Shape& shape, const Config&) { return {.per_position = shape.v_width()}; }

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar> projection;
    Scalar* d_v = nullptr;  // [T x G E_v] where attention and readers above add
  };

  /// Returns the visible value rows [S x E_v] of every (sequence, kv head) and publishes them.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<ProjectedValues, Scalar>& call, const View<Scalar>& x) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> v =
        HeadProjection::apply(config.projection(), params.v, record.projection, pass, x, pass.scratch);  // [T x G E_v]
    const auto table = outputs.template get<values>().table;
    record.d_v = publish_rows(cache.v, table, pass, view_of(v));
    return table;
  }

  template <class Scalar>
  static void backward(const Call<ProjectedValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const MutableView<Scalar> d_v = mutable_view_of(record.d_v, x.rows(), shape.v_width(), shape.v_width());  // [T x G E_v]
    // v = x w_v + b_v   =>   d_x += d_v w_v^T,  d_w_v += x^T d_v,  d_b_v += sum_t d_v
    HeadProjection::backward(config.projection(), params.v, record.projection, pass, x, d_v, d_x, gradients.v);
  }
};

}  // namespace heed::inline HEED_ABI
