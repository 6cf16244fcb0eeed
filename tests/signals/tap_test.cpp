#include "heed/signals/tap.hpp"

#include <gtest/gtest.h>

#include <array>

namespace heed {
namespace {

/// What Tap finds among layers that publish its signal (1) or not (0).
template <class Tap, std::size_t n>
constexpr int source(const std::array<bool, n>& publishes) {
  return Tap::source(publishes);
}

constexpr std::array<bool, 0> none = {};
constexpr std::array<bool, 3> no_publisher = {false, false, false};
constexpr std::array<bool, 5> layers_1_and_3 = {false, true, false, true, false};

TEST(Tap, FirstReadsTheLowestLayerThatPublishes) {
  static_assert(source<first<values>>(layers_1_and_3) == 1);
}

TEST(Tap, NearestReadsTheHighestLayerThatPublishes) {
  static_assert(source<nearest<values>>(layers_1_and_3) == 3);
}

TEST(Tap, AtReadsItsLayerAndNoOther) {
  static_assert(source<at<1, values>>(layers_1_and_3) == 1);
  static_assert(source<at<3, values>>(layers_1_and_3) == 3);
  static_assert(source<at<2, values>>(layers_1_and_3) == nowhere);
}

TEST(Tap, AtReadsNoLayerThatIsNotBelow) {
  static_assert(source<at<5, values>>(layers_1_and_3) == nowhere);
  static_assert(source<at<0, values>>(none) == nowhere);
}

TEST(Tap, WithoutAPublisherThereIsNoSource) {
  static_assert(source<first<values>>(no_publisher) == nowhere && source<first<values>>(none) == nowhere);
  static_assert(source<nearest<values>>(no_publisher) == nowhere && source<nearest<values>>(none) == nowhere);
}

TEST(Tap, WithOnePublisherFirstAndNearestAreTheSameLayer) {
  constexpr std::array<bool, 4> only_2 = {false, false, true, false};
  static_assert(source<first<values>>(only_2) == 2 && source<nearest<values>>(only_2) == 2);
}

TEST(Tap, KnowsItsSignal) {
  static_assert(std::is_same_v<first<values>::signal, values>);
  static_assert(std::is_same_v<nearest<scores>::signal, scores>);
  static_assert(std::is_same_v<at<2, scores>::signal, scores>);
}

}  // namespace
}  // namespace heed
