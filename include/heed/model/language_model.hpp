// A language model: tokens in, logits of the next token out.
//
//   logits = head(norm(stack(E[tokens])))        E [V x D]   tokens, targets [T]   logits [T x V]
//   loss   = mean of -ln softmax(logits)[target] over the rows that have a target       // nats per token
//
// Tensors are called embedding.weight, layers.0. ..., norm.weight and, if the head is not tied, head.weight.
// Source: Radford et al. 2019 (GPT-2), section 2.
#pragma once

#include <span>
#include <vector>

#include "../core/pass.hpp"
#include "../core/weight.hpp"
#include "../mixers/initialise.hpp"
#include "../mixers/memory.hpp"
#include "../mixers/reach.hpp"
#include "../ops/cross_entropy.hpp"
#include "../ops/embedding.hpp"
#include "head.hpp"
#include "language_params.hpp"
#include "norm.hpp"
#include "stack_config.hpp"

namespace heed::inline HEED_ABI {

/// What a language model puts between its embedding and its head: layers from rows to rows, as Stack and DynamicStack are.
template <class T>
concept LayerStack = requires {
  typename T::Arithmetic;
  typename T::Params;
  typename T::Cache;
  typename T::Tape;
};

/// Norm: of the rows before the head; NoNorm for layers that end with one (post-norm).
template <LayerStack StackType, LanguageHead Head = TiedHead, class Norm = RmsNorm>
class LanguageModel {
 public:
  using Arithmetic = typename StackType::Arithmetic;
  using Scalar = Arithmetic;

 private:
  using StackParams = typename StackType::Params;
  using NormParams = typename Norm::template Params<Scalar>;
  using HeadParams = typename Head::template Params<Scalar>;

 public:
  /// Tensors of the model's shapes by value: gradients, moments.
  using Params = detail::LanguageParams<Weight<Scalar>, StackParams, NormParams, HeadParams>;
  /// The model's own tensors. They visit as Params do.
  using Weights = detail::LanguageParams<Weight<Scalar>&, StackParams&, NormParams&, HeadParams&>;
  using ConstWeights =
      detail::LanguageParams<const Weight<Scalar>&, const StackParams&, const NormParams&, const HeadParams&>;

  /// What survives between calls, for B sequences of their own lengths. A copy is a fork. (See Layered::Cache.)
  class Cache {
   public:
    Index sequences() const { return stack_.sequences(); }
    Index length(Index sequence = 0) const { return stack_.length(sequence); }
    Index capacity(Index sequence = 0) const { return stack_.capacity(sequence); }

    Mark checkpoint() { return stack_.checkpoint(); }
    bool can_rollback(const Mark& mark) const { return stack_.can_rollback(mark); }
    bool can_rollback(const Mark& mark, Index sequence) const { return stack_.can_rollback(mark, sequence); }
    [[nodiscard]] bool rollback(const Mark& mark) { return stack_.rollback(mark); }
    [[nodiscard]] bool rollback(const Mark& mark, Index sequence) { return stack_.rollback(mark, sequence); }
    bool can_truncate(Index sequence, Index length) const { return stack_.can_truncate(sequence, length); }
    [[nodiscard]] bool truncate(Index sequence, Index length) { return stack_.truncate(sequence, length); }
    Cache fork() const { return *this; }
    [[nodiscard]] bool reorder(std::span<const Index> sources) { return stack_.reorder(sources); }
    [[nodiscard]] bool reorder(std::initializer_list<Index> sources) {
      return reorder(std::span(sources.begin(), sources.size()));
    }
    std::vector<std::byte> save() const { return stack_.save(); }
    void load(std::span<const std::byte> bytes) { stack_.load(bytes); }

    /// Bytes of tensor storage: rows and states of all layers.
    Index bytes() const { return stack_.bytes(); }
    /// Blocks of scratch: grows only when scratch was too small.
    std::size_t scratch_blocks() const {
      return stack_.scratch_blocks() + rows_.blocks() + logits_.blocks() + workers_.blocks();
    }

   private:
    friend class LanguageModel;
    Cache(typename StackType::Cache stack, std::size_t row_bytes, std::size_t logit_bytes, Executor* executor)
        : stack_(std::move(stack)), rows_(row_bytes), logits_(logit_bytes), workers_(executor) {}

    typename StackType::Cache stack_;
    Arena rows_;    // [T x D], what a call needs while it runs
    Arena logits_;  // [T x V], what it returns
    Workers workers_;
  };

  /// The records of one training pass over whole sequences. It points into its own scratch, so it moves and is not copied.
  class Tape {
   public:
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;
    Tape(Tape&&) noexcept = default;
    Tape& operator=(Tape&&) noexcept = default;
    ~Tape() = default;

    const Sequences& sequences() const { return stack_.sequences(); }

   private:
    friend class LanguageModel;
    Tape(typename StackType::Tape stack, Index vocabulary, std::size_t kept_bytes, std::size_t scratch_bytes,
         Executor* executor)
        : stack_(std::move(stack)),
          vocabulary_(vocabulary),
          kept_(kept_bytes),
          scratch_(scratch_bytes),
          workers_(executor) {}

    typename StackType::Tape stack_;
    Index vocabulary_;
    Arena kept_;
    Arena scratch_;
    Workers workers_;
    std::vector<int> tokens_;
    std::vector<int> targets_;
    const Scalar* h_ = nullptr;       // [T x D] what the stack returned
    const Scalar* normed_ = nullptr;  // [T x D] norm(h)
    const Scalar* logits_ = nullptr;  // [T x V]
    bool recorded_ = false;
  };

  /// V, the layers, and the norm before the head. All weights are initialised by the seed and their names. ConfigError if
  /// V < 1.
  LanguageModel(Index vocabulary, StackType stack, std::uint64_t seed = 0, typename Norm::Config norm = {})
      : stack_(std::move(stack)),
        embedding_(expects_vocabulary(vocabulary), stack_.shape().width),
        norm_config_(checked(stack_.shape(), std::move(norm))),
        norm_(make_norm(seed)),
        head_(make_head(seed)) {
    stack_.initialise(seed);
    initialiser(seed).by_role("embedding.weight", Role::embedding, embedding_);
  }

  Index vocabulary() const { return embedding_.rows(); }
  const StackType& stack() const { return stack_; }
  /// Of the norm before the head.
  const typename Norm::Config& norm_config() const { return norm_config_; }

  Weights params() { return {embedding_, stack_.params(), norm_, head_}; }
  ConstWeights params() const { return {embedding_, stack_.params(), norm_, head_}; }
  /// Zeros of the parameters' shapes.
  Params make_gradients() const {
    expects_arithmetic("make_gradients: ", params());
    return {Matrix<Scalar>::Zero(embedding_.rows(), embedding_.cols()), stack_.make_gradients(), zeros_like(norm_),
            zeros_like(head_)};
  }

  /// Every weight anew; the numbers depend on the seed and the tensor's name alone. ShapeError for weights in 16 bits.
  void initialise(std::uint64_t seed) {
    expects_arithmetic("initialise: ", params());
    initialiser(seed).by_role("embedding.weight", Role::embedding, embedding_);
    stack_.initialise(seed);
    norm_ = make_norm(seed);
    head_ = make_head(seed);
  }

  /// The embedding, the head and the projections of all layers are stored so from now on. (See Layered::store_weights.)
  void store_weights(Storage storage) { heed::store_weights(params(), storage); }
  Index weight_bytes() const { return heed::weight_bytes(params()); }

  // -- inference ----------------------------------------------------------------------------------------------------

  Cache make_cache(const CacheOptions& options) const {
    typename StackType::Cache stack = stack_.make_cache(options);
    const Index rows = (std::max)(options.rows, options.sequences);
    return Cache(std::move(stack), 3 * Arena::bytes_of<Scalar>(rows * width()),
                 Arena::bytes_of<Scalar>(rows * vocabulary()), options.executor);
  }

  /// The logits that follow every new token: [T x V], valid until the next call on this cache. ShapeError before anything
  /// changes if a token is not in [0, V) or the tokens do not fit.
  ///   tokens   [T], the new tokens of all sequences, in order
  View<Scalar> logits(std::span<const int> tokens, const Sequences& sequences, Cache& cache) const {
    return logits(tokens, sequences, MemoryRows<Scalar>(), cache);
  }
  /// The same with the memory of every sequence, for layers that attend to one: see Layered::forward.
  View<Scalar> logits(std::span<const int> tokens, const Sequences& sequences, const MemoryRows<Scalar>& memory,
                      Cache& cache) const {
    return logits_of(hidden(tokens, sequences, memory, cache), cache);
  }
  /// The same for a cache of one sequence.
  View<Scalar> logits(std::span<const int> tokens, Cache& cache) const {
    return logits(tokens, MemoryRows<Scalar>(), cache);
  }
  View<Scalar> logits(std::span<const int> tokens, const MemoryRows<Scalar>& memory, Cache& cache) const {
    return logits_of(hidden(tokens, memory, cache), cache);
  }

  /// The logits that follow the last new token of every sequence: [B x V], as `logits` otherwise. All a sampler needs,
  /// without the head's work on the rows before. A sequence without new tokens has a row of zeros.
  View<Scalar> next_logits(std::span<const int> tokens, const Sequences& sequences, Cache& cache) const {
    return next_logits(tokens, sequences, MemoryRows<Scalar>(), cache);
  }
  View<Scalar> next_logits(std::span<const int> tokens, const Sequences& sequences, const MemoryRows<Scalar>& memory,
                           Cache& cache) const {
    const View<Scalar> h = hidden(tokens, sequences, memory, cache);  // [T x D]
    const Arena::Scope scope(cache.rows_);
    MutableView<Scalar> last = cache.rows_.template zeros<Scalar>(sequences.size(), width());  // [B x D]
    for (Index b = 0; b < sequences.size(); ++b)
      if (sequences.rows(b) > 0) last.row(b) = h.row(sequences.begin(b) + sequences.rows(b) - 1);
    return logits_of(view_of(last), cache);
  }
  /// The same for a cache of one sequence: [1 x V].
  View<Scalar> next_logits(std::span<const int> tokens, Cache& cache) const {
    return next_logits(tokens, MemoryRows<Scalar>(), cache);
  }
  View<Scalar> next_logits(std::span<const int> tokens, const MemoryRows<Scalar>& memory, Cache& cache) const {
    const View<Scalar> h = hidden(tokens, memory, cache);  // [T x D]
    return logits_of(rows_of(h, h.rows() - 1, 1), cache);
  }

  // -- training -----------------------------------------------------------------------------------------------------

  Tape make_tape(const Sequences& sequences, const TapeOptions& options = {}) const {
    expects_arithmetic("make_tape: ", params());
    typename StackType::Tape stack = stack_.make_tape(sequences, options);
    const std::size_t rows = Arena::bytes_of<Scalar>(sequences.rows() * width());
    const std::size_t logits = Arena::bytes_of<Scalar>(sequences.rows() * vocabulary());
    return Tape(std::move(stack), vocabulary(), rows + logits,
                logits + 4 * rows + Arena::bytes_of<double>(sequences.rows()), options.executor);
  }

  /// The mean loss of the tape's whole sequences, in nats per token. Keeps what backward needs. ShapeError before anything
  /// changes if there is not one token in [0, V) and one target below V for every row, or for another model's tape.
  ///   tokens, targets   [T]; a negative target means that the row has none
  double loss(std::span<const int> tokens, std::span<const int> targets, Tape& tape) const {
    return loss(tokens, targets, MemoryRows<Scalar>(), tape);
  }
  /// The same with the memory of every sequence; backward adds to its gradient. ShapeError, before anything changes too, if
  /// it does not divide into the tape's sequences.
  double loss(std::span<const int> tokens, std::span<const int> targets, const MemoryRows<Scalar>& memory,
              Tape& tape) const {
    const Index T = tape.sequences().rows();
    expects_tokens(tokens, T);
    expects_targets(targets, T);
    memory.check(tape.sequences().size());
    expects_own(tape);
    expects_arithmetic("loss: ", params());
    tape.recorded_ = false;
    tape.tokens_.assign(tokens.begin(), tokens.end());
    tape.targets_.assign(targets.begin(), targets.end());
    tape.kept_.reset();
    tape.scratch_.reset();
    MutableView<Scalar> x = tape.scratch_.template matrix<Scalar>(T, width());  // [T x D]
    embed(tokens, embedding_, x);
    const View<Scalar> h = stack_.forward(x, memory, tape.stack_);                    // [T x D]
    MutableView<Scalar> normed = tape.kept_.template matrix<Scalar>(T, width());      // [T x D]
    MutableView<Scalar> logits = tape.kept_.template zeros<Scalar>(T, vocabulary());  // [T x V]
    Norm::template apply<Scalar>(norm_config_, norm_, h, normed, tape.workers_);
    Head::template apply<Scalar>(head_, embedding_, view_of(normed), logits, tape.workers_);
    tape.h_ = h.data();
    tape.normed_ = normed.data();
    tape.logits_ = logits.data();
    tape.recorded_ = true;
    return cross_entropy(logits, targets, tape.scratch_, tape.workers_);
  }

  /// Adds the gradient of the loss that the tape has recorded. Once for every `loss`, else ShapeError; so it is, before
  /// anything changes, for a tape or gradients that another model has made.
  void backward(Tape& tape, Params& gradients) const {
    HEED_EXPECTS(ShapeError, tape.recorded_,
                 "backward: expected a tape that loss has recorded and no backward has used, found none");
    expects_own(tape);
    expects_arithmetic("backward: ", params());
    stack_.expects_own(gradients.stack);
    detail::expects_shape("gradients: embedding.weight", gradients.embedding, embedding_.rows(), embedding_.cols());
    expects_same_shapes("gradients: norm.", norm_, gradients.norm);
    expects_same_shapes("gradients: head.", head_, gradients.head);
    tape.recorded_ = false;
    tape.scratch_.reset();
    const Index T = tape.sequences().rows();
    const View<Scalar> h = view_of(tape.h_, T, width(), width());                          // [T x D]
    const View<Scalar> normed = view_of(tape.normed_, T, width(), width());                // [T x D]
    const View<Scalar> logits = view_of(tape.logits_, T, vocabulary(), vocabulary());      // [T x V]
    MutableView<Scalar> d_logits = tape.scratch_.template zeros<Scalar>(T, vocabulary());  // [T x V]
    MutableView<Scalar> d_normed = tape.scratch_.template zeros<Scalar>(T, width());       // [T x D]
    MutableView<Scalar> d_h = tape.scratch_.template zeros<Scalar>(T, width());            // [T x D]
    // loss = mean of -ln softmax(logits)[target]
    cross_entropy_backward(logits, tape.targets_, d_logits, tape.workers_);
    // logits = head(normed)
    Head::template backward<Scalar>(head_, embedding_, normed, view_of(d_logits), d_normed, gradients.head,
                                    gradients.embedding, tape.workers_);
    // normed = norm(h)
    Norm::template backward<Scalar>(norm_config_, norm_, h, view_of(d_normed), d_h, gradients.norm, tape.scratch_,
                                    tape.workers_);
    // h = stack(x)
    const View<Scalar> d_x = stack_.backward(d_h, tape.stack_, gradients.stack);  // [T x D]
    // x = E[tokens]
    embed_backward(tape.tokens_, d_x, gradients.embedding);
  }

 private:
  Index width() const { return stack_.shape().width; }
  typename Head::Config head_config() const { return {vocabulary()}; }
  Initialiser initialiser(std::uint64_t seed) const { return {seed, stack_.layers(), ""}; }
  NormParams make_norm(std::uint64_t seed) const {
    return initialiser(seed).template make<Norm, NormParams>("norm", stack_.shape(), norm_config_);
  }
  HeadParams make_head(std::uint64_t seed) const {
    return initialiser(seed).template make<Head, HeadParams>("head", stack_.shape(), head_config());
  }
  static typename Norm::Config checked(const Shape& shape, typename Norm::Config norm) {
    check_config<Norm>(shape, norm, "before the head");
    return norm;
  }
  static Index expects_vocabulary(Index vocabulary) {
    HEED_EXPECTS(ConfigError, vocabulary >= 1, "vocabulary: expected 1 or more, found ", vocabulary);
    return vocabulary;
  }

  void expects_own(const Tape& tape) const {
    stack_.expects_own(tape.stack_);
    HEED_EXPECTS(ShapeError, tape.vocabulary_ == vocabulary(), "tape: expected one for a vocabulary of ", vocabulary(),
                 ", found one for ", tape.vocabulary_);
  }
  void expects_targets(std::span<const int> targets, Index rows) const {
    HEED_EXPECTS(ShapeError, static_cast<Index>(targets.size()) == rows, "targets: expected ", rows, ", found ",
                 targets.size());
    for (std::size_t i = 0; i < targets.size(); ++i)
      HEED_EXPECTS(ShapeError, targets[i] < vocabulary(), "targets: expected numbers below ", vocabulary(), ", found ",
                   targets[i], " at ", i);
  }
  void expects_tokens(std::span<const int> tokens, Index rows) const {
    HEED_EXPECTS(ShapeError, static_cast<Index>(tokens.size()) == rows, "tokens: expected ", rows, ", found ",
                 tokens.size());
    HEED_EXPECTS(ShapeError, rows >= 1, "tokens: expected at least one, found none");
    for (std::size_t i = 0; i < tokens.size(); ++i)
      HEED_EXPECTS(ShapeError, tokens[i] >= 0 && tokens[i] < vocabulary(), "tokens: expected numbers in [0, ", vocabulary(),
                   "), found ", tokens[i], " at ", i);
  }

  // What the stack makes of the tokens: [T x D], valid until the next call on the cache.
  View<Scalar> hidden(std::span<const int> tokens, const Sequences& sequences, const MemoryRows<Scalar>& memory,
                      Cache& cache) const {
    expects_tokens(tokens, sequences.rows());
    cache.rows_.reset();
    return stack_.forward(embedded(tokens, cache), sequences, memory, cache.stack_);
  }
  View<Scalar> hidden(std::span<const int> tokens, const MemoryRows<Scalar>& memory, Cache& cache) const {
    expects_tokens(tokens, static_cast<Index>(tokens.size()));
    cache.rows_.reset();
    return stack_.forward(embedded(tokens, cache), memory, cache.stack_);
  }
  MutableView<Scalar> embedded(std::span<const int> tokens, Cache& cache) const {
    MutableView<Scalar> x = cache.rows_.template matrix<Scalar>(static_cast<Index>(tokens.size()), width());  // [T x D]
    embed(tokens, embedding_, x);
    return x;
  }
  View<Scalar> logits_of(const View<Scalar>& h, Cache& cache) const {
    cache.logits_.reset();
    MutableView<Scalar> logits = cache.logits_.template zeros<Scalar>(h.rows(), vocabulary());  // [T x V]
    MutableView<Scalar> normed = cache.rows_.template matrix<Scalar>(h.rows(), width());        // [T x D]
    Norm::template apply<Scalar>(norm_config_, norm_, h, normed, cache.workers_);
    Head::template apply<Scalar>(head_, embedding_, view_of(normed), logits, cache.workers_);
    return view_of(logits);
  }

  StackType stack_;
  Weight<Scalar> embedding_;  // [V x D]
  typename Norm::Config norm_config_;
  NormParams norm_;
  HeadParams head_;
};

}  // namespace heed::inline HEED_ABI
