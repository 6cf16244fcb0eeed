// A mixer chosen at run time: one virtual call per layer, everything behind it the typed mixer.
//
// AnyMixer<Scalar> has the companions of a mixer, each holding the typed one; its Config holds the mixer itself. So a Block
// of it, and two of them SideBySide, work like any other.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/held.hpp"
#include "in_parallel.hpp"
#include "initialise.hpp"
#include "side_by_side.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct AnyMixer {
  using consumes = runtime_signals;
  using publishes = runtime_signals;

  class Erased;

  struct Config {
    std::shared_ptr<const Erased> mixer;
  };

  struct AnyParams : detail::HeldParams<Scalar> {
    AnyParams() = default;
    AnyParams(const Shape& shape, const Config& config) : detail::HeldParams<Scalar>(config.mixer->make_params(shape)) {}
  };

  struct AnyCache {
    std::shared_ptr<const Erased> mixer;
    detail::Held held;

    AnyCache(const Shape& shape, const Config& config, const CacheSize& size)
        : mixer(config.mixer), held(mixer->make_cache(shape, size)) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      const std::array<std::vector<NamedLeaf>, sizeof...(C)> lists{c.mixer->leaves(c.held)...};
      visit_lists(f, lists, std::index_sequence_for<C...>(), c...);
    }

   private:
    template <class F, class Lists, std::size_t... I, class... C>
    static void visit_lists(F& f, const Lists& lists, std::index_sequence<I...>, C&...) {
      for (std::size_t t = 0; t < lists[0].size(); ++t)
        f(std::string_view(lists[0][t].name), detail::like<C>(*lists[I][t].leaf)...);
    }
  };

  struct AnyRecord {
    detail::Held held;
  };

  template <class S>
  using Params = AnyParams;
  template <class S>
  using Cache = AnyCache;
  template <class S>
  using Record = AnyRecord;
  using AnyCall = Call<AnyMixer, Scalar>;

  /// A mixer with its config, behind virtual functions.
  class Erased : public detail::Chosen {
   public:
    virtual LayerSignals signals() const = 0;
    virtual std::span<const SignalInfo> infos() const = 0;
    virtual std::string describe() const = 0;
    virtual void check(const Shape& shape, std::string_view layer) const = 0;
    virtual Index whole_rows() const = 0;
    virtual Index flops(const Shape& shape, Index keys) const = 0;
    virtual Index scratch_per_row(const Shape& shape) const = 0;
    virtual Index kept_per_row(const Shape& shape) const = 0;
    virtual std::size_t job_bytes(const Shape& shape, const CallSize& size) const = 0;
    virtual CachePlan plan(const Shape& shape) const = 0;
    virtual void mark_published(std::string_view signal, Alignment alignment, const Shape& shape,
                                std::span<unsigned char> heads) const = 0;
    virtual void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape,
                           std::span<unsigned char> heads) const = 0;
    virtual void count_published(std::string_view signal, Alignment alignment, const Shape& shape,
                                 std::span<Index> counts) const = 0;
    virtual void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, std::span<const Index> counts,
                            std::string_view layer) const = 0;
    virtual detail::HeldParams<Scalar> make_params(const Shape& shape) const = 0;
    virtual detail::Held make_cache(const Shape& shape, const CacheSize& size) const = 0;
    virtual detail::Held make_record() const = 0;
    virtual std::vector<NamedLeaf> leaves(const detail::Held& cache) const = 0;
    virtual void initialise(const Shape& shape, AnyParams& params, const Initialiser& initialiser) const = 0;
    virtual void apply(const AnyCall& call, const View<Scalar>& x, MutableView<Scalar> y) const = 0;
    virtual void backward(const AnyCall& call, const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x,
                          AnyParams& gradients) const = 0;
  };

  template <class Mixer>
  class Typed final : public Erased {
   public:
    explicit Typed(typename Mixer::Config config) : config_(std::move(config)) {
      if constexpr (std::same_as<typename Mixer::consumes, runtime_signals>)
        lists_ = Mixer::template lists<Scalar>(config_);
    }

    LayerSignals signals() const override {
      if constexpr (std::same_as<typename Mixer::consumes, runtime_signals>)
        return {lists_.taps, lists_.names};
      else
        return signals_of<Mixer>(config_);
    }
    std::span<const SignalInfo> infos() const override {
      if constexpr (std::same_as<typename Mixer::consumes, runtime_signals>)
        return lists_.infos;
      else
        return signal_infos_of<Mixer, Scalar>(config_);
    }
    std::string describe() const override { return heed::describe<Mixer>(config_); }
    void check(const Shape& shape, std::string_view layer) const override { check_config<Mixer>(shape, config_, layer); }
    Index whole_rows() const override { return heed::whole_rows<Mixer>(config_); }
    Index flops(const Shape& shape, Index keys) const override { return heed::flops<Mixer>(shape, config_, keys); }
    Index scratch_per_row(const Shape& shape) const override { return heed::scratch_per_row<Mixer>(shape, config_); }
    Index kept_per_row(const Shape& shape) const override { return heed::kept_per_row<Mixer>(shape, config_); }
    std::size_t job_bytes(const Shape& shape, const CallSize& size) const override {
      return heed::job_bytes<Mixer, Scalar>(shape, config_, size);
    }
    CachePlan plan(const Shape& shape) const override { return Mixer::plan(shape, config_); }
    void mark_published(std::string_view signal, Alignment alignment, const Shape& shape,
                        std::span<unsigned char> heads) const override {
      heed::mark_published<Mixer>(signal, alignment, shape, config_, heads);
    }
    void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape,
                   std::span<unsigned char> heads) const override {
      heed::mark_read<Mixer>(tap, alignment, shape, config_, heads);
    }
    void count_published(std::string_view signal, Alignment alignment, const Shape& shape,
                         std::span<Index> counts) const override {
      heed::count_published<Mixer>(signal, alignment, shape, config_, counts);
    }
    void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, std::span<const Index> counts,
                    std::string_view layer) const override {
      heed::check_read<Mixer>(tap, alignment, shape, config_, counts, layer);
    }
    detail::HeldParams<Scalar> make_params(const Shape& shape) const override {
      return detail::HeldParams<Scalar>::template make<TypedParams>(shape, config_);
    }
    detail::Held make_cache(const Shape& shape, const CacheSize& size) const override {
      return detail::Held::make<TypedCache>(shape, config_, size);
    }
    detail::Held make_record() const override {
      detail::Held record = detail::Held::make<TypedRecord>();
      heed::prepare_record<Mixer>(config_, record.as<TypedRecord>());
      return record;
    }
    std::vector<NamedLeaf> leaves(const detail::Held& cache) const override { return leaves_of(cache.as<TypedCache>()); }
    void initialise(const Shape& shape, AnyParams& params, const Initialiser& initialiser) const override {
      initialiser.run_here<Mixer>(shape, config_, params.template as<TypedParams>());
    }
    void apply(const AnyCall& call, const View<Scalar>& x, MutableView<Scalar> y) const override {
      Mixer::template apply<Scalar>(typed(call), x, y);
    }
    void backward(const AnyCall& call, const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x,
                  AnyParams& gradients) const override {
      Mixer::template backward<Scalar>(typed(call), x, d_y, d_x, gradients.template as<TypedParams>());
    }

    const char* type() const override { return &detail::type_key<Mixer>; }

   private:
    const void* config() const override { return &config_; }

    using TypedParams = typename Mixer::template Params<Scalar>;
    using TypedCache = typename Mixer::template Cache<Scalar>;
    using TypedRecord = typename Mixer::template Record<Scalar>;

    Call<Mixer, Scalar> typed(const AnyCall& call) const {
      return {call.shape,
              config_,
              call.params.template as<TypedParams>(),
              Inputs<Scalar, typename Mixer::consumes>(call.inputs.tables()),
              Outputs<Scalar, typename Mixer::publishes>(call.outputs.tables()),
              call.cache.held.template as<TypedCache>(),
              call.record.held.template as<TypedRecord>(),
              call.pass};
    }

    typename Mixer::Config config_;
    RuntimeLists lists_;
  };

  static LayerSignals signals(const Config& config) { return config.mixer->signals(); }
  template <class S>
  static std::span<const SignalInfo> infos(const Config& config) {
    return config.mixer->infos();
  }
  static std::string describe(const Config& config) { return config.mixer->describe(); }
  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    HEED_EXPECTS(ConfigError, config.mixer != nullptr, layer, ": expected a mixer, found none");
    config.mixer->check(shape, layer);
  }
  static Index whole_rows(const Config& config) { return config.mixer->whole_rows(); }
  static Index flops(const Shape& shape, const Config& config, Index keys) { return config.mixer->flops(shape, keys); }
  static Index scratch_per_row(const Shape& shape, const Config& config) { return config.mixer->scratch_per_row(shape); }
  static Index kept_per_row(const Shape& shape, const Config& config) { return config.mixer->kept_per_row(shape); }
  template <class S>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    return config.mixer->job_bytes(shape, size);
  }
  static CachePlan plan(const Shape& shape, const Config& config) { return config.mixer->plan(shape); }
  static void mark_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                             std::span<unsigned char> heads) {
    config.mixer->mark_published(signal, alignment, shape, heads);
  }
  static void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                        std::span<unsigned char> heads) {
    config.mixer->mark_read(tap, alignment, shape, heads);
  }
  static void count_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                              std::span<Index> counts) {
    config.mixer->count_published(signal, alignment, shape, counts);
  }
  static void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                         std::span<const Index> counts, std::string_view layer) {
    config.mixer->check_read(tap, alignment, shape, counts, layer);
  }
  static void prepare_record(const Config& config, AnyRecord& record) { record.held = config.mixer->make_record(); }
  static void initialise(const Shape& shape, const Config& config, AnyParams& params, const Initialiser& initialiser) {
    config.mixer->initialise(shape, params, initialiser);
  }
  template <class S>
  static void apply(const AnyCall& call, const View<Scalar>& x, MutableView<Scalar> y) {
    call.config.mixer->apply(call, x, y);
  }
  template <class S>
  static void backward(const AnyCall& call, const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x,
                       AnyParams& gradients) {
    call.config.mixer->backward(call, x, d_y, d_x, gradients);
  }
};

/// A mixer and its config, before the scalar is known: choose<StandardAttention>({.scores = {.mask = window(64)}}).
template <class Mixer>
struct Choice {
  typename Mixer::Config config;

  template <class Scalar>
  typename AnyMixer<Scalar>::Config erased() const {
    return {std::make_shared<typename AnyMixer<Scalar>::template Typed<Mixer>>(config)};
  }
};
template <class Mixer>
Choice<Mixer> choose(typename Mixer::Config config = {}) {
  return {std::move(config)};
}

/// Two choices on one layer.
template <class First, class Second, class Division>
struct PairChoice {
  template <class Scalar>
  using Pair = MixerPair<AnyMixer<Scalar>, AnyMixer<Scalar>, Division>;

  First first;
  Second second;
  Index second_kv_heads = HeadSplit::half;

  template <class Scalar>
  typename AnyMixer<Scalar>::Config erased() const {
    typename Pair<Scalar>::Config config{.first = first.template erased<Scalar>(),
                                         .second = second.template erased<Scalar>()};
    if constexpr (std::same_as<Division, HeadSplit>) config.second_kv_heads = second_kv_heads;
    return {std::make_shared<typename AnyMixer<Scalar>::template Typed<Pair<Scalar>>>(std::move(config))};
  }
};
/// On disjoint heads.
template <class First, class Second>
PairChoice<First, Second, HeadSplit> choose_side_by_side(First first, Second second,
                                                         Index second_kv_heads = HeadSplit::half) {
  return {std::move(first), std::move(second), second_kv_heads};
}
/// Each on all heads.
template <class First, class Second>
PairChoice<First, Second, AllHeads> choose_in_parallel(First first, Second second) {
  return {std::move(first), std::move(second)};
}

}  // namespace heed::inline HEED_ABI
