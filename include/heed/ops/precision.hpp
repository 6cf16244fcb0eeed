// How exactly attention forms its two products, Q K^T and P V, of float operands.
//
//   full     of the operands as they are, in float
//
//   bf16     of each operand rounded to bf16                            x ~ x_0
//            a b ~ a_0 b_0
//
//   bf16x2   of two bf16 terms of each, three products                  x ~ x_0 + x_1
//            a b ~ a_0 b_0 + a_0 b_1 + a_1 b_0
//
//   bf16x3   of three, which are a float exactly, six products          x = x_0 + x_1 + x_2
//            a b ~ the sum of a_i b_j with i + j <= 2
//
//   x_0 = bf16(x)   x_1 = bf16(x - x_0)   x_2 = bf16(x - x_0 - x_1)           to the nearest, ties to even
//
// Products of bf16 numbers are exact in float, and are summed in float. Numbers below 2^-126 count as zero. The name says
// what is computed, not where: with or without tiles for it in the processor it has the same bits, but that tiles take
// products and sums below 2^-126 for zero as well. It is about float, and forward, of 16 query rows or more that share a kv
// head: double, fewer rows and backward are in full. Names: oneMKL's compute modes. Source: Henry, Tang, Heinecke 2019
// (arXiv 1904.06376), section 2.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "../core/abi.hpp"

namespace heed::inline HEED_ABI {

enum class Precision { full, bf16, bf16x2, bf16x3 };

constexpr std::array<std::pair<std::string_view, Precision>, 4> value_names(Precision) {
  return {
      {{"full", Precision::full}, {"bf16", Precision::bf16}, {"bf16x2", Precision::bf16x2}, {"bf16x3", Precision::bf16x3}}};
}

/// The bf16 terms of each operand; 0: it is not split.
constexpr int terms_of(Precision precision) {
  return static_cast<int>(precision);
}

}  // namespace heed::inline HEED_ABI
