// A sixth variant, written outside the library: attention over values that a learned gate mixes with those of the layer
// below.
//
//   V = g V_below + (1 - g) x W_v,   g = 1 / (1 + e^-gate)
//
//   x [T x D]   W_v [D x G E_v]   V, V_below [S x E] per kv head   gate [1 x 1], learned, from 0 on: g = 1/2
//   V_below is what the nearest layer below attended over. The cache keeps the mixed rows, so decoding needs V_below of the
//   new rows only.
#pragma once

#include <cmath>
#include <heed/mixers/attention.hpp>
#include <heed/ops/mix.hpp>

namespace app {

using heed::Index;
using heed::Matrix;
using heed::MutableView;
using heed::View;

/// Where the value rows come from. The scores, the masks, grouped heads and W_o are those of heed::Attention.
struct GatedValues {
  static constexpr std::string_view name = "gated values";
  using consumes = heed::signals<heed::nearest<heed::values>>;
  using publishes = heed::signals<heed::values>;

  struct Config {
    double gate = 0;  // where learning starts

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("gate", config.gate);
    }
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w_v;   // [D x G E_v]
    Matrix<Scalar> gate;  // [1 x 1]

    Params() = default;
    Params(const heed::Shape& shape, const Config& config)
        : w_v(shape.width, shape.v_width()), gate(Matrix<Scalar>::Constant(1, 1, static_cast<Scalar>(config.gate))) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_v", heed::Role::matrix, p.w_v...);
      f("gate", heed::Role::coefficient, p.gate...);
    }
  };

  template <class Scalar>
  struct Cache {
    heed::CachedRows<Scalar> v;

    Cache(const heed::Shape& shape, const Config&, const heed::CacheSize& size)
        : v(size, shape.kv_heads.count, shape.value_width) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("v", c.v...);
    }
  };
  static heed::CachePlan plan(const heed::Shape& shape, const Config&) { return {.per_position = shape.v_width()}; }

  template <class Scalar>
  struct Record {
    const Scalar* v_own = nullptr;  // [T x G E_v] = x W_v
    Scalar* d_v = nullptr;          // [T x G E_v] where attention and readers above add
  };

  template <class Scalar>
  static heed::HeadTable<heed::HeadRows<Scalar>> apply(const heed::Call<GatedValues, Scalar>& call, const View<Scalar>& x) {
    const heed::Pass& pass = call.pass;
    const Index width = call.shape.v_width();
    MutableView<Scalar> v_own = pass.record().zeros<Scalar>(x.rows(), width);  // [T x G E_v]
    MutableView<Scalar> v = pass.scratch.zeros<Scalar>(x.rows(), width);       // [T x G E_v]
    heed::linear(x, call.params.w_v, v_own, pass.workers);
    heed::mix(mixture(call, heed::view_of(v_own)), pass.rows, v, pass.workers);

    const auto table = call.outputs.template get<heed::values>().table;
    call.record.v_own = v_own.data();
    call.record.d_v = heed::publish_rows(call.cache.v, table, pass, heed::view_of(v));
    return table;
  }

  template <class Scalar>
  static void backward(const heed::Call<GatedValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const heed::Pass& pass = call.pass;
    const Index width = call.shape.v_width();
    const View<Scalar> v_own = heed::view_of(call.record.v_own, x.rows(), width, width);
    const View<Scalar> d_v = heed::view_of<Scalar>(call.record.d_v, x.rows(), width, width);
    MutableView<Scalar> d_v_own = pass.scratch.zeros<Scalar>(x.rows(), width);  // [T x G E_v]
    MutableView<Scalar> d_below = pass.scratch.zeros<Scalar>(1, 1), d_own = pass.scratch.zeros<Scalar>(1, 1);
    // v = g v_below + (1 - g) v_own   =>   d_v_below += g d_v,  d_v_own += (1 - g) d_v,  d_g = d_v . (v_below - v_own)
    heed::mix_backward(mixture(call, v_own), pass.rows, d_v, heed::MixGradients<Scalar>{d_below, d_own, d_v_own},
                       pass.scratch, pass.workers);
    // g = 1 / (1 + e^-gate)   =>   d_gate += d_g g (1 - g)
    const Scalar g = open(call.params);
    gradients.gate(0, 0) += (d_below(0, 0) - d_own(0, 0)) * g * (1 - g);
    // v_own = x w_v   =>   d_x += d_v_own w_v^T,  d_w_v += x^T d_v_own
    heed::linear_backward(x, call.params.w_v, d_v_own, d_x, gradients.w_v, pass.workers);
  }

 private:
  template <class Scalar>
  static Scalar open(const Params<Scalar>& params) {
    return 1 / (1 + std::exp(-params.gate(0, 0)));
  }
  // g v_below + (1 - g) v_own
  template <class Scalar>
  static heed::MixInputs<Scalar> mixture(const heed::Call<GatedValues, Scalar>& call, const View<Scalar>& v_own) {
    MutableView<Scalar> g = call.pass.scratch.template matrix<Scalar>(1, 1);
    MutableView<Scalar> rest = call.pass.scratch.template matrix<Scalar>(1, 1);
    g(0, 0) = open(call.params);
    rest(0, 0) = 1 - g(0, 0);
    return {heed::view_of(g), call.inputs.template get<heed::nearest<heed::values>>(), heed::view_of(rest), v_own};
  }
};

using GatedValueAttention = heed::Attention<heed::ComputedScores, GatedValues>;

}  // namespace app
