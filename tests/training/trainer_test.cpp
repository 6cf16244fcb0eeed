#include "heed/training/trainer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "../model/small_models.hpp"
#include "heed/threads/pool.hpp"

namespace heed {
namespace {

using small_models::expect_same_tensors;
using small_models::shape_error;
using small_models::StandardBlock;
using testing::HasSubstr;

using Bytes = std::vector<unsigned char>;

Bytes counting(Index size, Index period) {
  Bytes text;
  for (Index i = 0; i < size; ++i) text.push_back(static_cast<unsigned char>(i % period));
  return text;
}

// -- windows: a model that only notes what it is shown -----------------------------------------------------------------

struct Notes {
  struct Tape {
    Sequences of;
    const Sequences& sequences() const { return of; }
  };
  struct Batch {
    std::vector<Index> rows;
    std::vector<int> tokens, targets;
  };
  std::vector<Batch> seen = {};
  int backwards = 0;
  NoParams none = {};

  Index vocabulary() const { return 200; }
  NoParams& params() { return none; }
  NoParams make_gradients() const { return {}; }
  Tape make_tape(const Sequences& sequences, const TapeOptions& = {}) const { return {sequences}; }
  double loss(const std::vector<int>& tokens, const std::vector<int>& targets, Tape& tape) {
    seen.push_back({{}, tokens, targets});
    for (Index b = 0; b < tape.of.size(); ++b) seen.back().rows.push_back(tape.of.rows(b));
    return static_cast<double>(tokens.front());
  }
  void backward(Tape&, NoParams&) { ++backwards; }
};

TEST(Trainer, LearnsFromWindowsOfTheTextAndWhatFollowsThem) {
  const Bytes text = counting(200, 200);
  Notes notes;
  Trainer trainer(notes, text, {.batch = 3, .length = 20});
  std::set<int> begins;
  for (Index step = 0; step < 300; ++step) {
    EXPECT_EQ(trainer.steps(), step);
    EXPECT_EQ(trainer.step().step, step);
    const auto& [rows, tokens, targets] = notes.seen.back();
    EXPECT_EQ(rows, (std::vector<Index>{20, 20, 20}));
    ASSERT_EQ(tokens.size(), 60u);
    ASSERT_EQ(targets.size(), 60u);
    for (std::size_t window = 0; window < 60; window += 20) {
      begins.insert(tokens[window]);
      for (std::size_t i = 0; i < 20; ++i) {
        ASSERT_EQ(tokens[window + i], tokens[window] + static_cast<int>(i));
        ASSERT_EQ(targets[window + i], tokens[window + i] + 1);
      }
    }
  }
  EXPECT_EQ(notes.backwards, 300);
  // 900 draws miss a given one of the 180 windows with a probability of (1 - 1/180)^900 < 0.7 %: more than half are seen,
  // and both ends are possible.
  EXPECT_GT(begins.size(), 90u);
  EXPECT_GE(*begins.begin(), 0);
  EXPECT_LE(*begins.rbegin(), 179);
}

TEST(Trainer, DrawsTheFirstAndTheLastWindow) {
  const Bytes text = counting(6, 6);
  Notes notes;
  Trainer trainer(notes, text, {.batch = 40, .length = 4});
  trainer.step();
  const std::set<int> seen(notes.seen[0].targets.begin(), notes.seen[0].targets.end());
  EXPECT_EQ(seen, (std::set<int>{1, 2, 3, 4, 5}));
}

TEST(Trainer, DrawsWindowsByItsSeedAndTheStepAlone) {
  const Bytes text = counting(1000, 200);
  const auto windows = [&](std::uint64_t seed, Index validations) {
    Notes notes;
    Trainer trainer(notes, text, {.batch = 2, .length = 8, .seed = seed});
    std::vector<std::vector<int>> tokens;
    for (int step = 0; step < 5; ++step) {
      trainer.step();
      tokens.push_back(notes.seen.back().tokens);
      for (Index i = 0; i < validations; ++i) trainer.validate(text);
    }
    return tokens;
  };
  const auto first = windows(1, 0);
  EXPECT_EQ(windows(1, 2), first);
  EXPECT_NE(windows(2, 0), first);
  EXPECT_NE(first[0], first[1]);
}

TEST(Trainer, ValidatesEveryTokenButTheFirstOnce) {
  const Bytes text = counting(100, 100);
  for (const Index size : {2, 3, 9, 17, 25, 26, 49, 50, 100}) {
    Notes notes;
    Trainer trainer(notes, text, {.batch = 3, .length = 8});
    trainer.validate(std::span(text).first(static_cast<std::size_t>(size)));
    EXPECT_EQ(notes.backwards, 0);
    std::vector<int> tokens, targets, expected;
    for (const auto& batch : notes.seen) {
      Index rows = 0;
      for (const Index of_window : batch.rows) {
        EXPECT_GE(of_window, 1);
        EXPECT_LE(of_window, 8);
        rows += of_window;
      }
      EXPECT_EQ(rows, static_cast<Index>(batch.tokens.size()));
      EXPECT_LE(batch.rows.size(), 3u);
      tokens.insert(tokens.end(), batch.tokens.begin(), batch.tokens.end());
      targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
    }
    for (int i = 0; i + 1 < size; ++i) expected.push_back(i);
    EXPECT_EQ(tokens, expected);
    for (int& token : expected) ++token;
    EXPECT_EQ(targets, expected);
  }
}

TEST(Trainer, WeighsBatchesByTheirTokensWhenItValidates) {
  const Bytes text = counting(100, 100);
  Notes notes;
  Trainer trainer(notes, text, {.batch = 2, .length = 10});
  // Batches of 20, 20 and 5 tokens that begin with 0, 20 and 40: what this model calls their loss.
  EXPECT_DOUBLE_EQ(trainer.validate(std::span(text).first(46)), (20 * 0 + 20 * 20 + 5 * 40) / 45.0);
}

TEST(Trainer, FollowsItsSchedule) {
  const Bytes text = counting(100, 100);
  const WarmupCosine schedule{.peak = 0.5, .floor = 0.25, .warmup_steps = 2, .total_steps = 5};
  Notes notes;
  Trainer trainer(notes, text, {.batch = 1, .length = 4, .schedule = schedule});
  for (Index step = 0; step < 7; ++step) EXPECT_EQ(trainer.step().learning_rate, schedule.at(step));
}

TEST(Trainer, RefusesATextWithoutAWindow) {
  Notes notes;
  const Bytes nothing, eight = counting(8, 8), nine = counting(9, 9);
  const TrainerOptions options{.batch = 1, .length = 8};
  EXPECT_THAT(shape_error([&] { Trainer(notes, nothing, options); }), HasSubstr("text: expected at least 9 tokens"));
  EXPECT_THAT(shape_error([&] { Trainer(notes, eight, options); }), HasSubstr("found 8"));
  Trainer trainer(notes, nine, options);
  trainer.step();
  EXPECT_THAT(shape_error([&] { trainer.validate(std::span(nine).first(1)); }),
              HasSubstr("held-out text: expected at least 2 tokens, found 1"));
}

TEST(Trainer, RefusesTokensThatTheModelDoesNotKnow) {
  Notes notes;
  const std::vector<int> high{1, 2, 200, 4}, low{1, -2, 3}, good{1, 2, 3};
  const TrainerOptions options{.batch = 1, .length = 2};
  EXPECT_THAT(shape_error([&] { Trainer(notes, high, options); }),
              HasSubstr("text: expected tokens in [0, 200), found 200 at 2"));
  Trainer trainer(notes, good, options);
  EXPECT_THAT(shape_error([&] { trainer.validate(low); }),
              HasSubstr("held-out text: expected tokens in [0, 200), found -2 at 1"));
}

TEST(Trainer, RefusesOptionsThatMakeNoWindow) {
  Notes notes;
  const Bytes text = counting(10, 10);
  EXPECT_THROW(Trainer(notes, text, {.batch = 0}), ConfigError);
  EXPECT_THROW(Trainer(notes, text, {.length = 0}), ConfigError);
}

// -- a model that learns -----------------------------------------------------------------------------------------------

using OneBlock = Stack<float, StandardBlock>;
using OneLayer = LanguageModel<OneBlock>;

OneLayer one_layer() {
  return OneLayer(20, OneBlock({.width = 16, .heads = 2, .hidden = 32}), 1);
}

constexpr TrainerOptions short_training{
    .batch = 4, .length = 16, .schedule = {.peak = 0.01, .floor = 0.001, .warmup_steps = 5, .total_steps = 60}};

TEST(Trainer, TeachesAModelToCount) {
  const Bytes text = counting(400, 20), held_out = counting(100, 20);
  OneLayer model = one_layer();
  Trainer trainer(model, text, short_training);
  const double before = trainer.validate(held_out);
  // It knows nothing yet. A logit is the product of a row of norm sqrt(16) and weights of deviation 0.02; none of the 20 is
  // 5 of its deviations away from 0, and what logits are off by counts twice in a loss.
  EXPECT_NEAR(before, std::log(20.0), 2 * 5 * std::sqrt(16.0) * Initialiser::deviation);
  double first = 0, last = 0;
  for (Index step = 0; step < 60; ++step) {
    const TrainingStep done = trainer.step();
    EXPECT_GT(done.gradient_norm, 0);
    if (step == 0) first = done.loss;
    last = done.loss;
  }
  EXPECT_LT(last, first / 2);
  EXPECT_LT(trainer.validate(held_out), before / 2);
}

TEST(Trainer, LeavesTheSameWeightsForAnyNumberOfWorkers) {
  const Bytes text = counting(400, 20);
  const auto train = [&](Executor* executor) {
    OneLayer model = one_layer();
    TrainerOptions options = short_training;
    options.executor = executor;
    Trainer trainer(model, text, options);
    std::vector<double> losses;
    for (int step = 0; step < 3; ++step) losses.push_back(trainer.step().loss);
    losses.push_back(trainer.validate(text));
    return std::pair(losses, model);
  };
  const auto [losses, model] = train(nullptr);
  for (const int workers : {1, 2, 3}) {
    Pool pool(workers);
    const auto [shared_losses, shared] = train(&pool);
    EXPECT_EQ(shared_losses, losses);
    expect_same_tensors(shared.params(), model.params());
  }
}

TEST(Trainer, LearnsTheSameFromBytesAndFromNumbers) {
  const Bytes bytes = counting(100, 20);
  const std::vector<int> numbers(bytes.begin(), bytes.end());
  OneLayer by_bytes = one_layer(), by_numbers = one_layer();
  Trainer(by_bytes, bytes, short_training).step();
  Trainer(by_numbers, numbers, short_training).step();
  expect_same_tensors(by_bytes.params(), by_numbers.params());
}

}  // namespace
}  // namespace heed
