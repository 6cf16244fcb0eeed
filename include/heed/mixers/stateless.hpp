// What a mixer or a part has where it learns nothing, keeps nothing between calls, or leaves nothing of a call.
#pragma once

#include "cached.hpp"
#include "shape.hpp"

namespace heed::inline HEED_ABI {

/// What a part without a cache has, and what a part without a record has. Parameters: NoParams (core/visit.hpp).
struct NoCache {
  template <class... Given>
  explicit NoCache(const Given&...) {}
  template <class F, class... C>
  static void visit(F&&, C&&...) {}
};
struct NoRecord {};

/// The companions of a mixer or a part that learns nothing, keeps nothing between calls and leaves nothing.
struct Stateless {
  template <class Scalar>
  using Params = NoParams;
  template <class Scalar>
  using Cache = NoCache;
  template <class Scalar>
  using Record = NoRecord;
  static CachePlan plan(const Shape&, const Ignored&) { return {}; }
};

}  // namespace heed::inline HEED_ABI
