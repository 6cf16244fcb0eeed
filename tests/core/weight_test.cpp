#include "heed/core/weight.hpp"

#include <gtest/gtest.h>

#include <heed/core/held.hpp>
#include <string>

#include "../reference/bounds.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

Matrix<float> rounded(const Matrix<float>& numbers, Storage storage) {
  Matrix<float> back(numbers.rows(), numbers.cols());
  Matrix<std::uint16_t> bits(numbers.rows(), numbers.cols());
  narrow(storage, numbers.data(), numbers.size(), bits.data());
  widen(storage, bits.data(), bits.size(), back.data());
  return back;
}

struct Params {
  Weight<float> w;      // [5 x 3]
  Matrix<float> plain;  // [2 x 3]
  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    f("w", Role::matrix, p.w...);
    f("plain", Role::matrix, p.plain...);
  }
};

Params some_params() {
  return {random_matrix<float>(5, 3, "w"), random_matrix<float>(2, 3, "plain")};
}

class WeightIn : public testing::TestWithParam<Storage> {};
INSTANTIATE_TEST_SUITE_P(SixteenBits, WeightIn, testing::Values(Storage::bfloat16, Storage::half),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST_P(WeightIn, SixteenBitsKeepsItsShapeAndGivesTheMatrixBack) {
  Weight<float> w = random_matrix<float>(5, 3, "w");
  w.store(GetParam());
  EXPECT_EQ(w.rows(), 5);
  EXPECT_EQ(w.cols(), 3);
  EXPECT_EQ(w.size(), 15);
  EXPECT_EQ(w.bytes(), 30);
  EXPECT_EQ(static_cast<const Matrix<float>&>(w).size(), 0);
}

TEST_P(WeightIn, SixteenBitsIsRoundedOnceAndWidenedExactly) {
  const auto numbers = random_matrix<float>(5, 3, "w");
  Weight<float> w = numbers;
  for (int round = 0; round < 2; ++round) {
    w.store(GetParam());
    w.store(Storage::arithmetic);
    EXPECT_TRUE(same_bits(w, rounded(numbers, GetParam())));
  }
}

TEST_P(WeightIn, SixteenBitsRoundsWhatItIsAssignedAndIsCopiedAsItIs) {
  const auto numbers = random_matrix<float>(4, 6, "other");
  Weight<float> w = random_matrix<float>(5, 3, "w");
  w.store(GetParam());
  w = numbers;
  EXPECT_EQ(w.storage(), GetParam());
  Weight<float> copy = w;
  EXPECT_EQ(copy.storage(), GetParam());
  copy.store(Storage::arithmetic);
  EXPECT_TRUE(same_bits(copy, rounded(numbers, GetParam())));
  w.setZero();
  w.store(Storage::arithmetic);
  EXPECT_TRUE(same_bits(w, Matrix<float>(Matrix<float>::Zero(4, 6))));
}

TEST_P(WeightIn, SixteenBitsIsChosenForWeightsAndNotForOtherTensors) {
  Params params = some_params();
  EXPECT_EQ(weight_bytes(params), 4 * (15 + 6));
  store_weights(params, GetParam());
  EXPECT_EQ(weight_bytes(params), 2 * 15 + 4 * 6);
  EXPECT_EQ(count_parameters(params), 15 + 6);
  EXPECT_TRUE(same_bits(params.plain, some_params().plain));
  expects_same_shapes("params: ", some_params(), params);
}

TEST_P(WeightIn, SixteenBitsIsFoundBehindAnErasedType) {
  auto held = detail::HeldParams<float>::make<Params>(some_params());
  store_weights(held, GetParam());
  EXPECT_EQ(held.as<Params>().w.storage(), GetParam());
  EXPECT_EQ(weight_bytes(held), 2 * 15 + 4 * 6);
}

TEST_P(WeightIn, SixteenBitsIsRefusedByName) {
  Params params = some_params();
  expects_arithmetic("step: ", params);
  store_weights(params, GetParam());
  try {
    expects_arithmetic("step: ", params);
    FAIL() << "expected a ShapeError";
  } catch (const ShapeError& error) {
    EXPECT_EQ(std::string(error.what()), "step: w: expected weights in arithmetic storage, found " +
                                             std::string(name_of(GetParam())) +
                                             "; store_weights(Storage::arithmetic) widens them");
  }
}

}  // namespace
}  // namespace heed
