// l_first of every layer, learned together: l = scale softmax(logits), one number for each of n layers
//
//   logits, l [1 x n]   scale [1 x 1]
// A CoefficientHolder at the bottom of the stack has logits and scale and publishes l; layer number r of those that read it
// is Attention<Scores, ResidualValues<SharedSoftmax>> with Config.reader = r, and takes l_r. Its l_own is its own.
// Source: Zhou et al. 2024 (arXiv 2410.17897, version 5), Learnable-ResFormer-Plus: scale starts at the number of layers,
// l_own at 1/2. Where the logits start is not in the text we have: zero, or rising from layer to layer, is a choice.
#pragma once

#include "../core/config_numbers.hpp"
#include "../ops/scaled_softmax.hpp"
#include "mix_coefficients.hpp"
#include "reach.hpp"

namespace heed::inline HEED_ABI {

/// A layer that adds nothing to the rows: it publishes learned numbers for the layers above. As a block it needs no norm
/// and no feed-forward: Block<CoefficientHolder, NoFeedForward, NoNorm>.
struct CoefficientHolder {
  static constexpr std::string_view name = "coefficient holder";
  using consumes = signals<>;
  using publishes = signals<coefficients>;

  struct Config {
    Index readers = 1;  // n: the layers that read
    double scale = 0;   // where it starts; 0: n + 1, the layers of the stack if all but the first read
    double slope = 0;   // logit r starts at slope (r + 1)

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("readers", config.readers);
      f("scale", config.scale);
      f("slope", config.slope);
    }
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> logits;  // [1 x n]
    Matrix<Scalar> scale;   // [1 x 1]

    Params() = default;
    Params(const Shape&, const Config& config) : logits(1, config.readers) {
      for (Index r = 0; r < config.readers; ++r)
        logits(0, r) = static_cast<Scalar>(config.slope * static_cast<double>(r + 1));
      const double start = config.scale == 0 ? static_cast<double>(config.readers + 1) : config.scale;
      scale.setConstant(1, 1, static_cast<Scalar>(start));
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("logits", Role::coefficient, p.logits...);
      f("scale", Role::coefficient, p.scale...);
    }
  };
  template <class Scalar>
  using Cache = NoCache;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  template <class Scalar>
  struct Record {
    const Scalar* p = nullptr;    // [1 x n] softmax(logits)
    const Scalar* d_l = nullptr;  // [1 x n] where readers add
  };

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_size(layer, "readers", config.readers, 1);
    detail::expects_number(layer, "scale", config.scale);
    detail::expects_number(layer, "slope", config.slope * static_cast<double>(config.readers));
  }
  static void count_published(std::string_view, Alignment alignment, const Shape& shape, const Config& config,
                              std::span<Index> counts) {
    count_own(alignment, shape, config.readers, counts);
  }
  static Index kept_per_row(const Shape&, const Config& config) { return 2 * config.readers; }

  template <class Scalar>
  static void apply(const Call<CoefficientHolder, Scalar>& call, const View<Scalar>&, MutableView<Scalar>) {
    const auto& [shape, config, params, inputs, outputs, cache, record, pass] = call;
    const Index n = config.readers;
    MutableView<Scalar> p = pass.record().template matrix<Scalar>(1, n);
    MutableView<Scalar> l = pass.kept.template matrix<Scalar>(1, n);
    scaled_softmax(view_of(params.logits), params.scale(0, 0), p, l);
    Scalar* d_l = pass.training() ? pass.kept.template zeros<Scalar>(1, n).data() : nullptr;
    record.p = p.data();
    record.d_l = d_l;
    const auto table = outputs.template get<coefficients>().table;
    for (Index b = 0; b < table.sequences; ++b) table.at(b, 0) = {l.data(), d_l, 1, n, n, n};
  }

  template <class Scalar>
  static void backward(const Call<CoefficientHolder, Scalar>& call, const View<Scalar>&, const View<Scalar>&,
                       MutableView<Scalar>, Params<Scalar>& gradients) {
    const Index n = call.config.readers;
    // l = scale softmax(logits)   =>   d_scale, d_logits, once for all readers
    scaled_softmax_backward(view_of(call.record.p, 1, n, n), call.params.scale(0, 0), view_of(call.record.d_l, 1, n, n),
                            mutable_view_of(gradients.logits), mutable_view_of(gradients.scale));
  }
};

/// l_first is number `reader` of a holder below, l_own is learned, one for the layer.
struct SharedSoftmax {
  static constexpr std::string_view name = "residual values of a shared softmax";
  using consumes = signals<first<coefficients>>;

  struct Config {
    Index reader = 0;       // 0 for the lowest layer that reads, and so on
    double from_own = 0.5;  // where learning starts

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("reader", config.reader);
      f("from_own", config.from_own);
    }
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> from_own;  // [1 x 1]

    Params() = default;
    Params(const Shape&, const Config& config)
        : from_own(Matrix<Scalar>::Constant(1, 1, static_cast<Scalar>(config.from_own))) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("from_own", Role::coefficient, p.from_own...);
    }
  };

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_size(layer, "reader", config.reader, 0);
    detail::expects_number(layer, "from_own", config.from_own);
  }
  static void check_read(const TapInfo& tap, Alignment, const Shape&, const Config& config, std::span<const Index> counts,
                         std::string_view layer) {
    if (tap.signal != coefficients::name) return;
    HEED_EXPECTS(ConfigError, counts[0] == unsaid || config.reader < counts[0], layer,
                 ": reader: expected a number below the ", counts[0], " readers of the coefficient holder, found ",
                 config.reader);
  }

  template <class Scalar>
  static MixCoefficients<Scalar> get(const CoefficientCall<SharedSoftmax, Scalar>& call, Arena&) {
    return {view_of(held(call).data + call.config.reader, 1, 1, 1), view_of(call.params.from_own)};
  }
  template <class Scalar>
  static MixCoefficientGradients<Scalar> gradients(const CoefficientCall<SharedSoftmax, Scalar>& call,
                                                   Params<Scalar>& gradients, Arena&) {
    return {mutable_view_of(held(call).gradient + call.config.reader, 1, 1, 1), mutable_view_of(gradients.from_own)};
  }

 private:
  // A stack has checked this while it was built, unless the holder left it unsaid; a layer by itself is fed in calls.
  template <class Scalar>
  static HeadRows<Scalar> held(const CoefficientCall<SharedSoftmax, Scalar>& call) {
    const HeadRows<Scalar> numbers = call.inputs.template get<first<coefficients>>().at(0, 0);
    HEED_EXPECTS(ConfigError, call.config.reader < numbers.width, "reader: expected a number below the ", numbers.width,
                 " readers of the coefficient holder, found ", call.config.reader);
    return numbers;
  }
};

}  // namespace heed::inline HEED_ABI
