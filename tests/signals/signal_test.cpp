#include "heed/signals/signal.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

struct coefficients {
  static constexpr std::string_view name = "coefficients";
  static constexpr Alignment alignment = Alignment::layer;
};

using Both = signals<values, scores>;

TEST(Signals, AListContainsItsTagsAndNoOthers) {
  static_assert(Both::contains<values> && Both::contains<scores> && !Both::contains<coefficients>);
  static_assert(!signals<>::contains<values>);
}

TEST(Signals, AListKnowsItsSizeAndThePlacesOfItsTags) {
  static_assert(signals<>::size == 0 && Both::size == 2);
  static_assert(Both::index_of<values> == 0 && Both::index_of<scores> == 1);
}

TEST(Signals, TheIndexOfATagThatIsNotInTheListIsItsSize) {
  static_assert(Both::index_of<coefficients> == Both::size);
}

TEST(Signals, AJoinKeepsTheOrderAndHasEachTagOnce) {
  static_assert(std::is_same_v<join<signals<values>, signals<scores>>, Both>);
  static_assert(std::is_same_v<join<Both, signals<scores, coefficients, values>>, signals<values, scores, coefficients>>);
  static_assert(std::is_same_v<join<signals<>, signals<scores, values, scores>>, signals<scores, values>>);
}

TEST(Signals, AJoinWithNothingChangesNothing) {
  static_assert(std::is_same_v<join<Both, signals<>>, Both>);
  static_assert(std::is_same_v<join<signals<>, Both>, Both>);
  static_assert(std::is_same_v<join<signals<>, signals<>>, signals<>>);
}

TEST(Signals, ListsKnownAtRunTimeJoinToOneThatIs) {
  static_assert(std::is_same_v<join<runtime_signals, runtime_signals>, runtime_signals>);
}

TEST(Signals, ValuesAreOfKvHeadsAndScoresOfQueryHeads) {
  static_assert(values::name == "values" && values::alignment == Alignment::kv_heads);
  static_assert(scores::name == "scores" && scores::alignment == Alignment::heads_from_first);
}

TEST(Signals, OfAUserMayBelongToTheLayer) {
  static_assert(coefficients::name != values::name && coefficients::alignment == Alignment::layer);
}

}  // namespace
}  // namespace heed
