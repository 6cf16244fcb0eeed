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

#include <algorithm>
#include <utility>
#include <vector>

#include "../core/weight.hpp"
#include "../core/workspace.hpp"
#include "../mixers/initialise.hpp"
#include "../mixers/reach.hpp"
#include "cache_blob.hpp"
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
  Params make_gradients() const {
    expects_arithmetic("make_gradients: ", params);
    return zeros_like(params);
  }
  /// The mixer's projections are stored so from now on. (See Layered::store_weights.)
  void store_weights(Storage storage) { heed::store_weights(params, storage); }
  /// The bytes of all parameters.
  Index weight_bytes() const { return heed::weight_bytes(params); }

  /// The mixer's cache, record and published signals, for the sequences of one workspace.
  class State {
   public:
    /// What the last call published: feed it to a layer above.
    template <class Signal>
    Published<Signal, Scalar> published() const {
      return Outputs<Scalar, typename Mixer::publishes>(tables_).template get<Signal>();
    }
    Index bytes() const { return cache_bytes(cache_); }
    /// Its rows and states: what `Reordering`, `save_cache` and `load_cache` work on.
    std::vector<NamedLeaf> leaves() { return leaves_of(cache_); }

   private:
    friend class MixerLayer;
    State(const Shape& shape, const Config& config, const CacheSize& size)
        : positions_(size.positions), storage_(size.storage), cache_(shape, config, size) {}

    std::vector<Index> positions_;  // that every sequence can hold
    Storage storage_;

    typename Mixer::template Cache<Scalar> cache_;
    typename Mixer::template Record<Scalar> record_;
    std::vector<SignalTable> tables_;
    std::vector<std::vector<unsigned char>> wanted_;

    struct Recorded {
      const Arena* kept = nullptr;  // of which workspace
      std::size_t call = 0;
    };
    Recorded recorded_;  // the training pass whose backward may come
  };

  /// Wanted: those published signals that are made on demand and that layers above will read: make_state<scores>(work).
  template <class... Wanted>
  State make_state(const Workspace& work, Storage storage = Storage::arithmetic) const {
    CacheSize size{{}, work.timeline.slot_count(), storage};
    for (Index b = 0; b < work.timeline.sequences(); ++b) size.positions.push_back(work.timeline.capacity(b));
    State state(shape_, config_, size);
    for (const SignalInfo& info : signal_infos_of<Mixer, Scalar>(config_)) {
      const bool wanted = info.name != scores::name || ((info.name == Wanted::name) || ...);
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
    expects_state(pass, state);
    (expects_fed<Taps>(pass, fed.table), ...);
    if (pass.training()) expects_arithmetic("apply, in training: ", params);
    state.recorded_ = {};
    make_tables(pass, state);
    const Arena::Scope scope(pass.scratch);
    Mixer::template apply<Scalar>(call_of(pass, state, fed...), view_of(x), mutable_view_of(y));
    if (pass.training()) state.recorded_ = {&pass.kept, pass.number};
  }

  /// The gradient of dot(y, d_y): adds to d_x, to the gradients and to the gradients of what was fed. Layers in reverse
  /// order, with the pass and the states of the forward pass, which was one of training. Once for every `apply`, else
  /// ShapeError.
  template <class X, class DY, class DX, class... Taps>
  void backward(const Pass& pass, const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<DY>& d_y,
                const Eigen::MatrixBase<DX>& d_x, Params& gradients, State& state, const Fed<Taps, Scalar>&... fed) const {
    HEED_EXPECTS(ShapeError, pass.training(), "backward: expected a pass of Purpose::training, found one of inference");
    detail::expects_shape("x", x, pass.rows.rows(), shape_.width);
    detail::expects_shape("d_y", d_y, pass.rows.rows(), shape_.width);
    detail::expects_shape("d_x", d_x, pass.rows.rows(), shape_.width);
    expects_state(pass, state);
    (expects_fed<Taps>(pass, fed.table), ...);
    HEED_EXPECTS(ShapeError, state.recorded_.kept == &pass.kept && state.recorded_.call == pass.number,
                 "backward: expected a state that apply has recorded in this pass and no backward has used, found none");
    expects_same_shapes("gradients: ", params, gradients);
    expects_arithmetic("backward: ", params);
    state.recorded_ = {};
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
  static void expects_state(const Pass& pass, const State& state) {
    const auto sequences = static_cast<Index>(state.positions_.size());
    HEED_EXPECTS(ShapeError, sequences == pass.sequences(), "state: expected one for ", pass.sequences(),
                 " sequences, made by the workspace of the pass, found one for ", sequences);
    HEED_EXPECTS(ShapeError, !pass.training() || state.storage_ == Storage::arithmetic,
                 "state: expected one that stores as it computes, for training; found one that stores in ",
                 name_of(state.storage_));
    for (Index b = 0; b < sequences; ++b)
      HEED_EXPECTS(ShapeError, pass.visible(b) <= state.positions_[static_cast<std::size_t>(b)], "state: sequence ", b,
                   ": expected room for ", pass.visible(b), " positions, found ",
                   state.positions_[static_cast<std::size_t>(b)]);
  }
  template <class Tap>
  void expects_fed(const Pass& pass, const SignalTable& table) const {
    using Signal = typename Tap::signal;
    HEED_EXPECTS(ShapeError, table.entries != nullptr || table.sequences * table.heads > 0, "feed<", Tap::name, "<",
                 Signal::name, ">>: expected what a mixer has published in this pass, found nothing: apply it first");
    HEED_EXPECTS(ShapeError, table.sequences == pass.sequences(), "feed<", Tap::name, "<", Signal::name, ">>: expected ",
                 pass.sequences(), " sequences, found ", table.sequences);
    const Arena::Scope scope(pass.scratch);
    const Index heads = (std::max)(own_heads(Signal::alignment, shape_).count, static_cast<Index>(table.heads));
    const std::span<unsigned char> read(pass.scratch.take_zeroed<unsigned char>(heads), static_cast<std::size_t>(heads));
    for (const TapInfo& tap : signals_of<Mixer>(config_).consumes)
      if (tap.name == Tap::name && tap.signal == Signal::name)
        mark_read<Mixer>(tap, Signal::alignment, shape_, config_, read);
    for (std::size_t h = 0; h < read.size(); ++h) {
      HEED_EXPECTS(ShapeError, !read[h] || static_cast<Index>(h) < table.heads, "feed<", Tap::name, "<", Signal::name,
                   ">>: expected head ", h, ", found ", table.heads, " heads");
      HEED_EXPECTS(ShapeError, !read[h] || table.wanted[h], "feed<", Tap::name, "<", Signal::name, ">>: expected head ", h,
                   ", found that its layer does not keep it: make its state with make_state<", Signal::name, ">(work)");
    }
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
