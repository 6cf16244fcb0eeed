// V = l_first V_first + l_own x W_v
//
//   x [T x D]   W_v [D x G E_v]   V_first [S x E_v] per kv head, as the lowest layer published it
//   The cache keeps the mixed rows, so decoding needs V_first of the new positions only.
// Source: Zhou et al. 2024 (arXiv 2410.17897), ResFormer: eq. 7 with l_first = l_own = 1/2 fixed, and the form in which
// both coefficients are learned for each layer, from 1/2 on.
#pragma once

#include "../ops/linear.hpp"
#include "../ops/mix.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The coefficients of a residual value.
template <class Scalar>
struct MixCoefficients {
  Scalar from_first;
  Scalar from_own;
};

/// The coefficients are chosen, not learned.
struct Fixed {
  static constexpr std::string_view name = "residual values";

  struct Config {
    double from_first = 0.5;
    double from_own = 0.5;
  };

  template <class Scalar>
  struct Params : NoParams {
    Params() = default;
    explicit Params(const Config&) {}
  };

  template <class Scalar>
  static MixCoefficients<Scalar> get(const Config& config, const Params<Scalar>&) {
    return {static_cast<Scalar>(config.from_first), static_cast<Scalar>(config.from_own)};
  }
  template <class Scalar>
  static void backward(const MixGradients<Scalar>&, Params<Scalar>&) {}
};

/// The coefficients are learned, one pair for the layer.
struct Learned {
  static constexpr std::string_view name = "learned residual values";

  struct Config {  // where learning starts
    double from_first = 0.5;
    double from_own = 0.5;
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> from_first;  // [1 x 1]
    Matrix<Scalar> from_own;    // [1 x 1]

    Params() = default;
    explicit Params(const Config& config)
        : from_first(Matrix<Scalar>::Constant(1, 1, static_cast<Scalar>(config.from_first))),
          from_own(Matrix<Scalar>::Constant(1, 1, static_cast<Scalar>(config.from_own))) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("from_first", Role::coefficient, p.from_first...);
      f("from_own", Role::coefficient, p.from_own...);
    }
  };

  template <class Scalar>
  static MixCoefficients<Scalar> get(const Config&, const Params<Scalar>& params) {
    return {params.from_first(0, 0), params.from_own(0, 0)};
  }
  template <class Scalar>
  static void backward(const MixGradients<Scalar>& d_l, Params<Scalar>& gradients) {
    gradients.from_first(0, 0) += d_l.first;
    gradients.from_own(0, 0) += d_l.own;
  }
};

/// The values are the layer's own, mixed with those of the first layer that publishes some.
template <class Coefficients = Fixed>
struct ResidualValues {
  static constexpr std::string_view name = Coefficients::name;
  using consumes = signals<first<values>>;
  using publishes = signals<values>;

  using Config = typename Coefficients::Config;

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w_v;  // [D x G E_v]
    typename Coefficients::template Params<Scalar> coefficients;

    Params() = default;
    Params(const Shape& shape, const Config& config) : w_v(shape.width, shape.v_width()), coefficients(config) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_v", Role::matrix, p.w_v...);
      heed::visit(f, p.coefficients...);
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
    const Scalar* v_own = nullptr;  // [T x G E_v]
    Scalar* d_v = nullptr;          // [T x G E_v] where attention and readers above add
  };

  /// Returns the visible mixed rows [S x E_v] of every (sequence, kv head) and publishes them.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<ResidualValues, Scalar>& call, const View<Scalar>& x) {
    const Pass& pass = call.pass;
    const Index width = call.shape.v_width();
    MutableView<Scalar> v_own = pass.record().zeros<Scalar>(x.rows(), width);  // [T x G E_v]
    linear(x, call.params.w_v, v_own, pass.workers);

    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> v = pass.scratch.matrix<Scalar>(x.rows(), width);  // [T x G E_v]
    const auto l = Coefficients::get(call.config, call.params.coefficients);
    mix(l.from_first, call.inputs.template get<first<values>>(), l.from_own, view_of(v_own), pass.rows, v, pass.workers);

    const auto table = call.outputs.template get<values>().table;
    call.cache.v.append_to(table, pass, view_of(v));
    call.record.v_own = v_own.data();
    if (pass.training()) {
      MutableView<Scalar> d_v = pass.kept.zeros<Scalar>(x.rows(), width);  // [T x G E_v]
      set_gradients(table, pass, d_v);
      call.record.d_v = d_v.data();
    }
    return table;
  }

  template <class Scalar>
  static void backward(const Call<ResidualValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const Pass& pass = call.pass;
    const Index width = call.shape.v_width();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> v_own = view_of(call.record.v_own, x.rows(), width, width);                          // [T x G E_v]
    const View<Scalar> d_v = view_of(static_cast<const Scalar*>(call.record.d_v), x.rows(), width, width);  // [T x G E_v]
    MutableView<Scalar> d_v_own = pass.scratch.zeros<Scalar>(x.rows(), width);                              // [T x G E_v]
    const auto l = Coefficients::get(call.config, call.params.coefficients);
    // v = l_first v_first + l_own v_own   =>   d_v_own += l_own d_v,  d_v_first += l_first d_v,  d_l_first, d_l_own
    const auto d_l = mix_backward(l.from_first, call.inputs.template get<first<values>>(), l.from_own, v_own, pass.rows,
                                  d_v, d_v_own, pass.scratch, pass.workers);
    Coefficients::backward(d_l, gradients.coefficients);
    // v_own = x w_v   =>   d_x += d_v_own w_v^T,  d_w_v += x^T d_v_own
    linear_backward(x, call.params.w_v, d_v_own, d_x, gradients.w_v, pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
