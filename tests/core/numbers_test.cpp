#include "heed/core/numbers.hpp"

#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

namespace heed {
namespace {

TEST(Numbers, AreOfTheScalarTheyWereMadeOf) {
  const Matrix<float> matrix{{1, 2, 3}, {4, 5, 6}};
  const Numbers block = matrix.rightCols(2);
  EXPECT_TRUE(block.given());
  EXPECT_EQ(block.rows(), 2);
  EXPECT_EQ(block.cols(), 2);
  EXPECT_EQ(block.stride(), 3);
  EXPECT_TRUE(block.are<float>());
  EXPECT_FALSE(block.are<double>());
  EXPECT_EQ(block.data<float>()[block.stride()], 5.0f);
}

TEST(Numbers, OfAListOrAVectorAreOneRow) {
  const std::vector<double> list = {1, 2};
  const Eigen::VectorXf vector = Eigen::VectorXf::Constant(3, 7.0f);
  const Numbers of_list = list, of_vector = vector;
  EXPECT_EQ(of_list.rows(), 1);
  EXPECT_EQ(of_list.cols(), 2);
  EXPECT_EQ(of_list.at(1), 2.0);
  EXPECT_EQ(of_vector.rows(), 1);
  EXPECT_EQ(of_vector.cols(), 3);
  EXPECT_EQ(of_vector.at(2), 7.0);
}

TEST(Numbers, ThatAreNotGivenAreOfEveryScalar) {
  const Numbers none;
  EXPECT_FALSE(none.given());
  EXPECT_TRUE(none.are<float>() && none.are<double>());
  EXPECT_EQ(none.size(), 0);
  EXPECT_FALSE(Flags().given());
}

// What an option holds has to live as long as the option.
static_assert(!std::is_constructible_v<Numbers, std::vector<float>>);
static_assert(!std::is_constructible_v<Numbers, Matrix<float>>);
static_assert(!std::is_constructible_v<Flags, Matrix<bool>>);
static_assert(std::is_constructible_v<Numbers, const std::vector<float>&>);

}  // namespace
}  // namespace heed
