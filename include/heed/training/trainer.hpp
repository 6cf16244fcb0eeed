// Training a language model on windows of one text.
//
//   step s:  `batch` windows of `length` + 1 tokens, drawn by (seed, s) alone   ->   loss, gradients, AdamW
//
// The windows depend neither on the model nor on the steps before, so that variants are trained on the same text.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <ranges>
#include <span>
#include <string>
#include <vector>

#include "../core/random.hpp"
#include "../core/sequences.hpp"
#include "../model/stack_config.hpp"
#include "adamw.hpp"
#include "schedule.hpp"

namespace heed::inline HEED_ABI {

struct TrainerOptions {
  Index batch = 8;     // windows of a step
  Index length = 128;  // predicted tokens of a window
  WarmupCosine schedule = {};
  AdamWOptions optimizer = {};
  std::uint64_t seed = 0;        // of the windows
  Executor* executor = nullptr;  // who runs the jobs; nobody: the calling thread. It outlives the trainer
};

struct TrainingStep {
  Index step;            // from 0
  double loss;           // before the step, nats per token
  double gradient_norm;  // before clipping
  double learning_rate;
};

/// Model: a LanguageModel, or what has its make_tape, loss, backward, params, make_gradients and vocabulary. Token:
/// unsigned char or int. The model and the text are the caller's and outlive the trainer.
template <class Model, class Token>
class Trainer {
  static_assert(std::same_as<Token, unsigned char> || std::same_as<Token, int>,
                "heed: the tokens of a text are unsigned char (bytes) or int");
  using Gradients = decltype(std::declval<Model&>().make_gradients());
  using Tape = decltype(std::declval<Model&>().make_tape(std::declval<Sequences>()));

 public:
  /// Raises ConfigError for options that make no window, and ShapeError for a text without one whole window or with a token
  /// that the model does not know.
  Trainer(Model& model, std::span<const Token> text, const TrainerOptions& options = {})
      : model_(model),
        text_(text),
        options_(checked(options)),
        gradients_(model.make_gradients()),
        optimizer_(gradients_, options.optimizer, options.executor),
        tape_(model.make_tape(Sequences::each(options.batch, options.length), {.executor = options.executor})) {
    expects_text("text", text);
    HEED_EXPECTS(ShapeError, size_of(text) > options.length, "text: expected at least ", options.length + 1,
                 " tokens (a window and the one that follows), found ", text.size());
  }

  /// Draws the next windows and learns from them.
  TrainingStep step() {
    Random random(options_.seed, "windows." + std::to_string(steps_));
    const double places = static_cast<double>(size_of(text_) - options_.length);
    begin_batch();
    for (Index window = 0; window < options_.batch; ++window)
      add_window(text_, static_cast<Index>(random.uniform() * places), options_.length);

    set_zero(gradients_);
    TrainingStep done{.step = steps_, .loss = 0, .gradient_norm = 0, .learning_rate = options_.schedule.at(steps_)};
    done.loss = model_.loss(tokens_, targets_, tape_);
    model_.backward(tape_, gradients_);
    done.gradient_norm = optimizer_.step(model_.params(), gradients_, done.learning_rate);
    ++steps_;
    return done;
  }
  /// Steps taken.
  Index steps() const { return steps_; }

  /// The mean loss over a held-out text, in nats per token: every token but the first is predicted once, from those before
  /// it in its window; windows follow one another. ShapeError for a text of less than two tokens.
  double validate(std::span<const Token> text) {
    expects_text("held-out text", text);
    HEED_EXPECTS(ShapeError, text.size() >= 2, "held-out text: expected at least 2 tokens, found ", text.size());
    const Index predicted = size_of(text) - 1;
    const Index of_batch = options_.batch * options_.length;
    double sum = 0;
    Index begin = 0;
    for (; begin + of_batch <= predicted; begin += of_batch)
      sum += static_cast<double>(of_batch) * loss_at(text, begin, tape_);
    if (begin == predicted) return sum / static_cast<double>(predicted);

    std::vector<Index> rest;
    for (Index at = begin; at < predicted; at += options_.length)
      rest.push_back((std::min)(options_.length, predicted - at));
    Tape tape = model_.make_tape(Sequences(std::span<const Index>(rest)), {.executor = options_.executor});
    sum += static_cast<double>(predicted - begin) * loss_at(text, begin, tape);
    return sum / static_cast<double>(predicted);
  }

 private:
  static const TrainerOptions& checked(const TrainerOptions& options) {
    HEED_EXPECTS(ConfigError, options.batch >= 1, "batch: expected 1 or more, found ", options.batch);
    HEED_EXPECTS(ConfigError, options.length >= 1, "length: expected 1 or more, found ", options.length);
    return options;
  }
  static Index size_of(std::span<const Token> text) { return static_cast<Index>(text.size()); }
  void expects_text(std::string_view what, std::span<const Token> text) const {
    for (std::size_t i = 0; i < text.size(); ++i) {
      const Index token = text[i];
      HEED_EXPECTS(ShapeError, token >= 0 && token < model_.vocabulary(), what, ": expected tokens in [0, ",
                   model_.vocabulary(), "), found ", token, " at ", i);
    }
  }

  void begin_batch() {
    tokens_.clear();
    targets_.clear();
  }
  void add_window(std::span<const Token> text, Index begin, Index length) {
    const auto window = text.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length) + 1);
    tokens_.insert(tokens_.end(), window.begin(), window.end() - 1);
    targets_.insert(targets_.end(), window.begin() + 1, window.end());
  }
  // The mean loss of the tape's windows, which follow one another from `begin` on.
  double loss_at(std::span<const Token> text, Index begin, Tape& tape) {
    begin_batch();
    add_window(text, begin, tape.sequences().rows());
    return model_.loss(tokens_, targets_, tape);
  }

  Model& model_;
  std::span<const Token> text_;
  TrainerOptions options_;
  Gradients gradients_;
  AdamW<Gradients> optimizer_;
  Tape tape_;
  std::vector<int> tokens_;
  std::vector<int> targets_;
  Index steps_ = 0;
};

template <class Model, std::ranges::contiguous_range Text>
Trainer(Model&, const Text&, const TrainerOptions& = {}) -> Trainer<Model, std::ranges::range_value_t<Text>>;

}  // namespace heed::inline HEED_ABI
