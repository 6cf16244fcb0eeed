// One mixer of a model of your own, without a stack: its weights, what it keeps between calls, and what it publishes.
//
//   MixerLayer<float, StandardAttention> first(sizes);
//   MixerLayer<float, SharedValueAttention> second(sizes);
//   Workspace work({.sequences = 1, .positions = 64});              // shared by all layers of the model
//   auto first_state = first.make_state(work);
//   auto second_state = second.make_state(work);
//
//   const Pass pass = work.begin(Sequences({rows}));
//   first.apply(pass, x, y, first_state);                                                  // y += mixer(x)
//   second.apply(pass, y, z, second_state, feed<first<values>>(first_state.published<values>()));
//   work.commit();
#pragma once

#include <utility>
#include <vector>

#include "../core/workspace.hpp"
#include "../mixers/initialise.hpp"
#include "../mixers/reach.hpp"
#include "stack_config.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar, class Mixer>
class MixerLayer {
 public:
  using Params = typename Mixer::template Params<Scalar>;
  using Config = typename Mixer::Config;

  /// A mixer on all heads of these sizes. Raises ConfigError if it cannot work with them. `layers` is the depth of your
  /// model, by which the weights that add to the residual stream are scaled.
  explicit MixerLayer(const Sizes& sizes, Config config = {}, std::uint64_t seed = 0, std::string_view layer = "layer",
                      Index layers = 1)
      : shape_(sizes.shape()), config_(std::move(config)) {
    check_config<Mixer>(shape_, config_, layer);
    params = Params(shape_, config_);
    Initialiser{seed, layers, ""}.template run<Mixer>(layer, shape_, config_, params);
  }

  const Shape& shape() const { return shape_; }
  Params make_gradients() const { return zeros_like(params); }

  /// The mixer's cache, record and published signals, for the sequences of one workspace.
  class State {
   public:
    /// What the last call published: feed it to a layer above.
    template <class Signal>
    Published<Signal, Scalar> published() const {
      return Outputs<Scalar, typename Mixer::publishes>(tables_).template get<Signal>();
    }
    Index bytes() const { return cache_.bytes(); }

   private:
    friend class MixerLayer;
    State(const Shape& shape, const Config& config, const CacheSize& size) : cache_(shape, config, size) {}

    typename Mixer::template Cache<Scalar> cache_;
    typename Mixer::template Record<Scalar> record_;
    std::vector<SignalTable> tables_;
    std::vector<std::vector<unsigned char>> wanted_;
  };

  /// Wanted: the published signals that layers above will read, besides values: make_state<scores>(work).
  template <class... Wanted>
  State make_state(const Workspace& work) const {
    CacheSize size{{}, work.timeline.slot_count()};
    for (Index b = 0; b < work.timeline.sequences(); ++b) size.positions.push_back(work.timeline.capacity(b));
    State state(shape_, config_, size);
    for (const SignalInfo& info : signal_infos_of<Mixer, Scalar>(config_)) {
      const bool wanted = info.name == values::name || ((info.name == Wanted::name) || ...);
      state.wanted_.emplace_back(static_cast<std::size_t>(own_heads(info.alignment, shape_).count), wanted);
      state.tables_.emplace_back();
    }
    return state;
  }

  /// y += mixer(x)      x, y [T x D]. fed: one feed<Tap>(...) for every tap the mixer consumes.
  template <class X, class Y, class... Taps>
  void apply(const Pass& pass, const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<Y>& y, State& state,
             const Fed<Taps, Scalar>&... fed) const {
    detail::expects_shape("x", x, pass.rows.rows(), shape_.width);
    detail::expects_shape("y", y, pass.rows.rows(), shape_.width);
    make_tables(pass, state);
    const Arena::Scope scope(pass.scratch);
    Mixer::template apply<Scalar>(call_of(pass, state, fed...), view_of(x), mutable_view_of(y));
  }

  /// The gradient of dot(y, d_y): adds to d_x, to the gradients and to the gradients of what was fed. Layers in reverse
  /// order, with the pass and the states of the forward pass, which was one of training.
  template <class X, class DY, class DX, class... Taps>
  void backward(const Pass& pass, const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<DY>& d_y,
                const Eigen::MatrixBase<DX>& d_x, Params& gradients, State& state, const Fed<Taps, Scalar>&... fed) const {
    HEED_EXPECTS(ShapeError, pass.training(), "backward: expected a pass of Purpose::training, found one of inference");
    detail::expects_shape("x", x, pass.rows.rows(), shape_.width);
    detail::expects_shape("d_y", d_y, pass.rows.rows(), shape_.width);
    detail::expects_shape("d_x", d_x, pass.rows.rows(), shape_.width);
    const Arena::Scope scope(pass.scratch);
    Mixer::template backward<Scalar>(call_of(pass, state, fed...), view_of(x), view_of(d_y), mutable_view_of(d_x),
                                     gradients);
  }

  Params params;

 private:
  template <class... Taps>
  Call<Mixer, Scalar> call_of(const Pass& pass, State& state, const Fed<Taps, Scalar>&... fed) const {
    return {shape_,
            config_,
            params,
            Inputs<Scalar, typename Mixer::consumes>(fed...),
            Outputs<Scalar, typename Mixer::publishes>(state.tables_),
            state.cache_,
            state.record_,
            pass};
  }
  void make_tables(const Pass& pass, State& state) const {
    const std::span<const SignalInfo> infos = signal_infos_of<Mixer, Scalar>(config_);
    for (std::size_t signal = 0; signal < infos.size(); ++signal)
      state.tables_[signal] = make_table(pass.kept, infos[signal], pass.sequences(), state.wanted_[signal]);
  }

  Shape shape_;
  Config config_;
};

}  // namespace heed::inline HEED_ABI
