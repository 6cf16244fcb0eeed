// Random numbers that depend on (seed, name) and their count alone.
//
//   bits_k = mix(key + (k + 1) gamma),   key = mix(mix(seed) + fnv1a(name))        SplitMix64
//
// Every tensor has a stream of its own, so what two models share starts equal however they differ elsewhere. Numbers are
// drawn in double and rounded last, so float and double models start equal too, up to that rounding.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"; the mixer is Stafford's variant 13.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::string_view name = {}) : state_(mix(mix(seed) + hash(name))) {}

  /// 64 random bits.
  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    return mix(state_);
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

  /// Uniform in [low, high].
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Normal with mean 0 and standard deviation 1, by Box and Muller: sqrt(-2 ln u) cos(2 pi v), u in (0, 1]. Two draws
  /// each.
  double normal() {
    const double u = 1 - uniform();
    const double v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

  /// Fills a matrix, row after row, with N(0, deviation^2).
  template <class Derived>
  void normal(const Eigen::MatrixBase<Derived>& matrix, double deviation) {
    fill(mutable_view_of(matrix), [&] { return deviation * normal(); });
  }

  /// Fills a matrix, row after row, with uniform numbers of [low, high].
  template <class Derived>
  void uniform(const Eigen::MatrixBase<Derived>& matrix, double low, double high) {
    fill(mutable_view_of(matrix), [&] { return uniform(low, high); });
  }

 private:
  static std::uint64_t mix(std::uint64_t bits) {
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
    return bits ^ (bits >> 31);
  }
  static std::uint64_t hash(std::string_view name) {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001B3u;
    return hash;
  }
  template <class Scalar, class Draw>
  static void fill(MutableView<Scalar> matrix, Draw&& draw) {
    for (Index row = 0; row < matrix.rows(); ++row)
      for (Index col = 0; col < matrix.cols(); ++col) matrix(row, col) = static_cast<Scalar>(draw());
  }

  std::uint64_t state_;
};

}  // namespace heed::inline HEED_ABI
