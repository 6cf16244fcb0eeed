// out = A V + lambda (V_first - V)       at the new rows
//
//   V_first, V [S x E_v] per kv head: the values of the lowest layer that publishes some, and those that this layer attends
//   over, mixed if its values are. With grouped heads every query head of a group gets the difference of its kv head.
// Source: Nguyen, Nguyen and Baraniuk 2023 (arXiv 2312.00751), NeuTRENO; in this form Zhou et al. 2024 (arXiv 2410.17897),
// eq. 8, with lambda = 0.4 for language models, 0.2 together with residual values.
#pragma once

#include "../core/config_numbers.hpp"
#include "../ops/value_difference.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The output of attention is pulled back to the first layer's values.
struct Neutreno : Stateless {
  static constexpr std::string_view name = "NeuTRENO";
  using consumes = signals<first<values>>;
  using publishes = signals<>;

  struct Config {
    double lambda = 0.4;

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("lambda", config.lambda);
    }
  };

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_number(layer, "lambda", config.lambda);
  }
  static Index scratch_per_row(const Shape& shape, const Config&) { return shape.o_width(); }

  template <class Scalar>
  static View<Scalar> apply(const Call<Neutreno, Scalar>& call, const HeadTable<HeadRows<Scalar>>& v,
                            const View<Scalar>& o) {
    const Pass& pass = call.pass;
    MutableView<Scalar> out = pass.record().matrix<Scalar>(o.rows(), o.cols());  // [T x H E_v]
    add_value_difference(difference(call, v), pass.rows, o, out, pass.workers);
    return view_of(out);
  }
  /// out = o + lambda (v_first - v)   =>   d_o = d_out,  d_v_first += lambda d_out,  d_v -= lambda d_out
  template <class Scalar>
  static View<Scalar> backward(const Call<Neutreno, Scalar>& call, const HeadTable<HeadRows<Scalar>>& v,
                               const View<Scalar>&, const View<Scalar>& d_out, Params<Scalar>&) {
    add_value_difference_backward(difference(call, v), call.pass.rows, d_out, call.pass.workers);
    return d_out;
  }

 private:
  template <class Scalar>
  static ValueDifference<Scalar> difference(const Call<Neutreno, Scalar>& call, const HeadTable<HeadRows<Scalar>>& v) {
    return {static_cast<Scalar>(call.config.lambda), call.inputs.template get<first<values>>(), v};
  }
};

}  // namespace heed::inline HEED_ABI
