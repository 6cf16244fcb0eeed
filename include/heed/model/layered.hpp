// L layers of a few kinds: their parameters, caches and tapes, and the one executor of all stacks.
//
// Wiring is a table of ints, signals are tables made anew in every call. A static stack has the kinds of its type list; a
// dynamic one has a single kind, whose mixer is erased.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../mixers/memory.hpp"
#include "../ops/attend_scratch.hpp"
#include "block.hpp"
#include "layer_state.hpp"
#include "stack_config.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar, class... Kinds>
class Layered {
  static_assert(
      (MixerOf<typename Kinds::Mixer, Scalar> && ...),
      "heed: the mixer of a layer lacks copyable Params<Scalar>, Cache<Scalar> with its visit, Record<Scalar>, apply or "
      "backward for the scalar of this stack (see heed/mixers/mixer.hpp)");

 public:
  using Arithmetic = Scalar;

  using Plan = LayerPlan<Scalar, Kinds...>;

  class Params {
   public:
    Params() = default;
    /// ShapeError before the first call of f if the params of different models have not the same layers and shapes.
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      if constexpr (sizeof...(P) > 1) {
        const Params& first = std::get<0>(std::tie(p...));
        if (!((p.plan_ == first.plan_) && ...)) {
          HEED_EXPECTS(ShapeError, (p.plan_->same_kinds(*first.plan_) && ...),
                       "params: expected those of models with the same kinds of layers, found another model's");
          each(heed::detail::SameShapes{"params: "}, std::as_const(p)...);
        }
      }
      each(f, p...);
    }

   private:
    template <class F, class... P>
    static void each(F&& f, P&&... p) {
      const Plan& plan = *std::get<0>(std::tie(p...)).plan_;
      for (std::size_t layer = 0; layer < plan.layers(); ++layer)
        plan.at(layer, [&]<std::size_t kind>(std::size_t index) {
          heed::visit(prefixed("layers." + std::to_string(layer), f), std::get<kind>(p.by_kind_)[index]...);
        });
    }

    friend class Layered;
    std::shared_ptr<const Plan> plan_ = std::make_shared<const Plan>();
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
    bool can_rollback(const Mark& mark, Index sequence) const { return state_.work.timeline.can_rollback(mark, sequence); }
    [[nodiscard]] bool rollback(const Mark& mark) { return state_.work.timeline.rollback(mark); }
    [[nodiscard]] bool rollback(const Mark& mark, Index sequence) { return state_.work.timeline.rollback(mark, sequence); }
    bool can_truncate(Index sequence, Index length) const { return state_.work.timeline.can_truncate(sequence, length); }
    [[nodiscard]] bool truncate(Index sequence, Index length) { return state_.work.timeline.truncate(sequence, length); }
    Cache fork() const { return *this; }
    /// Sequence b becomes a copy of what sequence sources[b] was, with its positions, states and checkpoints. Refused, with
    /// nothing changed, unless there is a source for every sequence.
    [[nodiscard]] bool reorder(std::span<const Index> sources) { return state_.reorder(sources); }
    [[nodiscard]] bool reorder(std::initializer_list<Index> sources) {
      return reorder(std::span(sources.begin(), sources.size()));
    }

    /// The whole cache as one block of bytes (model/cache_blob.hpp).
    std::vector<std::byte> save() const { return state_.save(); }
    /// Becomes the cache that was saved, by this model with the same options; its positions may be more. Marks of before
    /// are refused from now on. CheckpointError, with nothing changed, if the bytes are not those of such a cache.
    void load(std::span<const std::byte> bytes) { state_.load(bytes); }

    /// Bytes of tensor storage: rows and states of all layers.
    Index bytes() const { return state_.bytes(); }
    /// Blocks of scratch: grows only when scratch was too small.
    std::size_t scratch_blocks() const { return state_.work.scratch_blocks(); }
    std::size_t scratch_bytes() const { return state_.work.scratch_bytes(); }

   private:
    friend class Layered;
    explicit Cache(State state) : state_(std::move(state)) {}
    State state_;
  };

  /// The records of one training pass over whole sequences.
  class Tape {
   public:
    // Its records point into its own arenas.
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;
    Tape(Tape&&) noexcept = default;
    Tape& operator=(Tape&&) noexcept = default;
    ~Tape() = default;

    const Sequences& sequences() const { return sequences_; }

   private:
    friend class Layered;
    Tape(Sequences sequences, State state) : sequences_(std::move(sequences)), state_(std::move(state)) {}
    Sequences sequences_;
    State state_;
    bool recorded_ = false;
  };

  Index layers() const { return static_cast<Index>(plan_->layers()); }
  const Shape& shape() const { return plan_->shape; }
  /// Which layers there are, how they are wired and what their caches keep.
  const Plan& plan() const { return *plan_; }

  Params& params() { return params_; }
  const Params& params() const { return params_; }
  /// Zeros of the parameters' shapes.
  Params make_gradients() const {
    expects_arithmetic("make_gradients: ", params_);
    return zeros_like(params_);
  }
  Index parameters(std::size_t layer) const {
    Index count = 0;
    plan_->at(layer, [&]<std::size_t kind>(std::size_t index) {
      count = count_parameters(std::get<kind>(params_.by_kind_)[index]);
    });
    return count;
  }

  /// Every weight anew; the numbers depend on the seed and the tensor's name alone. ShapeError for weights in 16 bits.
  void initialise(std::uint64_t seed, const std::string& prefix = "") {
    expects_arithmetic("initialise: ", params_);
    for (std::size_t layer = 0; layer < plan_->layers(); ++layer)
      plan_->at(layer, [&]<std::size_t kind>(std::size_t index) {
        std::get<kind>(params_.by_kind_)[index] = make_params<kind>(layer, index, {seed, layers(), prefix});
      });
  }

  /// The projections of all layers are stored so from now on: rounded, in 16 bits, or widened back. Caches stay good. What
  /// trains raises ShapeError while they are in 16 bits. Norms, biases, coefficients, recurrences, and what a mixer of
  /// yours keeps in a plain Matrix stay as they are.
  void store_weights(Storage storage) { heed::store_weights(params_, storage); }
  /// The bytes of all parameters.
  Index weight_bytes() const { return heed::weight_bytes(params_); }

  /// ShapeError for options whose cache, or its scratch, has more bytes than can be counted, or any machine has.
  void expects_countable(const CacheOptions& options) const {
    options.check();
    const auto number = [](auto count) { return static_cast<double>(count); };
    CachePlan sum;
    for (std::size_t layer = 0; layer < plan_->layers(); ++layer) sum = sum + plan_->cache(layer);
    const double of_sequence = number(options.positions) * number(sum.per_position) + number(sum.per_sequence) +
                               number(options.checkpoints + 2 * (options.recent_states + 1)) * number(sum.per_state);
    const double rows = number((std::max)(options.rows, options.sequences));
    const double of_row =
        number(plan_->scratch_bytes(2) - plan_->scratch_bytes(1)) + number(plan_->kept_bytes(2) - plan_->kept_bytes(1)) +
        number((std::min)(plan_->whole_rows, options.positions) * plan_->score_bytes_per_pair(options.score_storage));
    const double bytes = (std::max)(number(options.sequences) * of_sequence * number(sizeof(Scalar)), rows * of_row);
    HEED_EXPECTS(ShapeError, bytes <= number(CacheOptions::most_bytes), "cache: expected options of at most ",
                 CacheOptions::most_bytes, " bytes in all, found about ", bytes);
  }
  /// ShapeError for options that cannot be had.
  Cache make_cache(const CacheOptions& options) const {
    expects_countable(options);
    const std::vector<Index> positions(static_cast<std::size_t>(options.sequences), options.positions);
    const Index rows = (std::max)(options.rows, options.sequences);
    return Cache(State(
        plan_, positions, options,
        {.kept =
             sizeof(Scalar) * std::size_t(rows * shape().width) + kept_score_bytes(options, rows) + plan_->kept_bytes(rows),
         .scratch = plan_->scratch_bytes(rows),
         .job = plan_->job_bytes({options.sequences, rows, options.positions}) + kept_job_bytes(options, rows)}));
  }
  Tape make_tape(const Sequences& sequences, const TapeOptions& options = {}) const {
    HEED_EXPECTS(ShapeError, sequences.rows() >= 1, "sequences: expected at least one row, found none");
    expects_arithmetic("make_tape: ", params_);
    std::vector<Index> positions;
    for (Index b = 0; b < sequences.size(); ++b) positions.push_back(sequences.rows(b));
    const Index longest = *std::max_element(positions.begin(), positions.end());
    std::size_t scores = 0;
    for (const Index rows : positions)
      scores +=
          std::size_t(2 * rows * rows * plan_->score_bytes_per_pair(Storage::arithmetic)) + score_table_bytes(1, rows);
    const std::size_t layer = plan_->scratch_bytes(sequences.rows());
    return Tape(sequences, State(plan_, positions, {.checkpoints = 0, .executor = options.executor, .score_bytes = 0},
                                 {.kept = layer * std::size_t(layers()) + scores,
                                  .scratch = 2 * layer,
                                  .job = plan_->job_bytes({sequences.size(), sequences.rows(), longest})}));
  }

  /// x [T x D], the new rows of all sequences -> [T x D], valid until the next call on this cache. ShapeError before
  /// anything changes if the rows do not fit.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, const Sequences& sequences, Cache& cache) const {
    return infer(view_of(x), sequences.division(), {}, cache.state_);
  }
  /// The same with the memory of every sequence, for layers that attend to one. It is read when a sequence brings its first
  /// rows; later calls need none.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, const Sequences& sequences, const MemoryRows<Scalar>& memory,
                       Cache& cache) const {
    return infer(view_of(x), sequences.division(), memory, cache.state_);
  }
  /// The same for a cache of one sequence.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, Cache& cache) const {
    return forward(x, MemoryRows<Scalar>(), cache);
  }
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, const MemoryRows<Scalar>& memory, Cache& cache) const {
    HEED_EXPECTS(ShapeError, cache.sequences() == 1, "forward(x, cache): expected a cache of one sequence, found ",
                 cache.sequences(), "; say how rows divide: forward(x, sequences, cache)");
    const Index offsets[] = {0, x.rows()};
    return infer(view_of(x), Division(offsets), memory, cache.state_);
  }
  /// The training pass over the tape's whole sequences: keeps what backward needs.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, Tape& tape) const {
    return record(view_of(x), {}, tape);
  }
  /// The same with the memory of every sequence; backward adds to its gradient.
  template <class Derived>
  View<Scalar> forward(const Eigen::MatrixBase<Derived>& x, const MemoryRows<Scalar>& memory, Tape& tape) const {
    return record(view_of(x), memory, tape);
  }

  /// ShapeError unless this model, or a copy, has made it.
  void expects_own(const Tape& tape) const {
    HEED_EXPECTS(ShapeError, tape.state_.plan == plan_,
                 "tape: expected one that this model has made, found another model's");
  }
  void expects_own(const Params& gradients) const {
    HEED_EXPECTS(ShapeError, gradients.plan_ == plan_,
                 "gradients: expected those that this model has made, found another model's");
  }

  /// d_out [T x D], the gradient of what forward(x, tape) returned -> d_x [T x D], valid until the next call on the tape.
  /// Adds to the gradients.
  template <class Derived>
  View<Scalar> backward(const Eigen::MatrixBase<Derived>& d_out, Tape& tape, Params& gradients) const {
    return unwind(view_of(d_out), tape, gradients);
  }

 protected:
  Layered(const Sizes& sizes, std::vector<typename Plan::Place> places, typename Plan::Configs configs)
      : plan_(std::make_shared<const Plan>(sizes.shape(), std::move(places), std::move(configs))) {
    params_.plan_ = plan_;
    for (std::size_t layer = 0; layer < plan_->layers(); ++layer)
      plan_->at(layer, [&]<std::size_t kind>(std::size_t index) {
        std::get<kind>(params_.by_kind_).push_back(make_params<kind>(layer, index, {0, layers(), ""}));
      });
  }

 private:
  template <std::size_t kind>
  auto make_params(std::size_t layer, std::size_t index, const Initialiser& initialiser) const {
    using Kind = typename Plan::template Kind<kind>;
    return initialiser.make<Kind, typename Kind::template Params<Scalar>>("layers." + std::to_string(layer), shape(),
                                                                          plan_->template config<kind>(index));
  }

  // A slice has score_bytes of wanted scores, or a single row, or those rows that have to come together: these see rows of
  // the same call alone.
  std::size_t kept_score_bytes(const CacheOptions& options, Index rows) const {
    if (plan_->wanted_scores == 0) return 0;
    const Index pair = plan_->score_bytes_per_pair(options.score_storage);
    const Index row = options.positions * pair;
    const Index together = (std::min)({plan_->whole_rows, rows, options.positions});
    const Index whole = (plan_->whole_rows >= unbounded ? rows : together) * together * pair;
    const Index scores = plan_->whole_rows >= unbounded ? whole : (std::max)({options.score_bytes, row, whole});
    return std::size_t(scores) + score_table_bytes(options.sequences, rows);
  }
  std::size_t kept_job_bytes(const CacheOptions& options, Index rows) const {
    if (plan_->wanted_scores == 0 || options.score_storage == Storage::arithmetic) return 0;
    return kept_scratch_bytes<Scalar>(rows, options.positions, shape().heads.count, shape().kv_heads.count);
  }
  // Where the panels lie, by sequence and head; two tables and their numbers are aligned.
  std::size_t score_table_bytes(Index sequences, Index rows) const {
    const Index panels = rows / Probabilities<Scalar>::panel_rows + 2 * sequences;
    return std::size_t(plan_->wanted_scores) *
           (std::size_t(panels) * sizeof(Index) + 3 * Arena::alignment * std::size_t(sequences));
  }

  View<Scalar> infer(const View<Scalar>& x, Division rows, const MemoryRows<Scalar>& memory, State& state) const {
    HEED_EXPECTS(ShapeError, state.plan == plan_, "cache: expected one that this model has made, found another model's");
    expects_input(x, rows);
    memory.check(rows.sequences());
    state.work.timeline.expects_room(rows);
    for (Index b = 0; plan_->whole_rows > 1 && b < rows.sequences(); ++b) {
      const Index past = state.work.timeline.length(b);
      HEED_EXPECTS(ShapeError, rows.rows(b) == 0 || past == 0 || past >= plan_->whole_rows, "sequence ", b,
                   ": a mask that sees ahead needs ", together(), " in one call, found ", past, " cached positions");
    }
    Workspace& work = state.work;
    Workspace::AllOrNothing call(work);
    state.outside = memory.table(rows.sequences(), work.kept);
    MutableView<Scalar> h = copy_of(x, work.kept);  // [T x D]
    const Index slice =
        plan_->wanted_scores == 0 ? rows.rows() : state.slice_rows(rows, plan_->score_bytes_per_pair(work.scores()));
    for (Index begin = 0, end = 0; begin < rows.rows(); begin = end) {
      const Arena::Scope scope(work.kept);
      end = state.slice_end(rows, begin, slice);
      const Division part = work.part_of_rows(rows, begin, end - begin);
      apply_layers(work.pass(part, Purpose::inference), rows_of(h, begin, part.rows()), state);
      work.timeline.advance(part);
    }
    call.done();
    return view_of(h);
  }

  // What has to come in one call, for errors.
  std::string together() const {
    return plan_->whole_rows >= unbounded ? "the whole sequence"
                                          : "the first " + std::to_string(plan_->whole_rows) + " positions";
  }

  View<Scalar> record(const View<Scalar>& x, const MemoryRows<Scalar>& memory, Tape& tape) const {
    const Division rows = tape.sequences_.division();
    expects_own(tape);
    expects_input(x, rows);
    memory.check(rows.sequences());
    expects_arithmetic("forward: ", params_);
    State& state = tape.state_;
    tape.recorded_ = false;
    const Pass pass = state.work.begin(rows, Purpose::training);
    state.outside = memory.table(rows.sequences(), state.work.kept);
    MutableView<Scalar> h = copy_of(x, state.work.kept);  // [T x D]
    apply_layers(pass, h, state);
    tape.recorded_ = true;
    return view_of(h);
  }

  View<Scalar> unwind(const View<Scalar>& d_out, Tape& tape, Params& gradients) const {
    const Division rows = tape.sequences_.division();
    HEED_EXPECTS(ShapeError, tape.recorded_,
                 "backward: expected a tape that forward has recorded and no backward has used, found none");
    expects_own(tape);
    expects_own(gradients);
    expects_arithmetic("backward: ", params_);
    detail::expects_shape("d_out", d_out, rows.rows(), shape().width);
    State& state = tape.state_;
    tape.recorded_ = false;
    MutableView<Scalar> d_h = copy_of(d_out, state.work.kept);  // [T x D]
    const Pass pass = state.work.pass(rows, Purpose::training);
    for (std::size_t above = plan_->layers(); above > 0; --above) {
      const Arena::Scope scope(state.work.scratch);
      plan_->at(above - 1, [&]<std::size_t kind>(std::size_t index) {
        Plan::template Kind<kind>::template backward<Scalar>(call_of<kind>(above - 1, index, pass, state), d_h,
                                                             std::get<kind>(gradients.by_kind_)[index]);
      });
    }
    return view_of(d_h);
  }

  void apply_layers(const Pass& pass, MutableView<Scalar> h, State& state) const {
    for (std::size_t layer = 0; layer < plan_->layers(); ++layer) {
      const Arena::Scope scope(state.work.scratch);
      state.make_tables(layer, pass.sequences());
      plan_->at(layer, [&]<std::size_t kind>(std::size_t index) {
        Plan::template Kind<kind>::template apply<Scalar>(call_of<kind>(layer, index, pass, state), h);
      });
    }
  }

  template <std::size_t kind>
  auto call_of(std::size_t layer, std::size_t index, const Pass& pass, State& state) const {
    using Kind = typename Plan::template Kind<kind>;
    return Call<Kind, Scalar>{plan_->shape,
                              plan_->template config<kind>(index),
                              std::get<kind>(params_.by_kind_)[index],
                              Inputs<Scalar, typename Kind::consumes>(state.inputs[layer]),
                              Outputs<Scalar, typename Kind::publishes>(state.outputs[layer]),
                              std::get<kind>(state.caches)[index],
                              std::get<kind>(state.records)[index],
                              pass};
  }

  void expects_input(const View<Scalar>& x, Division rows) const {
    detail::expects_shape("x", x, rows.rows(), shape().width);
  }
  static MutableView<Scalar> copy_of(const View<Scalar>& x, Arena& arena) {
    MutableView<Scalar> copy = arena.matrix<Scalar>(x.rows(), x.cols());
    copy = x;
    return copy;
  }

  std::shared_ptr<const Plan> plan_;  // shared with the caches, tapes and gradients it is good for
  Params params_;
};

}  // namespace heed::inline HEED_ABI
