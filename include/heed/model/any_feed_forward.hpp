// A feed-forward chosen at run time: one virtual call, everything behind it the typed feed-forward.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "../core/held.hpp"
#include "../mixers/initialise.hpp"
#include "feed_forward.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct AnyFeedForward {
  class Erased;

  struct Config {
    std::shared_ptr<const Erased> feed_forward;
  };

  struct AnyParams : detail::HeldParams<Scalar> {
    AnyParams() = default;
    AnyParams(const Shape& shape, const Config& config)
        : detail::HeldParams<Scalar>(config.feed_forward->make_params(shape)) {}
  };
  struct AnyRecord {
    detail::Held held;
  };
  template <class S>
  using Params = AnyParams;
  template <class S>
  using Record = AnyRecord;

  /// A feed-forward with its config, behind virtual functions.
  class Erased : public detail::Chosen {
   public:
    virtual bool is_absent() const = 0;
    virtual detail::HeldParams<Scalar> make_params(const Shape& shape) const = 0;
    virtual detail::Held make_record() const = 0;
    virtual void initialise(const Shape& shape, AnyParams& params, const Initialiser& initialiser) const = 0;
    virtual void apply(const AnyParams& params, AnyRecord& record, const Pass& pass, const View<Scalar>& x,
                       MutableView<Scalar> y) const = 0;
    virtual void backward(const AnyParams& params, const AnyRecord& record, const Pass& pass, const View<Scalar>& x,
                          const View<Scalar>& d_y, MutableView<Scalar> d_x, AnyParams& gradients) const = 0;
  };

  template <class FeedForwardType>
  class Typed final : public Erased {
   public:
    explicit Typed(typename FeedForwardType::Config config) : config_(std::move(config)) {}

    bool is_absent() const override { return heed::is_absent<FeedForwardType>(config_); }
    detail::HeldParams<Scalar> make_params(const Shape& shape) const override {
      return detail::HeldParams<Scalar>::template make<TypedParams>(shape, config_);
    }
    detail::Held make_record() const override { return detail::Held::make<TypedRecord>(); }
    void initialise(const Shape& shape, AnyParams& params, const Initialiser& initialiser) const override {
      initialiser.run_here<FeedForwardType>(shape, config_, params.template as<TypedParams>());
    }
    void apply(const AnyParams& params, AnyRecord& record, const Pass& pass, const View<Scalar>& x,
               MutableView<Scalar> y) const override {
      FeedForwardType::template apply<Scalar>(config_, params.template as<TypedParams>(),
                                              record.held.template as<TypedRecord>(), pass, x, y);
    }
    void backward(const AnyParams& params, const AnyRecord& record, const Pass& pass, const View<Scalar>& x,
                  const View<Scalar>& d_y, MutableView<Scalar> d_x, AnyParams& gradients) const override {
      FeedForwardType::template backward<Scalar>(config_, params.template as<TypedParams>(),
                                                 record.held.template as<TypedRecord>(), pass, x, d_y, d_x,
                                                 gradients.template as<TypedParams>());
    }
    const char* type() const override { return &detail::type_key<FeedForwardType>; }

   private:
    using TypedParams = typename FeedForwardType::template Params<Scalar>;
    using TypedRecord = typename FeedForwardType::template Record<Scalar>;
    const void* config() const override { return &config_; }

    typename FeedForwardType::Config config_;
  };

  static bool is_absent(const Config& config) { return config.feed_forward->is_absent(); }
  static void check(const Shape&, const Config& config, std::string_view layer) {
    HEED_EXPECTS(ConfigError, config.feed_forward != nullptr, layer,
                 ": expected a feed-forward (or NoFeedForward), found none");
  }
  static void prepare_record(const Config& config, AnyRecord& record) { record.held = config.feed_forward->make_record(); }
  static void initialise(const Shape& shape, const Config& config, AnyParams& params, const Initialiser& initialiser) {
    config.feed_forward->initialise(shape, params, initialiser);
  }
  template <class S>
  static void apply(const Config& config, const AnyParams& params, AnyRecord& record, const Pass& pass, const View<S>& x,
                    MutableView<S> y) {
    config.feed_forward->apply(params, record, pass, x, y);
  }
  template <class S>
  static void backward(const Config& config, const AnyParams& params, const AnyRecord& record, const Pass& pass,
                       const View<S>& x, const View<S>& d_y, MutableView<S> d_x, AnyParams& gradients) {
    config.feed_forward->backward(params, record, pass, x, d_y, d_x, gradients);
  }
};

/// A feed-forward and its config, before the scalar is known: choose_feed_forward<GeGlu>({.biases = true}).
template <class FeedForwardType>
struct FeedForwardChoice {
  typename FeedForwardType::Config config;

  template <class Scalar>
  typename AnyFeedForward<Scalar>::Config erased_feed_forward() const {
    return {std::make_shared<typename AnyFeedForward<Scalar>::template Typed<FeedForwardType>>(config)};
  }
};
template <class FeedForwardType>
FeedForwardChoice<FeedForwardType> choose_feed_forward(typename FeedForwardType::Config config = {}) {
  return {std::move(config)};
}

}  // namespace heed::inline HEED_ABI
