// out = norm(A V) w
//
//   head    every head's E_v features are normalised by themselves, with one weight [1 x E_v] that the heads share
//   whole   all H E_v features are normalised together, with a weight [1 x H E_v]
// Source: RMSNorm over all features, beside a recurrence's, before one W_o: Dong et al. 2024 (arXiv 2411.13676), Hymba,
// section 2.1; per head: Sun et al. 2023 (arXiv 2307.08621), RetNet, eq. 8, with RMS in place of a group norm.
#pragma once

#include <array>
#include <string_view>
#include <utility>
#include "../core/config_numbers.hpp"
#include "../ops/rms_norm.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// The output of attention is normalised before W_o.
struct NormedOutput {
  static constexpr std::string_view name = "normed output";
  using consumes = signals<>;
  using publishes = signals<>;

  enum class Over { head, whole };
  friend constexpr std::array<std::pair<std::string_view, Over>, 2> value_names(Over) {
    return {{{"head", Over::head}, {"whole", Over::whole}}};
  }
  struct Config {
    Over over = Over::whole;
    double epsilon = 1e-5;

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("over", config.over);
      f("epsilon", config.epsilon);
    }
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> o_norm;  // [1 x H E_v] whole, [1 x E_v] per head

    Params() = default;
    Params(const Shape& shape, const Config& config) {
      o_norm.setOnes(1, config.over == Over::whole ? shape.o_width() : shape.value_width);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("o_norm", Role::norm, p.o_norm...);
    }
  };
  template <class Scalar>
  using Cache = NoCache;
  template <class Scalar>
  using Record = NoRecord;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_epsilon(layer, "epsilon", config.epsilon);
  }
  static Index scratch_per_row(const Shape& shape, const Config&) { return 2 * shape.o_width(); }

  template <class Scalar>
  static View<Scalar> apply(const Call<NormedOutput, Scalar>& call, const HeadTable<HeadRows<Scalar>>&,
                            const View<Scalar>& o) {
    const Pass& pass = call.pass;
    const Index width = call.params.o_norm.cols();
    MutableView<Scalar> out = pass.record().matrix<Scalar>(o.rows(), o.cols());  // [T x H E_v]
    rms_norm(regrouped(o, width), call.params.o_norm, call.config.epsilon, regrouped(out, width), pass.workers);
    return view_of(out);
  }
  template <class Scalar>
  static View<Scalar> backward(const Call<NormedOutput, Scalar>& call, const HeadTable<HeadRows<Scalar>>&,
                               const View<Scalar>& o, const View<Scalar>& d_out, Params<Scalar>& gradients) {
    const Pass& pass = call.pass;
    const Index width = call.params.o_norm.cols();
    MutableView<Scalar> d_o = pass.scratch.zeros<Scalar>(o.rows(), o.cols());  // [T x H E_v]
    // out = norm(o) w   =>   d_o, d_w
    rms_norm_backward(regrouped(o, width), call.params.o_norm, call.config.epsilon, regrouped(d_out, width),
                      regrouped(d_o, width), gradients.o_norm, pass.scratch, pass.workers);
    return view_of(d_o);
  }
};

}  // namespace heed::inline HEED_ABI
