// What a model computes in, and what it stores.
#pragma once

#include <type_traits>

#include "abi.hpp"

namespace heed::inline HEED_ABI {

/// Arithmetic: activations, gradients, moments and master weights. Weight and Cached: how weights and caches are stored.
template <class ArithmeticScalar, class WeightScalar = ArithmeticScalar, class CachedScalar = ArithmeticScalar>
struct Precision {
  using Arithmetic = ArithmeticScalar;
  using Weight = WeightScalar;
  using Cached = CachedScalar;
  static_assert(std::is_same_v<Weight, Arithmetic> && std::is_same_v<Cached, Arithmetic>,
                "heed: weights and caches are stored in the arithmetic scalar so far");
};

namespace detail {

template <class T>
struct precision_of {
  using type = Precision<T>;
};
template <class A, class W, class C>
struct precision_of<Precision<A, W, C>> {
  using type = Precision<A, W, C>;
};

}  // namespace detail

/// float means Precision<float>.
template <class ScalarOrPrecision>
using PrecisionOf = typename detail::precision_of<ScalarOrPrecision>::type;

}  // namespace heed::inline HEED_ABI
