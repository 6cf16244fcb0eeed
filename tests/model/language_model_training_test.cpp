// The training half of heed/model/language_model.hpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../reference/central_difference.hpp"
#include "../reference/cross_entropy.hpp"
#include "heed/threads/pool.hpp"
#include "small_models.hpp"

namespace heed {
namespace {

using namespace small_models;
using testing::HasSubstr;

// The longest chain of roundings to a loss: two layers, their norms and the head, in products of 8 and 12 terms over at
// most 4 keys, and log-sum-exp over V.
constexpr Index loss_operations = 2 * (5 * 8 + 12 + 4 + 20) + 2 * 8 + 2 * V;

TEST(LanguageModelTraining, LosesLnVWhenAllLogitsAreEqual) {
  Tied<double> model(V, small());
  model.params().embedding.setZero();
  auto tape = model.make_tape({3, 4});
  EXPECT_NEAR(model.loss(some_tokens(7, V), some_tokens(7, V, "targets"), tape), std::log(double(V)),
              std::numeric_limits<double>::epsilon() * loss_operations * std::log(double(V)));
}

TEST(LanguageModelTraining, LosesTheCrossEntropyOfItsLogits) {
  Untied<double> model(V, small());
  enlarge(model);
  const Sequences sequences{3, 0, 4};
  const auto tokens = some_tokens(7, V);
  auto targets = some_tokens(7, V, "targets");
  targets[1] = -1;  // has none
  auto cache = model.make_cache({.sequences = 3, .positions = 4, .rows = 7});
  auto tape = model.make_tape(sequences);
  const Matrix<double> logits = model.logits(tokens, sequences, cache);
  // A logit that is off by d changes the loss by at most 2 d.
  EXPECT_NEAR(model.loss(tokens, targets, tape), reference::cross_entropy(logits, targets).loss,
              2 * std::numeric_limits<double>::epsilon() * loss_operations * reference::largest(logits));
}

template <class Model>
struct AnyGradient : testing::Test {};
using ExactModels = testing::Types<Tied<double>, Untied<double>>;
TYPED_TEST_SUITE(AnyGradient, ExactModels);

TYPED_TEST(AnyGradient, IsTheSlopeOfTheLossInEveryTensor) {
  TypeParam model(V, small());
  enlarge(model);
  const auto tokens = some_tokens(7, V);
  auto targets = some_tokens(7, V, "targets");
  targets[1] = -1;
  auto tape = model.make_tape({3, 0, 4});
  auto gradients = model.make_gradients();
  model.loss(tokens, targets, tape);
  model.backward(tape, gradients);
  const auto f = [&] {
    const double loss = model.loss(tokens, targets, tape);
    return reference::Sum{loss, loss};
  };
  visit(
      [&](std::string_view name, Role, auto& weight, const auto& gradient) {
        const testing::ScopedTrace trace(__FILE__, __LINE__, std::string(name));
        EXPECT_GT(reference::largest(gradient), 0);
        reference::expect_gradient(weight, gradient, loss_operations, f);
      },
      model.params(), gradients);
}

TEST(LanguageModelTraining, LearnsWithAMemoryAndHandsItsGradientOn) {
  Reader<double> model = reader<double>();
  enlarge(model);
  const Sequences sequences{3, 0, 4}, memories{4, 1, 2};
  const auto tokens = some_tokens(7, V), targets = some_tokens(7, V, "targets");
  Matrix<double> m = reference::random_matrix<double>(7, 8, "m"), d_m = Matrix<double>::Zero(7, 8);
  auto tape = model.make_tape(sequences);
  auto gradients = model.make_gradients();
  model.loss(tokens, targets, MemoryRows(m, memories, d_m), tape);
  model.backward(tape, gradients);
  const auto f = [&] {
    const double loss = model.loss(tokens, targets, MemoryRows(m, memories), tape);
    return reference::Sum{loss, loss};
  };
  EXPECT_GT(reference::largest(d_m), 0);
  EXPECT_TRUE(d_m.row(4).isZero(0)) << "its sequence has no tokens";
  reference::expect_gradient(m, d_m, loss_operations, f);
  reference::expect_gradient(model.params().embedding, gradients.embedding, loss_operations, f);
}

TEST(LanguageModelTraining, AddsToTheGradients) {
  Tied<double> model(V, small());
  enlarge(model);
  auto tape = model.make_tape({7});
  const auto backward = [&](double start) {
    auto gradients = model.make_gradients();
    visit([&](std::string_view, Role, auto& gradient) { gradient.setConstant(start); }, gradients);
    model.loss(some_tokens(7, V), some_tokens(7, V, "targets"), tape);
    model.backward(tape, gradients);
    return gradients;
  };
  // Starting at 1 changes one rounding of each of the terms that are added: a row each for weights, a logit each for
  // embeddings.
  const double bound = std::numeric_limits<double>::epsilon() * (7 + V);
  visit(
      [&](std::string_view name, Role, const auto& from_one, const auto& from_zero) {
        EXPECT_LE(reference::error_of(from_one, Matrix<double>(from_zero.array() + 1)),
                  bound * (1 + reference::largest(from_zero)))
            << name;
      },
      backward(1), backward(0));
}

TEST(LanguageModelTraining, HasTheSameGradientBitsForAnyNumberOfWorkers) {
  const Tied<double> model(70, medium());
  const auto tokens = some_tokens(80, 70), targets = some_tokens(80, 70, "targets");
  const auto run = [&](Executor* executor) {
    auto tape = model.make_tape({50, 30}, {.executor = executor});
    auto gradients = model.make_gradients();
    const double loss = model.loss(tokens, targets, tape);
    model.backward(tape, gradients);
    return std::pair(loss, std::move(gradients));
  };
  const auto [alone, gradients] = run(nullptr);
  for (const int workers : {1, 2, 3}) {
    Pool pool(workers);
    const auto [loss, shared] = run(&pool);
    EXPECT_EQ(loss, alone);
    expect_same_tensors(shared, gradients);
  }
}

TEST(LanguageModelTraining, GivesTheSameLossAgainOnTheSameTape) {
  Tied<double> model(V, small());
  auto tape = model.make_tape({3, 4});
  auto gradients = model.make_gradients();
  const double first = model.loss(some_tokens(7, V), some_tokens(7, V, "targets"), tape);
  model.backward(tape, gradients);
  model.loss(some_tokens(7, V, "others"), some_tokens(7, V, "targets"), tape);
  EXPECT_EQ(model.loss(some_tokens(7, V), some_tokens(7, V, "targets"), tape), first);
}

TEST(LanguageModelTraining, RefusesATapeThatHasNothingToTakeBack) {
  Tied<double> model(V, small());
  auto tape = model.make_tape({4});
  auto gradients = model.make_gradients();
  EXPECT_THAT(shape_error([&] { model.backward(tape, gradients); }), HasSubstr("expected a tape that loss has recorded"));
  model.loss(some_tokens(4, V), some_tokens(4, V), tape);
  Tied<double>::Params empty;
  EXPECT_THAT(shape_error([&] { model.backward(tape, empty); }),
              HasSubstr("gradients: expected those that this model has made"));
  model.backward(tape, gradients);
  EXPECT_THAT(shape_error([&] { model.backward(tape, gradients); }), HasSubstr("expected a tape that loss has recorded"));
}

TEST(LanguageModelTraining, RefusesTapesAndGradientsOfOthersBeforeAnythingChanges) {
  const Untied<double> model(V, small());
  Tied<double> other(V, small());
  const Untied<double> larger(V + 1, Layers<double>(model.stack()));  // of the same layers
  const auto tokens = some_tokens(4, V);
  const auto untouched = [](const auto& gradients) {
    visit([](std::string_view name, Role, const auto& gradient) { EXPECT_TRUE(gradient.isZero(0)) << name; }, gradients);
  };
  auto tape = model.make_tape({4}), of_larger = larger.make_tape({4});
  auto other_model_tape = Untied<double>(V, small()).make_tape({4});
  auto gradients = model.make_gradients(), of_larger_gradients = larger.make_gradients();
  const double expected = model.loss(tokens, tokens, tape);

  EXPECT_THAT(shape_error([&] { model.loss(tokens, tokens, other_model_tape); }),
              HasSubstr("tape: expected one that this model has made"));
  EXPECT_EQ(shape_error([&] { model.loss(tokens, tokens, of_larger); }),
            "tape: expected one for a vocabulary of 11, found one for 12");
  larger.loss(tokens, tokens, of_larger);
  EXPECT_EQ(shape_error([&] { model.backward(of_larger, gradients); }),
            "tape: expected one for a vocabulary of 11, found one for 12");
  EXPECT_EQ(shape_error([&] { model.backward(tape, of_larger_gradients); }),
            "gradients: embedding.weight: expected [11 x 8], found [12 x 8]");
  of_larger_gradients.embedding = gradients.embedding;
  EXPECT_EQ(shape_error([&] { model.backward(tape, of_larger_gradients); }),
            "gradients: head.weight: expected [8 x 11], found [8 x 12]");
  of_larger_gradients.norm.weight.resize(1, 7);
  EXPECT_EQ(shape_error([&] { model.backward(tape, of_larger_gradients); }),
            "gradients: norm.weight: expected [1 x 8], found [1 x 7]");
  untouched(gradients);
  untouched(of_larger_gradients.stack);

  // What was refused has not used the tapes up.
  larger.backward(of_larger, (of_larger_gradients = larger.make_gradients()));
  model.backward(tape, gradients);
  EXPECT_EQ(model.loss(tokens, tokens, tape), expected);
}

TEST(LanguageModelTraining, RefusesTargetsThatDoNotFitAndKeepsWhatTheTapeHas) {
  Tied<double> model(V, small());
  auto tape = model.make_tape({2, 2});
  auto gradients = model.make_gradients();
  const auto good = some_tokens(4, V);
  const auto refused = [&](const std::vector<int>& tokens, const std::vector<int>& targets) {
    return shape_error([&] { model.loss(tokens, targets, tape); });
  };
  model.loss(good, good, tape);
  EXPECT_THAT(refused({1, 2, 3}, good), HasSubstr("tokens: expected 4, found 3"));
  EXPECT_THAT(refused(good, {1, 2, 3, 4, 5}), HasSubstr("targets: expected 4, found 5"));
  EXPECT_THAT(refused({1, 2, 3, 11}, good), HasSubstr("tokens: expected numbers in [0, 11), found 11 at 3"));
  EXPECT_THAT(refused(good, {0, 12, 0, 0}), HasSubstr("targets: expected numbers below 11, found 12 at 1"));
  model.backward(tape, gradients);
}

TEST(LanguageModelTraining, RefusesAMemoryOfOtherSequencesAndKeepsWhatTheTapeHas) {
  const Reader<double> model = reader<double>();
  const Sequences two{2, 1}, three{1, 1, 1};
  const auto tokens = some_tokens(4, V), targets = some_tokens(4, V, "targets");
  const Matrix<double> m = reference::random_matrix<double>(3, 8, "m"), other = m.array() + 1;
  auto tape = model.make_tape({1, 3}), untouched = model.make_tape({1, 3});
  auto gradients = model.make_gradients(), expected = model.make_gradients();
  model.loss(tokens, targets, MemoryRows(m, two), tape);
  EXPECT_EQ(shape_error([&] { model.loss(targets, tokens, MemoryRows(other, three), tape); }),
            "memory: expected that of 2 sequences, found that of 3");
  model.backward(tape, gradients);
  model.loss(tokens, targets, MemoryRows(m, two), untouched);
  model.backward(untouched, expected);
  expect_same_tensors(gradients, expected);
}

}  // namespace
}  // namespace heed
