// L layers of a few kinds: parameters, caches, wiring, and the one executor of all stacks.
//
// Layers are kept by kind, so that 24 layers of 3 kinds instantiate 3 layers. Wiring is a table of ints, signals are tables
// made anew in every call. A static stack has the kinds of its type list; a dynamic one has a single kind, whose mixer is
// erased.
#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "block.hpp"
#include "layer_state.hpp"
#include "stack_config.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar, class... Kinds>
class Layered {
  static_assert((MixerOf<typename Kinds::Mixer, Scalar> && ...),
                "heed: the mixer of a layer lacks Params<Scalar>, Cache<Scalar>, Record<Scalar>, apply or backward for the "
                "scalar of this stack (see heed/mixers/mixer.hpp)");

 public:
  using Arithmetic = Scalar;

  /// Which layer is where: the kind, and the index among the layers of that kind.
  struct Place {
    std::size_t kind;
    std::size_t index;
  };

  class Params {
   public:
    Params() = default;
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      const Params& any = std::get<0>(std::tie(p...));
      for (std::size_t layer = 0; layer < any.places_->size(); ++layer)
        at_kind((*any.places_)[layer].kind, [&]<std::size_t kind>() {
          const std::size_t index = (*any.places_)[layer].index;
          heed::visit(prefixed("layers." + std::to_string(layer), f), std::get<kind>(p.by_kind_)[index]...);
        });
    }

   private:
    friend class Layered;
    std::shared_ptr<const std::vector<Place>> places_ = std::make_shared<const std::vector<Place>>();
    std::tuple<std::vector<typename Kinds::template Params<Scalar>>...> by_kind_;
  };

  using State = LayerState<Scalar, Kinds...>;

  /// What survives between calls, for B sequences of their own lengths. A copy is a fork.
  class Cache {
   public:
    Index sequences() const { return state_.work.timeline.sequences(); }
    Index length(Index sequence = 0) const { return state_.work.timeline.length(sequence); }
    Index capacity(Index sequence = 0) const { return state_.work.timeline.capacity(sequence); }

    Mark checkpoint() { return state_.work.timeline.checkpoint(); }
    bool can_rollback(const Mark& mark) const { return state_.work.timeline.can_rollback(mark); }
    [[nodiscard]] bool rollback(const Mark& mark) { return state_.work.timeline.rollback(mark); }
    [[nodiscard]] bool rollback(const Mark& mark, Index sequence) { return state_.work.timeline.rollback(mark, sequence); }
    bool can_truncate(Index sequence, Index length) const { return state_.work.timeline.can_truncate(sequence, length); }
    [[nodiscard]] bool truncate(Index sequence, Index length) { return state_.work.timeline.truncate(sequence, length); }
    Cache fork() const { return *this; }

    /// Bytes of tensor storage: rows and states of all layers.
    Index bytes() const { return state_.bytes(); }
    /// Blocks of scratch: grows only when scratch was too small.
    std::size_t scratch_blocks() const { return state_.work.scratch_blocks(); }

   private:
    friend class Layered;
    explicit Cache(State state) : state_(std::move(state)) {}
    State state_;
  };

  /// The records of one training pass over whole sequences.
  class Tape {
   public:
    const Sequences& sequences() const { return sequences_; }

   private:
    friend class Layered;
    Tape(Sequences sequences, State state) : sequences_(std::move(sequences)), state_(std::move(state)) {}
    Sequences sequences_;
    State state_;
    bool recorded_ = false;
  };

  Index layers() const { return static_cast<Index>(places_->size()); }
  const Shape& shape() const { return shape_; }

  Params& params() { return params_; }
  const Params& params() const { return params_; }
  /// Zeros of the parameters' shapes.
  Params make_gradients() const { return zeros_like(params_); }

  /// Every weight anew; the numbers depend on the seed and the tensor's name alone.
  void initialise(std::uint64_t seed, const std::string& prefix = "") {
    for (std::size_t layer = 0; layer < places_->size(); ++layer)
      at_layer(layer, [&]<class Kind>(const auto& config, auto& params) {
        Initialiser{seed, layers(), prefix}.template run<Kind>("layers." + std::to_string(layer), shape_, config, params);
      });
  }

  Cache make_cache(const CacheOptions& options) const {
    HEED_EXPECTS(ShapeError, options.sequences >= 1, "sequences: expected 1 or more, found ", options.sequences);
    HEED_EXPECTS(ShapeError, options.positions >= 1, "positions: expected 1 or more, found ", options.positions);
    HEED_EXPECTS(ShapeError, options.rows >= 1, "rows: expected 1 or more, found ", options.rows);
    HEED_EXPECTS(ShapeError, options.checkpoints >= 0, "checkpoints: expected 0 or more, found ", options.checkpoints);
    const std::vector<Index> positions(static_cast<std::size_t>(options.sequences), options.positions);
    const Index rows = (std::max)(options.rows, options.sequences);
    const Index scores = wanted_scores_ == 0 ? 0
                                             : (std::max)(options.score_bytes,
                                                          options.sequences * options.positions * score_bytes_per_pair());
    return Cache(make_state(positions, options.checkpoints, options.executor, options.score_bytes,
                            sizeof(Scalar) * std::size_t(rows * shape_.width) + std::size_t(scores), layer_scratch(rows)));
  }
  Tape make_tape(const Sequences& sequences, const TapeOptions& options = {}) const {
    HEED_EXPECTS(ShapeError, sequences.rows() >= 1, "sequences: expected at least one row, found none");
    std::vector<Index> positions;
    for (Index b = 0; b < sequences.size(); ++b) positions.push_back(sequences.rows(b));
    std::size_t scores = 0;
    for (const Index rows : positions) scores += 2 * std::size_t(rows * rows * score_bytes_per_pair());
    const std::size_t layer = layer_scratch(sequences.rows());
    return Tape(sequences,
                make_state(positions, 0, options.executor, 0, layer * std::size_t(layers()) + scores, 2 * layer));
  }

  /// x [T x D], the new rows of all sequences -> [T x D], valid until the next call on this cache. ShapeError before
  /// anything changes if the rows do not fit.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, const Sequences& sequences, Cache& cache) const {
    return infer(view_of(x), sequences.division(), cache.state_);
  }
  /// The same for a cache of one sequence.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, Cache& cache) const {
    HEED_EXPECTS(ShapeError, cache.sequences() == 1, "forward(x, cache): expected a cache of one sequence, found ",
                 cache.sequences(), "; say how rows divide: forward(x, sequences, cache)");
    const Index offsets[] = {0, x.rows()};
    return infer(view_of(x), Division(offsets), cache.state_);
  }
  /// The training pass over the tape's whole sequences: keeps what backward needs.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, Tape& tape) const {
    return record(view_of(x), tape);
  }

  /// d_out [T x D], the gradient of what forward(x, tape) returned -> d_x [T x D], valid until the next call on the tape.
  /// Adds to the gradients.
  template <class Derived>
  View<Scalar> backward(const Eigen::MatrixBase<Derived>& d_out, Tape& tape, Params& gradients) const {
    return unwind(view_of(d_out), tape, gradients);
  }

  /// The layer that a tap of `layer` reads, in the order of its taps.
  const std::vector<LayerWiring>& wiring() const { return wiring_; }
  /// What the cache of a layer keeps.
  CachePlan plan(std::size_t layer) const {
    CachePlan plan;
    at_layer(layer, [&]<class Kind>(const auto& config, const auto&) { plan = Kind::plan(shape_, config); });
    return plan;
  }
  /// A readable name of the layer's mixer.
  std::string describe(std::size_t layer) const {
    std::string name;
    at_config(layer, [&]<class Kind>(const auto& config) { name = heed::describe<Kind>(config); });
    return name;
  }
  Index parameters(std::size_t layer) const {
    Index count = 0;
    at_layer(layer, [&]<class Kind>(const auto&, const auto& params) { count = count_parameters(params); });
    return count;
  }

 protected:
  using Configs = std::tuple<std::vector<typename Kinds::Config>...>;

  /// Raises ConfigError for sizes that do not fit, taps that find no layer and heads that a source does not publish.
  Layered(const Sizes& sizes, std::vector<Place> places, Configs configs)
      : shape_(sizes.shape()),
        places_(std::make_shared<const std::vector<Place>>(std::move(places))),
        configs_(std::move(configs)) {
    for (std::size_t layer = 0; layer < places_->size(); ++layer)
      at_kind((*places_)[layer].kind, [&]<std::size_t kind>() {
        using Kind = std::tuple_element_t<kind, std::tuple<Kinds...>>;
        const auto& config = std::get<kind>(configs_)[(*places_)[layer].index];
        check_config<Kind>(shape_, config, "layer " + std::to_string(layer));
      });
    wire();
    params_.places_ = places_;
    for (std::size_t layer = 0; layer < places_->size(); ++layer)
      at_kind((*places_)[layer].kind, [&]<std::size_t kind>() {
        std::get<kind>(params_.by_kind_).emplace_back(shape_, std::get<kind>(configs_)[(*places_)[layer].index]);
      });
    initialise(0);
  }

 private:
  // f.operator()<kind>() for the kind of that number.
  template <class F>
  static void at_kind(std::size_t kind, F&& f) {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      ((kind == K ? f.template operator()<K>() : void()), ...);
    }
    (std::index_sequence_for<Kinds...>());
  }
  // f.operator()<Kind>(config, params) for a layer.
  template <class Self, class F>
  static void at_layer_of(Self& self, std::size_t layer, F&& f) {
    const Place place = (*self.places_)[layer];
    at_kind(place.kind, [&]<std::size_t kind>() {
      f.template operator()<std::tuple_element_t<kind, std::tuple<Kinds...>>>(
          std::get<kind>(self.configs_)[place.index], std::get<kind>(self.params_.by_kind_)[place.index]);
    });
  }
  template <class F>
  void at_layer(std::size_t layer, F&& f) {
    at_layer_of(*this, layer, f);
  }
  template <class F>
  void at_layer(std::size_t layer, F&& f) const {
    at_layer_of(*this, layer, f);
  }

  // -- wiring
  // --------------------------------------------------------------------------------------------------------------

  void wire() {
    std::vector<LayerSignals> all;
    for (std::size_t layer = 0; layer < places_->size(); ++layer)
      at_config(layer, [&]<class Kind>(const auto& config) {
        all.push_back(signals_of<Kind>(config));
        wiring_.push_back(LayerWiring(all.back(), signal_infos_of<Kind, Scalar>(config), shape_));
      });
    for (std::size_t layer = 0; layer < all.size(); ++layer)
      for (const TapInfo& tap : all[layer].consumes) connect(all, layer, tap);
    for (const LayerWiring& layer : wiring_) wanted_scores_ += layer.wanted_scores();
    for (std::size_t layer = 0; layer < all.size(); ++layer)
      at_config(layer, [&]<class Kind>(const auto& config) { whole_only_ = whole_only_ || sees_ahead<Kind>(config); });
  }
  template <class F>
  void at_config(std::size_t layer, F&& f) const {
    const Place place = (*places_)[layer];
    at_kind(place.kind, [&]<std::size_t kind>() {
      f.template operator()<std::tuple_element_t<kind, std::tuple<Kinds...>>>(std::get<kind>(configs_)[place.index]);
    });
  }
  // Finds the source of a tap, checks that it publishes the heads that are read, and marks them as wanted.
  void connect(std::span<const LayerSignals> all, std::size_t layer, const TapInfo& tap) {
    const int source = source_of(all, layer, tap);
    HEED_EXPECTS(ConfigError, source != nowhere, layer_name(layer), " consumes ", tap.name, "<", tap.signal,
                 ">, which no layer below it publishes");
    LayerWiring& publisher = wiring_[static_cast<std::size_t>(source)];
    const std::size_t signal = publisher.index_of(tap.signal);
    const Alignment alignment = publisher.infos[signal].alignment;
    std::vector<unsigned char>& wanted = publisher.wanted[signal];
    std::vector<unsigned char> published(wanted.size());
    std::vector<unsigned char> read(wanted.size());
    at_config(static_cast<std::size_t>(source), [&]<class Kind>(const auto& config) {
      mark_published<Kind>(tap.signal, alignment, shape_, config, published);
    });
    at_config(layer, [&]<class Kind>(const auto& config) { mark_read<Kind>(tap, alignment, shape_, config, read); });
    for (std::size_t h = 0; h < read.size(); ++h) {
      HEED_EXPECTS(ConfigError, !read[h] || published[h], layer_name(layer), " reads head ", h, " of ", tap.name, "<",
                   tap.signal, "> from layer ", source, ", which does not publish that head");
      wanted[h] = wanted[h] | read[h];
    }
    wiring_[layer].taps.push_back({source, signal});
  }

  std::string layer_name(std::size_t layer) const {
    return "layer " + std::to_string(layer) + " (" + describe(layer) + ")";
  }

  Index score_bytes_per_pair() const { return wanted_scores_ * static_cast<Index>(sizeof(Scalar)); }

  // -- memory
  // --------------------------------------------------------------------------------------------------------------

  // A generous bound on what one layer takes from an arena for so many rows. What is never touched costs nothing.
  std::size_t layer_scratch(Index rows) const {
    Index extra = 0;
    for (std::size_t layer = 0; layer < places_->size(); ++layer)
      at_config(layer,
                [&]<class Kind>(const auto& config) { extra = (std::max)(extra, scratch_per_row<Kind>(shape_, config)); });
    const Index per_row = 8 * shape_.width + 8 * shape_.q_width() + 8 * shape_.kv_width() + 6 * shape_.hidden +
                          4 * shape_.heads.count + extra;
    return std::size_t(rows * per_row) * sizeof(Scalar) + (std::size_t(1) << 16);
  }
  State make_state(const std::vector<Index>& positions, Index checkpoints, Executor* executor, Index score_bytes,
                   std::size_t kept_bytes, std::size_t scratch_bytes) const {
    bool stateful = false;
    for (std::size_t layer = 0; layer < places_->size(); ++layer) stateful = stateful || plan(layer).per_state > 0;
    State state(Timeline(positions, checkpoints, stateful), executor, score_bytes, kept_bytes, scratch_bytes, wiring_);
    const CacheSize size{positions, state.work.timeline.slot_count()};
    for (std::size_t layer = 0; layer < places_->size(); ++layer) {
      const Place place = (*places_)[layer];
      at_kind(place.kind, [&]<std::size_t kind>() {
        std::get<kind>(state.caches).emplace_back(shape_, std::get<kind>(configs_)[place.index], size);
        std::get<kind>(state.records).emplace_back();
        prepare_record<std::tuple_element_t<kind, std::tuple<Kinds...>>>(std::get<kind>(configs_)[place.index],
                                                                         std::get<kind>(state.records).back());
      });
    }
    return state;
  }

  // -- the executor
  // --------------------------------------------------------------------------------------------------------

  View<Scalar> infer(const View<Scalar>& x, Division rows, State& state) const {
    expects_input(x, rows);
    state.work.timeline.expects_room(rows);
    for (Index b = 0; whole_only_ && b < rows.sequences(); ++b)
      HEED_EXPECTS(ShapeError, rows.rows(b) == 0 || state.work.timeline.length(b) == 0, "sequence ", b,
                   ": a mask that sees ahead needs the whole sequence in one call, found ", state.work.timeline.length(b),
                   " cached positions");
    Workspace& work = state.work;
    Workspace::AllOrNothing call(work);
    work.open();
    MutableView<Scalar> h = copy_of(x, work.kept);  // [T x D]
    const Index slice = whole_only_ || wanted_scores_ == 0 ? rows.rows() : state.slice_rows(rows, score_bytes_per_pair());
    for (Index begin = 0; begin < rows.rows(); begin += slice) {
      const Arena::Scope scope(work.kept);
      const Division part = work.part_of_rows(rows, begin, (std::min)(slice, rows.rows() - begin));
      apply_layers(work.pass(part, Purpose::inference), rows_of(h, begin, part.rows()), state);
      work.timeline.advance(part);
    }
    call.done();
    return view_of(h);
  }

  View<Scalar> record(const View<Scalar>& x, Tape& tape) const {
    const Division rows = tape.sequences_.division();
    expects_input(x, rows);
    State& state = tape.state_;
    tape.recorded_ = false;
    const Pass pass = state.work.begin(rows, Purpose::training);
    MutableView<Scalar> h = copy_of(x, state.work.kept);  // [T x D]
    apply_layers(pass, h, state);
    tape.recorded_ = true;
    return view_of(h);
  }

  View<Scalar> unwind(const View<Scalar>& d_out, Tape& tape, Params& gradients) const {
    const Division rows = tape.sequences_.division();
    HEED_EXPECTS(ShapeError, tape.recorded_,
                 "backward: expected a tape that forward has recorded and no backward has used, found none");
    detail::expects_shape("d_out", d_out, rows.rows(), shape_.width);
    State& state = tape.state_;
    tape.recorded_ = false;
    MutableView<Scalar> d_h = copy_of(d_out, state.work.kept);  // [T x D]
    const Pass pass = state.work.pass(rows, Purpose::training);
    for (std::size_t above = places_->size(); above > 0; --above) {
      const Place place = (*places_)[above - 1];
      const Arena::Scope scope(state.work.scratch);
      at_kind(place.kind, [&]<std::size_t kind>() {
        using Kind = std::tuple_element_t<kind, std::tuple<Kinds...>>;
        Kind::template backward<Scalar>(call_of<kind>(above - 1, place.index, pass, state), d_h,
                                        std::get<kind>(gradients.by_kind_)[place.index]);
      });
    }
    return view_of(d_h);
  }

  void apply_layers(const Pass& pass, MutableView<Scalar> h, State& state) const {
    for (std::size_t layer = 0; layer < places_->size(); ++layer) {
      const Place place = (*places_)[layer];
      const Arena::Scope scope(state.work.scratch);
      state.make_tables(layer, wiring_, pass.sequences());
      at_kind(place.kind, [&]<std::size_t kind>() {
        using Kind = std::tuple_element_t<kind, std::tuple<Kinds...>>;
        Kind::template apply<Scalar>(call_of<kind>(layer, place.index, pass, state), h);
      });
    }
  }

  template <std::size_t kind>
  auto call_of(std::size_t layer, std::size_t index, const Pass& pass, State& state) const {
    using Kind = std::tuple_element_t<kind, std::tuple<Kinds...>>;
    return Call<Kind, Scalar>{shape_,
                              std::get<kind>(configs_)[index],
                              std::get<kind>(params_.by_kind_)[index],
                              Inputs<Scalar, typename Kind::consumes>(state.inputs[layer]),
                              Outputs<Scalar, typename Kind::publishes>(state.outputs[layer]),
                              std::get<kind>(state.caches)[index],
                              std::get<kind>(state.records)[index],
                              pass};
  }

  void expects_input(const View<Scalar>& x, Division rows) const {
    detail::expects_shape("x", x, rows.rows(), shape_.width);
  }
  static MutableView<Scalar> copy_of(const View<Scalar>& x, Arena& arena) {
    MutableView<Scalar> copy = arena.matrix<Scalar>(x.rows(), x.cols());
    copy = x;
    return copy;
  }

  Shape shape_;
  std::shared_ptr<const std::vector<Place>> places_;
  Configs configs_;
  Params params_;
  std::vector<LayerWiring> wiring_;
  Index wanted_scores_ = 0;  // query heads whose scores some layer above reads: what makes scores be kept whole
  bool whole_only_ = false;  // a mask sees ahead
};

}  // namespace heed::inline HEED_ABI
