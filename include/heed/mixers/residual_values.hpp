// V = l_first V_first + l_own (x W_v + b_v)
//
//   x [T x D]   W_v [D x G E_v]   b_v [1 x G E_v]   V_first [S x E_v] per kv head, as the lowest layer published it
//   The cache keeps the mixed rows, so decoding needs V_first of the new positions only.
// Source: Zhou et al. 2024 (arXiv 2410.17897), ResFormer: eq. 7 with l_first = l_own = 1/2, and the forms with other
// numbers and with learned ones: mix_coefficients.hpp, shared_softmax.hpp.
#pragma once

#include "../ops/mix.hpp"
#include "head_projection.hpp"
#include "mix_coefficients.hpp"
#include "reach.hpp"
#include "value_cache.hpp"

namespace heed::inline HEED_ABI {

/// The values are the layer's own, mixed with those of the first layer that publishes some.
template <class Coefficients = Fixed>
struct ResidualValues {
  static constexpr std::string_view name = Coefficients::name;
  using consumes = join<signals<first<values>>, typename Coefficients::consumes>;
  using publishes = signals<values>;

  struct Config {
    typename Coefficients::Config coefficients = {};
    bool biases = false;  // b_v

    HeadProjection::Config projection() const { return {.biases = biases}; }

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("coefficients", config.coefficients);
      f("biases", config.biases);
    }
  };

  template <class Scalar>
  struct Params {
    HeadProjection::Params<Scalar> v;  // to [T x G E_v]
    typename Coefficients::template Params<Scalar> coefficients;

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : v(shape.width, shape.kv_heads.count, shape.value_width, config.projection()),
          coefficients(shape, config.coefficients) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      HeadProjection::Params<Scalar>::visit("v", f, p.v...);
      heed::visit(f, p.coefficients...);
    }
  };

  template <class Scalar>
  using Cache = ValueCache<Scalar>;
  static CachePlan plan(const Shape& shape, const Config&) { return {.per_position = shape.v_width()}; }

  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    if constexpr (requires { Coefficients::check(shape, config.coefficients, layer); })
      Coefficients::check(shape, config.coefficients, layer);
  }
  static void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                         std::span<const Index> counts, std::string_view layer) {
    heed::check_read<Coefficients>(tap, alignment, shape, config.coefficients, counts, layer);
  }

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar> projection;
    const Scalar* v_own = nullptr;  // [T x G E_v]
    Scalar* d_v = nullptr;          // [T x G E_v] where attention and readers above add
  };

  /// Returns the visible mixed rows [S x E_v] of every (sequence, kv head) and publishes them.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<ResidualValues, Scalar>& call, const View<Scalar>& x) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    MutableView<Scalar> v_own =
        HeadProjection::apply(config.projection(), params.v, record.projection, pass, x, pass.record());  // [T x G E_v]
    record.v_own = v_own.data();

    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> v = pass.scratch.template matrix<Scalar>(x.rows(), shape.v_width());  // [T x G E_v]
    const MixCoefficients<Scalar> l = Coefficients::template get<Scalar>(coefficients_of(call), pass.scratch);
    mix<Scalar>({l.first, inputs.template get<first<values>>(), l.own, view_of(v_own)}, pass.rows, v, pass.workers);

    const auto table = outputs.template get<values>().table;
    record.d_v = publish_rows(cache.v, table, pass, view_of(v));
    return table;
  }

  template <class Scalar>
  static void backward(const Call<ResidualValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const Index width = shape.v_width();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> v_own = view_of(record.v_own, x.rows(), width, width);                          // [T x G E_v]
    const View<Scalar> d_v = view_of(static_cast<const Scalar*>(record.d_v), x.rows(), width, width);  // [T x G E_v]
    MutableView<Scalar> d_v_own = pass.scratch.template zeros<Scalar>(x.rows(), width);                // [T x G E_v]
    const auto of = coefficients_of(call);
    const MixCoefficients<Scalar> l = Coefficients::template get<Scalar>(of, pass.scratch);
    const auto d_l = Coefficients::template gradients<Scalar>(of, gradients.coefficients, pass.scratch);
    // v = l_first v_first + l_own v_own   =>   d_v_own += l_own d_v,  d_v_first += l_first d_v,  d_l_first, d_l_own
    mix_backward<Scalar>({l.first, inputs.template get<first<values>>(), l.own, v_own}, pass.rows, d_v,
                         {d_l.first, d_l.own, d_v_own}, pass.scratch, pass.workers);
    if constexpr (requires { Coefficients::template backward<Scalar>(of, d_l, gradients.coefficients); })
      Coefficients::template backward<Scalar>(of, d_l, gradients.coefficients);
    // v_own = x w_v + b_v   =>   d_x += d_v_own w_v^T,  d_w_v += x^T d_v_own,  d_b_v += sum_t d_v_own
    HeadProjection::backward(config.projection(), params.v, record.projection, pass, x, d_v_own, d_x, gradients.v);
  }

 private:
  template <class Scalar>
  static CoefficientCall<Coefficients, Scalar> coefficients_of(const Call<ResidualValues, Scalar>& call) {
    return {call.shape, call.config.coefficients, call.params.coefficients,
            Inputs<Scalar, typename Coefficients::consumes>(call.inputs)};
  }
};

}  // namespace heed::inline HEED_ABI
