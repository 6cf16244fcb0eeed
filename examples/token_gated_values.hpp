// A source of values whose mix with the first layer's depends on the row and the head:
//
//   V = V_own + a V_first      a = scale / (1 + e^-(x W_a))
//
//   x [T x D]   W_a [D x G]   a [T x G], one number for every row and kv head   V_own = x W_v, V_first [T x G E_v]
// With scale 2 and W_a at zero it starts as V_own + V_first.
// Source: the gates of SATFormer (arXiv 2605.03953, a sigmoid among them) and of modded-nanogpt.
#pragma once

#include <cmath>
#include <heed/mixers/attention.hpp>
#include <heed/ops/mix.hpp>

namespace app {

using heed::Index;
using heed::Matrix;
using heed::MutableView;
using heed::View;

struct TokenGatedValues {
  static constexpr std::string_view name = "token-gated values";
  using consumes = heed::signals<heed::first<heed::values>>;
  using publishes = heed::signals<heed::values>;

  struct Config {
    double scale = 1;  // of the gate
    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("scale", config.scale);
    }
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w_v;  // [D x G E_v]
    Matrix<Scalar> w_a;  // [D x G]

    Params() = default;
    Params(const heed::Shape& shape, const Config&)
        : w_v(shape.width, shape.v_width()), w_a(shape.width, shape.kv_heads.count) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_v", heed::Role::matrix, p.w_v...);
      f("w_a", heed::Role::matrix, p.w_a...);
    }
  };

  template <class Scalar>
  using Cache = heed::ValueCache<Scalar>;
  static heed::CachePlan plan(const heed::Shape& shape, const Config&) { return {.per_position = shape.v_width()}; }

  template <class Scalar>
  struct Record {
    const Scalar* v_own = nullptr;  // [T x G E_v]
    const Scalar* a = nullptr;      // [T x G]
    Scalar* d_v = nullptr;          // [T x G E_v] where attention and readers above add
  };

  template <class Scalar>
  static heed::HeadTable<heed::HeadRows<Scalar>> apply(const heed::Call<TokenGatedValues, Scalar>& call,
                                                       const View<Scalar>& x) {
    const heed::Pass& pass = call.pass;
    const Index width = call.shape.v_width(), G = call.shape.kv_heads.count;
    MutableView<Scalar> v_own = pass.record().zeros<Scalar>(x.rows(), width);  // [T x G E_v]
    MutableView<Scalar> a = pass.record().zeros<Scalar>(x.rows(), G);          // [T x G]
    MutableView<Scalar> v = pass.scratch.zeros<Scalar>(x.rows(), width);       // [T x G E_v]
    heed::linear(x, call.params.w_v, v_own, pass.workers);
    heed::linear(x, call.params.w_a, a, pass.workers);
    for (Index i = 0; i < a.size(); ++i) a.data()[i] = scale(call) / (1 + std::exp(-a.data()[i]));
    call.record.v_own = v_own.data();
    call.record.a = a.data();
    heed::mix(mixture(call, x.rows()), pass.rows, v, pass.workers);
    const auto table = call.outputs.template get<heed::values>().table;
    call.record.d_v = heed::publish_rows(call.cache.v, table, pass, heed::view_of(v));
    return table;
  }

  template <class Scalar>
  static void backward(const heed::Call<TokenGatedValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const heed::Pass& pass = call.pass;
    const Index width = call.shape.v_width(), G = call.shape.kv_heads.count;
    const View<Scalar> d_v = heed::view_of<Scalar>(call.record.d_v, x.rows(), width, width);
    MutableView<Scalar> d_v_own = pass.scratch.zeros<Scalar>(x.rows(), width);  // [T x G E_v]
    MutableView<Scalar> d_a = pass.scratch.zeros<Scalar>(x.rows(), G);          // [T x G]
    MutableView<Scalar> d_one = pass.scratch.zeros<Scalar>(1, 1);               // nobody's
    // v = v_own + a v_first   =>   d_v_own += d_v,  d_v_first += a d_v,  d_a += d_v . v_first
    heed::mix_backward(mixture(call, x.rows()), pass.rows, d_v, heed::MixGradients<Scalar>{d_a, d_one, d_v_own},
                       pass.scratch, pass.workers);
    // a = scale / (1 + e^-z)   =>   d_z = d_a a (1 - a / scale)
    for (Index i = 0; i < d_a.size(); ++i) d_a.data()[i] *= call.record.a[i] * (1 - call.record.a[i] / scale(call));
    // z = x w_a,  v_own = x w_v
    heed::linear_backward(x, call.params.w_a, d_a, d_x, gradients.w_a, pass.workers);
    heed::linear_backward(x, call.params.w_v, d_v_own, d_x, gradients.w_v, pass.workers);
  }

 private:
  template <class Scalar>
  static Scalar scale(const heed::Call<TokenGatedValues, Scalar>& call) {
    return static_cast<Scalar>(call.config.scale);
  }
  // 1 v_own + a v_first
  template <class Scalar>
  static heed::MixInputs<Scalar> mixture(const heed::Call<TokenGatedValues, Scalar>& call, Index rows) {
    const Index width = call.shape.v_width(), G = call.shape.kv_heads.count;
    MutableView<Scalar> one = call.pass.scratch.template matrix<Scalar>(1, 1);
    one(0, 0) = 1;
    return {heed::view_of(call.record.a, rows, G, G), call.inputs.template get<heed::first<heed::values>>(),
            heed::view_of(one), heed::view_of(call.record.v_own, rows, width, width)};
  }
};

using TokenGatedAttention = heed::Attention<heed::ComputedScores, TokenGatedValues>;

}  // namespace app
