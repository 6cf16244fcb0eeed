#include "heed/signals/wiring.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace heed {
namespace {

template <class Consumes, class Publishes>
struct Layer {
  using consumes = Consumes;
  using publishes = Publishes;
};
using Standard = Layer<signals<>, signals<values, scores>>;
using Residual = Layer<signals<first<values>>, signals<values, scores>>;
using Reuse = Layer<signals<nearest<scores>>, signals<values, scores>>;
using Recurrent = Layer<signals<>, signals<>>;

template <class Tap>
constexpr TapInfo tap = {Tap::name, Tap::signal::name, &Tap::source};

template <class... Layers>
constexpr std::array<LayerSignals, sizeof...(Layers)> stack_of() {
  return {layer_signals<Layers>()...};
}

TEST(Wiring, AComponentsListsBecomeTables) {
  constexpr LayerSignals residual = layer_signals<Residual>();
  static_assert(residual.consumes.size() == 1 && residual.publishes.size() == 2);
  static_assert(residual.consumes[0].name == "first" && residual.consumes[0].signal == "values");
  static_assert(residual.publishes[0] == "values" && residual.publishes[1] == "scores");
}

TEST(Wiring, ALayerPublishesTheSignalsOfItsList) {
  static_assert(layer_signals<Standard>().publishes_signal("scores"));
  static_assert(!layer_signals<Recurrent>().publishes_signal("scores"));
}

TEST(Wiring, SourcesAreFoundWhileCompiling) {
  static constexpr auto layers = stack_of<Standard, Recurrent, Residual, Reuse, Recurrent, Reuse>();
  static_assert(source_of(layers, 2, tap<first<values>>) == 0);
  static_assert(source_of(layers, 3, tap<nearest<scores>>) == 2);
  static_assert(source_of(layers, 5, tap<nearest<scores>>) == 3);
  static_assert(source_of(layers, 5, tap<at<2, values>>) == 2);
}

TEST(Wiring, ALayerNeverReadsItselfOrALayerAbove) {
  static constexpr auto layers = stack_of<Recurrent, Residual, Standard>();
  static_assert(source_of(layers, 1, tap<first<values>>) == nowhere);
  static_assert(source_of(layers, 1, tap<at<1, values>>) == nowhere);
  static_assert(source_of(layers, 1, tap<at<2, values>>) == nowhere);
}

TEST(Wiring, AStackWhoseTapsAllFindASourceHasNothingUnwired) {
  static_assert(first_unwired(stack_of<Standard, Residual, Reuse>()).layer == nowhere);
  static_assert(first_unwired(stack_of<>()).layer == nowhere);
}

TEST(Wiring, TheLowestUnwiredLayerIsNamedWithItsTap) {
  using Both = Layer<signals<first<values>, nearest<scores>>, signals<>>;
  using ValuesOnly = Layer<signals<>, signals<values>>;
  constexpr Unwired no_scores = first_unwired(stack_of<ValuesOnly, Residual, Layer<signals<>, signals<>>, Both>());
  static_assert(no_scores.layer == nowhere, "layer 1 publishes scores");
  constexpr Unwired found = first_unwired(stack_of<ValuesOnly, Recurrent, Both, Residual, Both>());
  static_assert(found.layer == 2 && found.tap == 1);
  constexpr Unwired bottom = first_unwired(stack_of<Residual, Standard>());
  static_assert(bottom.layer == 0 && bottom.tap == 0);
}

// A tap of somebody else's: every second layer, from its own parity.
struct two_below {
  using signal = values;
  static constexpr std::string_view name = "two_below";
  static constexpr int source(std::span<const bool> publishes) {
    const std::size_t n = publishes.size();
    return n >= 2 && publishes[n - 2] ? static_cast<int>(n) - 2 : nowhere;
  }
};

TEST(Wiring, ATapOfAUserIsWiredLikeAnyOther) {
  using Skipping = Layer<signals<two_below>, signals<values>>;
  static constexpr auto layers = stack_of<Standard, Standard, Skipping, Skipping>();
  static_assert(first_unwired(layers).layer == nowhere);
  static_assert(source_of(layers, 2, tap<two_below>) == 0 && source_of(layers, 3, tap<two_below>) == 1);
  static_assert(first_unwired(stack_of<Standard, Skipping>()).layer == 1);
}

struct gates {  // a signal of somebody else's; wiring asks for its name only
  static constexpr std::string_view name = "gates";
};

TEST(Wiring, ASignalOfAUserIsWiredLikeAnyOther) {
  using Source = Layer<signals<>, signals<gates>>;
  using Reader = Layer<signals<nearest<gates>>, signals<>>;
  static_assert(first_unwired(stack_of<Source, Standard, Reader>()).layer == nowhere);
  static_assert(source_of(stack_of<Source, Standard, Reader>(), 2, tap<nearest<gates>>) == 0);
  static_assert(first_unwired(stack_of<Standard, Reader>()).layer == 1);
}

TEST(Wiring, TheSameFunctionWiresAtRunTime) {
  std::vector<LayerSignals> layers(40, layer_signals<Recurrent>());
  layers[7] = layer_signals<Standard>();
  layers[20] = layer_signals<Reuse>();
  layers[39] = layer_signals<Reuse>();
  EXPECT_EQ(first_unwired(layers).layer, nowhere);
  EXPECT_EQ(source_of(layers, 20, tap<nearest<scores>>), 7);
  EXPECT_EQ(source_of(layers, 39, tap<nearest<scores>>), 20);
  layers[7] = layer_signals<Recurrent>();
  EXPECT_EQ(first_unwired(layers).layer, 20);
}

}  // namespace
}  // namespace heed
