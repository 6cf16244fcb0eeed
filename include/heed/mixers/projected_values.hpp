// V = x W_v
//
//   x [T x D]   W_v [D x G E_v]   V [S x E_v] per kv head, cached
// Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2; grouped heads: Ainslie et al. 2023 (arXiv 2305.13245).
#pragma once

#include "../ops/linear.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The values are a projection of the layer's own input.
struct ProjectedValues {
  static constexpr std::string_view name = "projected values";
  using consumes = signals<>;
  using publishes = signals<values>;

  struct Config {};

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w_v;  // [D x G E_v]

    Params() = default;
    Params(const Shape& shape, const Config&) : w_v(shape.width, shape.v_width()) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_v", Role::matrix, p.w_v...);
    }
  };

  template <class Scalar>
  struct Cache {
    CachedRows<Scalar> v;

    Cache(const Shape& shape, const Config&, const CacheSize& size) : v(size, shape.kv_heads.count, shape.value_width) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("v", c.v...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config&) { return {.per_position = shape.v_width()}; }

  template <class Scalar>
  struct Record {
    Scalar* d_v = nullptr;  // [T x G E_v] where attention and readers above add
  };

  /// Returns the visible value rows [S x E_v] of every (sequence, kv head) and publishes them.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<ProjectedValues, Scalar>& call, const View<Scalar>& x) {
    const Pass& pass = call.pass;
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> v = pass.scratch.zeros<Scalar>(x.rows(), call.shape.v_width());  // [T x G E_v]
    linear(x, call.params.w_v, v, pass.workers);

    const auto table = call.outputs.template get<values>().table;
    call.cache.v.append_to(table, pass, view_of(v));
    if (pass.training()) {
      MutableView<Scalar> d_v = pass.kept.zeros<Scalar>(x.rows(), call.shape.v_width());  // [T x G E_v]
      set_gradients(table, pass, d_v);
      call.record.d_v = d_v.data();
    }
    return table;
  }

  template <class Scalar>
  static void backward(const Call<ProjectedValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const Index width = call.shape.v_width();
    const View<Scalar> d_v = view_of(static_cast<const Scalar*>(call.record.d_v), x.rows(), width, width);  // [T x G E_v]
    // v = x w_v   =>   d_x += d_v w_v^T,  d_w_v += x^T d_v
    linear_backward(x, call.params.w_v, d_v, d_x, gradients.w_v, call.pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
