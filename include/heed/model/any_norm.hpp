// A norm chosen at run time: one virtual call, everything behind it the typed norm.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "../core/held.hpp"
#include "../mixers/initialise.hpp"
#include "../mixers/reach.hpp"
#include "norm.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct AnyNorm {
  class Erased;

  struct Config {
    std::shared_ptr<const Erased> norm;
  };

  struct AnyParams : detail::HeldParams<Scalar> {
    AnyParams() = default;
    AnyParams(const Shape& shape, const Config& config) : detail::HeldParams<Scalar>(config.norm->make_params(shape)) {}
  };
  template <class S>
  using Params = AnyParams;

  /// A norm with its config, behind virtual functions.
  class Erased : public detail::Chosen {
   public:
    virtual void check(const Shape& shape, std::string_view layer) const = 0;
    virtual detail::HeldParams<Scalar> make_params(const Shape& shape) const = 0;
    virtual void initialise(const Shape& shape, AnyParams& params, const Initialiser& initialiser) const = 0;
    virtual void apply(const AnyParams& params, const View<Scalar>& x, MutableView<Scalar> y, Workers& workers) const = 0;
    virtual void backward(const AnyParams& params, const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x,
                          AnyParams& gradients, Arena& scratch, Workers& workers) const = 0;
  };

  template <class Norm>
  class Typed final : public Erased {
   public:
    explicit Typed(typename Norm::Config config) : config_(std::move(config)) {}

    void check(const Shape& shape, std::string_view layer) const override { check_config<Norm>(shape, config_, layer); }
    detail::HeldParams<Scalar> make_params(const Shape& shape) const override {
      return detail::HeldParams<Scalar>::template make<TypedParams>(shape, config_);
    }
    void initialise(const Shape& shape, AnyParams& params, const Initialiser& initialiser) const override {
      initialiser.run_here<Norm>(shape, config_, params.template as<TypedParams>());
    }
    void apply(const AnyParams& params, const View<Scalar>& x, MutableView<Scalar> y, Workers& workers) const override {
      Norm::template apply<Scalar>(config_, params.template as<TypedParams>(), x, y, workers);
    }
    void backward(const AnyParams& params, const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x,
                  AnyParams& gradients, Arena& scratch, Workers& workers) const override {
      Norm::template backward<Scalar>(config_, params.template as<TypedParams>(), x, d_y, d_x,
                                      gradients.template as<TypedParams>(), scratch, workers);
    }
    const char* type() const override { return &detail::type_key<Norm>; }

   private:
    using TypedParams = typename Norm::template Params<Scalar>;
    const void* config() const override { return &config_; }

    typename Norm::Config config_;
  };

  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    HEED_EXPECTS(ConfigError, config.norm != nullptr, layer, ": expected a norm, found none");
    config.norm->check(shape, layer);
  }
  static void initialise(const Shape& shape, const Config& config, AnyParams& params, const Initialiser& initialiser) {
    config.norm->initialise(shape, params, initialiser);
  }
  template <class S>
  static void apply(const Config& config, const AnyParams& params, const View<S>& x, MutableView<S> y, Workers& workers) {
    config.norm->apply(params, x, y, workers);
  }
  template <class S>
  static void backward(const Config& config, const AnyParams& params, const View<S>& x, const View<S>& d_y,
                       MutableView<S> d_x, AnyParams& gradients, Arena& scratch, Workers& workers) {
    config.norm->backward(params, x, d_y, d_x, gradients, scratch, workers);
  }
};

/// A norm and its config, before the scalar is known: choose_norm<LayerNorm>({.epsilon = 1e-12}).
template <class Norm>
struct NormChoice {
  typename Norm::Config config;

  template <class Scalar>
  typename AnyNorm<Scalar>::Config erased_norm() const {
    return {std::make_shared<typename AnyNorm<Scalar>::template Typed<Norm>>(config)};
  }
};
template <class Norm>
NormChoice<Norm> choose_norm(typename Norm::Config config = {}) {
  return {std::move(config)};
}

}  // namespace heed::inline HEED_ABI
