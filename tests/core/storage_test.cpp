#include <gtest/gtest.h>

#include <cmath>
#include <heed/core/head_table.hpp>
#include <limits>
#include <random>
#include <vector>

namespace heed {
namespace {

template <class Scalar>
std::vector<Scalar> stored(Storage storage, const std::vector<Scalar>& numbers) {
  const auto n = static_cast<Index>(numbers.size());
  std::vector<std::uint16_t> bits(numbers.size());
  std::vector<Scalar> back(numbers.size());
  narrow(storage, numbers.data(), n, bits.data());
  widen(storage, bits.data(), n, back.data());
  return back;
}

template <class Scalar>
class StorageOf : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(StorageOf, Scalars);

TYPED_TEST(StorageOf, NumbersIsWithinHalfALastPlace) {
  std::mt19937 random(3);
  std::normal_distribution<TypeParam> normal(0, 30);
  std::vector<TypeParam> numbers(1000);
  for (TypeParam& x : numbers) x = normal(random);
  const double float_place = std::ldexp(1.0, -24);  // a double is rounded twice
  for (const auto& [storage, place] : {std::pair(Storage::bfloat16, 0x1p-8), std::pair(Storage::half, 0x1p-11)}) {
    const auto back = stored(storage, numbers);
    for (std::size_t i = 0; i < numbers.size(); ++i)
      EXPECT_LE(std::abs(static_cast<double>(back[i] - numbers[i])),
                (place + float_place) * std::abs(static_cast<double>(numbers[i])))
          << name_of(storage);
    EXPECT_EQ(stored(storage, back), back) << "what was rounded once is exact";
  }
}

TYPED_TEST(StorageOf, WhatIsNotFiniteStaysSo) {
  constexpr TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  for (const Storage storage : {Storage::bfloat16, Storage::half}) {
    const auto back = stored<TypeParam>(storage, {infinity, -infinity, std::numeric_limits<TypeParam>::quiet_NaN(), 0});
    EXPECT_EQ(back[0], infinity);
    EXPECT_EQ(back[1], -infinity);
    EXPECT_TRUE(std::isnan(back[2]));
    EXPECT_EQ(back[3], TypeParam(0));
  }
  EXPECT_EQ(stored<TypeParam>(Storage::half, {70000})[0], infinity);
  EXPECT_EQ(stored<TypeParam>(Storage::bfloat16, {TypeParam(0x1p100)})[0], TypeParam(0x1p100));
}

TEST(Storage, TakesTwoBytesUnlessItIsTheArithmetics) {
  EXPECT_EQ(bytes_of<float>(Storage::arithmetic), 4);
  EXPECT_EQ(bytes_of<double>(Storage::arithmetic), 8);
  EXPECT_EQ(bytes_of<double>(Storage::bfloat16), 2);
  EXPECT_EQ(bytes_of<float>(Storage::half), 2);
}

TEST(HeadRows, OfNarrowStorageAreReadByRow) {
  const std::vector<float> numbers = {1, 2, -3, 0.5f, 0, 4};
  std::vector<std::uint16_t> bits(6);
  narrow(Storage::half, numbers.data(), 6, bits.data());
  HeadRows<float> rows;
  rows.rows = 2, rows.width = 2, rows.stride = 3;
  rows.storage = Storage::half;
  rows.narrow = bits.data();
  float buffer[2];
  EXPECT_EQ(rows.row(1, buffer), buffer);
  EXPECT_EQ(buffer[0], 0.5f);
  EXPECT_EQ(buffer[1], 0.0f);

  const HeadRows<float> wide{numbers.data(), nullptr, 2, 2, 3, 0};
  EXPECT_EQ(wide.row(1, buffer), numbers.data() + 3);
}

}  // namespace
}  // namespace heed
