// What the values of a layer keep between calls: the rows that were attended over.
#pragma once

#include "cached.hpp"
#include "shape.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct ValueCache {
  CachedRows<Scalar> v;  // [S x E_v] per (sequence, kv head)

  template <class Config>
  ValueCache(const Shape& shape, const Config&, const CacheSize& size) : v(size, shape.kv_heads.count, shape.value_width) {}
  template <class F, class... C>
  static void visit(F&& f, C&&... c) {
    f("v", c.v...);
  }
};

}  // namespace heed::inline HEED_ABI
