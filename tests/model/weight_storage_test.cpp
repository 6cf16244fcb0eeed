// Models that answer with weights in 16 bits: to the bit what the rounded weights give, for half the bytes; and no
// training.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/model/inspect.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/threads/pool.hpp"
#include "heed/training/adamw.hpp"
#include "small_models.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using small_models::enlarge;
using small_models::medium;
using small_models::shape_error;
using small_models::small;
using small_models::some_tokens;
using small_models::Tied;
using small_models::Untied;
using small_models::V;

constexpr Storage narrow_storages[] = {Storage::bfloat16, Storage::half};

/// The model with every weight rounded, stored as before.
template <class Model>
Model rounded(Model model, Storage storage) {
  model.store_weights(storage);
  model.store_weights(Storage::arithmetic);
  return model;
}

/// The logits of a prompt, of single tokens after it, and of the next prompt.
template <class Model>
std::vector<Matrix<float>> answers(const Model& model, Executor* executor = nullptr) {
  auto cache = model.make_cache({.positions = 64, .rows = 20, .executor = executor});
  const std::vector<int> tokens = some_tokens(20, V);
  std::vector<Matrix<float>> all;
  for (const std::size_t rows : {20u, 1u, 1u, 3u, 20u}) all.push_back(model.logits(std::span(tokens).first(rows), cache));
  return all;
}

template <class Model>
void expect_the_bits_of_rounded_weights(const char* name, Model model) {
  enlarge(model);
  for (const Storage storage : narrow_storages) {
    SCOPED_TRACE(std::string(name) + ", " + std::string(name_of(storage)));
    const auto expected = answers(rounded(model, storage));
    Model stored = model;
    stored.store_weights(storage);
    const auto found = answers(stored);
    Pool two(2), three(3);
    const auto found_by_two = answers(stored, &two), found_by_three = answers(stored, &three);
    for (std::size_t call = 0; call < expected.size(); ++call) {
      EXPECT_TRUE(same_bits(found[call], expected[call]));
      EXPECT_TRUE(same_bits(found_by_two[call], expected[call]));
      EXPECT_TRUE(same_bits(found_by_three[call], expected[call]));
    }
    EXPECT_FALSE(same_bits(found[0], answers(model)[0])) << "nothing was rounded";
  }
}

TEST(WeightStorage, AnswersToTheBitAsTheRoundedWeightsDoForAnyNumberOfThreads) {
  expect_the_bits_of_rounded_weights("tied", Tied<float>(V, medium<float>()));
  expect_the_bits_of_rounded_weights("untied", Untied<float>(V, medium<float>()));
  using Layers = DynamicStack<float>;
  expect_the_bits_of_rounded_weights(
      "by choice",
      LanguageModel<Layers>(V, Layers::build({.width = 48, .heads = 4, .kv_heads = 2},
                                             {choose<StandardAttention>(), choose<Mamba>(),
                                              choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>())})));
}

// loss(w + d) - loss(w) is the integral of g(w + t d) . d over t in [0, 1], and |d| <= u |w|; so it is at most
// u sum max_t |g| |w|, the largest gradient taken over five points of the way. In double, where rounding counts for
// nothing.
TEST(WeightStorage, MovesTheLossByNoMoreThanTheRoundedWeightsExplain) {
  for (const auto& [storage, u] : {std::pair(Storage::bfloat16, 0x1p-8), std::pair(Storage::half, 0x1p-11)}) {
    Tied<double> model(V, small());
    enlarge(model);
    const Tied<double> moved = rounded(model, storage);
    const std::vector<int> tokens = some_tokens(9, V), targets = some_tokens(9, V, "targets");
    const auto loss_of = [&](const Tied<double>& at, auto* gradients) {
      auto tape = at.make_tape(Sequences({9}));
      const double loss = at.loss(tokens, targets, tape);
      if (gradients != nullptr) at.backward(tape, *gradients);
      return loss;
    };
    auto largest = model.make_gradients();
    for (const double t : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      Tied<double> between = model;
      visit([&](std::string_view, Role, auto& w, const auto& to) { w += t * (to - w).eval(); }, between.params(),
            moved.params());
      auto gradients = between.make_gradients();
      loss_of(between, &gradients);
      visit([](std::string_view, Role, auto& most, const auto& g) { most = most.cwiseMax(g.cwiseAbs()).eval(); }, largest,
            gradients);
    }
    double sum = 0;
    visit(
        [&](std::string_view, Role role, const auto& most, const auto& w) {
          if (role == Role::matrix || role == Role::output || role == Role::embedding)
            sum += most.cwiseProduct(w.cwiseAbs()).sum();
        },
        largest, model.params());
    const double bound = u * (1 + 0x1p-12) * sum;  // a double is rounded to float before
    decltype(largest)* none = nullptr;
    const double found = std::abs(loss_of(moved, none) - loss_of(model, none));
    EXPECT_LE(found, bound) << name_of(storage);
    EXPECT_GT(found, 0) << "nothing was rounded";
    RecordProperty("found_over_bound_" + std::string(name_of(storage)), std::to_string(found / bound));
  }
}

TEST(WeightStorage, TakesNothingFromTheHeapWhileItDecodes) {
  for (const Storage storage : narrow_storages) {
    Tied<float> model(V, medium<float>());
    model.store_weights(storage);
    auto cache = model.make_cache({.positions = 64, .rows = 20});
    const std::vector<int> tokens = some_tokens(20, V);
    const std::size_t before = allocations_so_far();
    static_cast<void>(model.logits(tokens, cache));
    for (int i = 0; i < 3; ++i) static_cast<void>(model.next_logits(std::span(tokens).first(1), cache));
    EXPECT_EQ(allocations_so_far(), before);
  }
}

TEST(WeightStorage, HalvesTheBytesOfMatricesAndOfNothingElse) {
  Untied<float> model(V, small<float>());
  Index matrices = 0, others = 0;
  visit(
      [&](std::string_view, Role role, const auto& tensor) {
        const bool narrows = role == Role::matrix || role == Role::output || role == Role::embedding;
        (narrows ? matrices : others) += tensor.size();
      },
      model.params());
  EXPECT_EQ(model.weight_bytes(), 4 * (matrices + others));
  const Index parameters = count_parameters(model.params());
  const std::string before = inspect(model);
  model.store_weights(Storage::bfloat16);
  EXPECT_EQ(model.weight_bytes(), 2 * matrices + 4 * others);
  EXPECT_EQ(count_parameters(model.params()), parameters);
  EXPECT_EQ(before.find("bytes of weights"), std::string::npos);
  EXPECT_NE(inspect(model).find(detail::grouped(model.stack().weight_bytes()) + " bytes of weights"), std::string::npos);
}

TEST(WeightStorage, IsRefusedWhereverAModelLearns) {
  Tied<float> model(V, small<float>());
  const std::vector<int> tokens = some_tokens(9, V);
  auto tape = model.make_tape(Sequences({9})), recorded = model.make_tape(Sequences({9}));
  auto gradients = model.make_gradients();
  AdamW optimizer(model.make_gradients());
  static_cast<void>(model.loss(tokens, tokens, recorded));
  model.store_weights(Storage::bfloat16);
  const std::string found = "expected weights in arithmetic storage, found bfloat16";
  const auto expect_refused = [&](const char* entry, auto&& f) {
    EXPECT_TRUE(shape_error(f).starts_with(entry)) << shape_error(f);
    EXPECT_NE(shape_error(f).find(found), std::string::npos) << shape_error(f);
  };
  expect_refused("make_tape: embedding.weight", [&] { static_cast<void>(model.make_tape(Sequences({9}))); });
  expect_refused("make_gradients: embedding.weight", [&] { static_cast<void>(model.make_gradients()); });
  expect_refused("initialise: embedding.weight", [&] { model.initialise(3); });
  expect_refused("loss: embedding.weight", [&] { static_cast<void>(model.loss(tokens, tokens, tape)); });
  expect_refused("backward: embedding.weight", [&] { model.backward(recorded, gradients); });
  expect_refused("weights: embedding.weight", [&] { optimizer.step(model.params(), gradients, 0.1); });
  visit([](std::string_view name, Role, const auto& tensor) { EXPECT_TRUE(tensor.isZero(0)) << name; }, gradients);
  EXPECT_EQ(optimizer.steps(), 0);

  auto layers = small<float>();
  auto of_layers = layers.make_tape(Sequences({2}));
  layers.store_weights(Storage::half);
  const auto x = random_matrix<float>(2, 8, "x");
  EXPECT_NE(shape_error([&] { static_cast<void>(layers.forward(x, of_layers)); }).find("forward: layers.0.mixer.w_q"),
            std::string::npos);

  model.store_weights(Storage::arithmetic);
  model.backward(recorded, gradients);
  static_cast<void>(model.loss(tokens, tokens, tape));
  EXPECT_GT(optimizer.step(model.params(), gradients, 0.1), 0);
}

TEST(WeightStorage, IsChosenForALayerWithoutAStackToo) {
  const auto x = random_matrix<float>(5, 8, "x");
  MixerLayer<float, StandardAttention> layer({.width = 8, .heads = 2});
  const auto apply = [&](Purpose purpose) {
    Workspace work({.positions = 5});
    auto state = layer.make_state(work);
    Matrix<float> y = Matrix<float>::Zero(5, 8);
    layer.apply(work.begin(Sequences({5}), purpose), x, y, state);
    return y;
  };
  layer.store_weights(Storage::bfloat16);
  EXPECT_EQ(layer.weight_bytes(), 2 * count_parameters(layer.params));
  const Matrix<float> y = apply(Purpose::inference);
  EXPECT_NE(shape_error([&] { apply(Purpose::training); }).find("w_q: expected weights in arithmetic"), std::string::npos);
  layer.store_weights(Storage::arithmetic);
  EXPECT_TRUE(same_bits(apply(Purpose::inference), y));
}

}  // namespace
}  // namespace heed
