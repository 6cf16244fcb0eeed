#include "heed/ops/rotary_pairs.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "heed/ops/rotary.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

constexpr RotaryPairs half_split = RotaryPairs::half_split, interleaved = RotaryPairs::interleaved;

TEST(RotaryPairs, PutFeature2iWhereHalfSplitHasFeatureI) {
  Matrix<float> w(1, 12);
  w << 0, 1, 2, 3, 4, 5, /* the next head */ 10, 11, 12, 13, 14, 15;
  Matrix<float> split(1, 12), of_four(1, 12);
  split << 0, 2, 4, 1, 3, 5, 10, 12, 14, 11, 13, 15;
  of_four << 0, 2, 1, 3, 4, 5, 10, 12, 11, 13, 14, 15;
  EXPECT_EQ(convert_rotary_pairs(w, interleaved, half_split, 6), split);
  EXPECT_EQ(convert_rotary_pairs(split, half_split, interleaved, 6), w);
  EXPECT_EQ(convert_rotary_pairs(w, interleaved, half_split, 6, 4), of_four);
  EXPECT_EQ(convert_rotary_pairs(w, half_split, half_split, 6), w);
}

// Rows are converted like weights: x W has the columns of W.
TEST(RotaryPairs, TurnTheSameInBothLayouts) {
  const auto x = random_matrix<float>(7, 3 * 20, "x");
  const std::vector<Index> positions = {0, 1, 2, 3, 77, 5, 1000};
  for (const Index width : {20, 14, 2}) {
    const Matrix<float> turned = rotate(x, positions, 20, {.width = width, .pairs = interleaved});
    const Matrix<float> as_split = convert_rotary_pairs(x, interleaved, half_split, 20, width);
    const Matrix<float> split_turned = rotate(as_split, positions, 20, {.width = width, .pairs = half_split});
    EXPECT_TRUE(same_bits(convert_rotary_pairs(split_turned, half_split, interleaved, 20, width), turned)) << width;
  }
}

TEST(RotaryPairs, OfWeightsMakeNoDifferenceToScores) {
  const auto x = random_matrix<double>(6, 24, "x"), w_q = random_matrix<double>(24, 16, "w_q"),
             w_k = random_matrix<double>(24, 16, "w_k");
  const std::vector<Index> positions = {0, 1, 2, 3, 4, 5};
  const auto score = [&](const Matrix<double>& q_weights, const Matrix<double>& k_weights, RotaryPairs pairs) {
    const Matrix<double> q = rotate(x * q_weights, positions, 16, {.pairs = pairs});
    const Matrix<double> k = rotate(x * k_weights, positions, 16, {.pairs = pairs});
    return Matrix<double>(q * k.transpose());
  };
  const Matrix<double> w_q_split = convert_rotary_pairs(w_q, RotaryPairs::interleaved, RotaryPairs::half_split, 16);
  const Matrix<double> w_k_split = convert_rotary_pairs(w_k, RotaryPairs::interleaved, RotaryPairs::half_split, 16);
  const Matrix<double> exact = score(w_q, w_k, interleaved);
  // sums of 24 and of 16 terms, in another order
  const double bound = (24 + 16) * std::numeric_limits<double>::epsilon() * reference::largest(exact);
  EXPECT_LE(reference::error_of(score(w_q_split, w_k_split, half_split), exact), 2 * bound);
}

TEST(RotaryPairs, AreOnlyConvertedInWholeHeads) {
  const Matrix<float> w = Matrix<float>::Zero(2, 12);
  EXPECT_THROW(convert_rotary_pairs(w, interleaved, half_split, 5), ShapeError);
  EXPECT_THROW(convert_rotary_pairs(w, interleaved, half_split, 3), ShapeError);
  EXPECT_THROW(convert_rotary_pairs(w, interleaved, half_split, 6, 8), ShapeError);
  EXPECT_THROW(convert_rotary_pairs(w, interleaved, half_split, 6, 3), ShapeError);
  EXPECT_THROW(convert_rotary_pairs(w, interleaved, half_split, 0), ShapeError);
}

}  // namespace
}  // namespace heed
