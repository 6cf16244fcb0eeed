// The two numbers of v = l_first v_first + l_own v_own: chosen or learned, for a whole layer or for every kv head.
//
// A policy of ResidualValues is a struct with
//   name, consumes         a readable name; what it reads besides the first values
//   Config                 what is chosen
//   Params<Scalar>         what is learned: Params(shape, config) and visit
//   check(shape, config, layer)                    (optional)
//   get(call, scratch)     the coefficients, [1 x 1], [1 x G] or [T x G]
//   gradients(call, gradients, scratch)            where to add theirs
//   backward(call, d_l, gradients)                 (optional) on to what the coefficients are made of
// where call has shape, config, params, inputs: a CoefficientCall.
#pragma once

#include <vector>

#include "../core/config_numbers.hpp"
#include "mixer.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct MixCoefficients {
  View<Scalar> first;  // [1 x 1], [1 x G] or [T x G]
  View<Scalar> own;
};
template <class Scalar>
struct MixCoefficientGradients {
  MutableView<Scalar> first;  // as those of the coefficients
  MutableView<Scalar> own;
};

/// What a policy is asked with.
template <class Coefficients, class Scalar>
struct CoefficientCall {
  const Shape& shape;
  const typename Coefficients::Config& config;
  const typename Coefficients::template Params<Scalar>& params;
  Inputs<Scalar, typename Coefficients::consumes> inputs;
};

/// One pair for the layer, chosen. (1/2, 1/2) is the Identity-ResFormer of Zhou et al. 2024, (2, 1) their
/// Constant-ResFormer, (5, 1) a layer of their Sparse-ResFormer.
struct Fixed {
  static constexpr std::string_view name = "residual values";
  using consumes = signals<>;

  struct Config {
    double from_first = 0.5;
    double from_own = 0.5;

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("from_first", config.from_first);
      f("from_own", config.from_own);
    }
  };

  template <class Scalar>
  using Params = NoParams;

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_number(layer, "from_first", config.from_first);
    detail::expects_number(layer, "from_own", config.from_own);
  }

  template <class Scalar>
  static MixCoefficients<Scalar> get(const CoefficientCall<Fixed, Scalar>& call, Arena& scratch) {
    MutableView<Scalar> both = scratch.matrix<Scalar>(2, 1);
    both(0, 0) = static_cast<Scalar>(call.config.from_first);
    both(1, 0) = static_cast<Scalar>(call.config.from_own);
    return {rows_of(view_of(both), 0, 1), rows_of(view_of(both), 1, 1)};
  }
  /// Nobody's.
  template <class Scalar>
  static MixCoefficientGradients<Scalar> gradients(const CoefficientCall<Fixed, Scalar>&, Params<Scalar>&, Arena& scratch) {
    return {scratch.zeros<Scalar>(1, 1), scratch.zeros<Scalar>(1, 1)};
  }
};

/// One pair for every kv head, chosen.
struct FixedPerHead {
  static constexpr std::string_view name = "residual values per head";
  using consumes = signals<>;

  struct Config {
    std::vector<double> from_first = {};  // [G], of the kv heads that are the mixer's own
    std::vector<double> from_own = {};

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("from_first", config.from_first);
      f("from_own", config.from_own);
    }
  };

  template <class Scalar>
  using Params = NoParams;

  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    const auto expects = [&](const char* name, const std::vector<double>& numbers) {
      HEED_EXPECTS(ConfigError, static_cast<Index>(numbers.size()) == shape.kv_heads.count, layer, ": ", name,
                   ": expected one number for each of ", shape.kv_heads.count, " kv heads, found ", numbers.size());
      for (const double number : numbers) detail::expects_number(layer, name, number);
    };
    expects("from_first", config.from_first);
    expects("from_own", config.from_own);
  }

  template <class Scalar>
  static MixCoefficients<Scalar> get(const CoefficientCall<FixedPerHead, Scalar>& call, Arena& scratch) {
    const Index G = call.shape.kv_heads.count;
    MutableView<Scalar> both = scratch.matrix<Scalar>(2, G);
    for (Index g = 0; g < G; ++g) {
      both(0, g) = static_cast<Scalar>(call.config.from_first[static_cast<std::size_t>(g)]);
      both(1, g) = static_cast<Scalar>(call.config.from_own[static_cast<std::size_t>(g)]);
    }
    return {rows_of(view_of(both), 0, 1), rows_of(view_of(both), 1, 1)};
  }
  /// Nobody's.
  template <class Scalar>
  static MixCoefficientGradients<Scalar> gradients(const CoefficientCall<FixedPerHead, Scalar>& call, Params<Scalar>&,
                                                   Arena& scratch) {
    const Index G = call.shape.kv_heads.count;
    return {scratch.zeros<Scalar>(1, G), scratch.zeros<Scalar>(1, G)};
  }
};

/// Learned from Config on: one pair for the layer, or one for every kv head.
enum class Sharing { layer, head };

template <Sharing sharing>
struct LearnedCoefficients {
  static constexpr std::string_view name =
      sharing == Sharing::layer ? "learned residual values" : "learned residual values per head";
  using consumes = signals<>;

  struct Config {  // where learning starts
    double from_first = 0.5;
    double from_own = 0.5;

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("from_first", config.from_first);
      f("from_own", config.from_own);
    }
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> from_first;  // [1 x 1] for the layer, [1 x G] by head
    Matrix<Scalar> from_own;

    Params() = default;
    Params(const Shape& shape, const Config& config) {
      const Index count = sharing == Sharing::layer ? 1 : shape.kv_heads.count;
      from_first.setConstant(1, count, static_cast<Scalar>(config.from_first));
      from_own.setConstant(1, count, static_cast<Scalar>(config.from_own));
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("from_first", Role::coefficient, p.from_first...);
      f("from_own", Role::coefficient, p.from_own...);
    }
  };

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_number(layer, "from_first", config.from_first);
    detail::expects_number(layer, "from_own", config.from_own);
  }

  template <class Scalar>
  static MixCoefficients<Scalar> get(const CoefficientCall<LearnedCoefficients, Scalar>& call, Arena&) {
    return {view_of(call.params.from_first), view_of(call.params.from_own)};
  }
  template <class Scalar>
  static MixCoefficientGradients<Scalar> gradients(const CoefficientCall<LearnedCoefficients, Scalar>&,
                                                   Params<Scalar>& gradients, Arena&) {
    return {mutable_view_of(gradients.from_first), mutable_view_of(gradients.from_own)};
  }
};

using Learned = LearnedCoefficients<Sharing::layer>;
using LearnedPerHead = LearnedCoefficients<Sharing::head>;

}  // namespace heed::inline HEED_ABI
