// The sizes a mixer works with: those of the model, and the heads that are its own.
#pragma once

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

/// The heads [begin, begin + count) of a layer. Zero heads are legal.
struct HeadRange {
  Index begin = 0;
  Index count = 0;
  bool operator==(const HeadRange&) const = default;
};

struct Shape {
  Index width = 0;          // D
  Index head_width = 0;     // E, of queries and keys
  Index value_width = 0;    // E_v, of values
  Index group = 1;          // query heads per kv head
  Index hidden = 0;         // width inside the feed-forward
  HeadRange heads = {};     // query heads of this mixer, count = group * kv_heads.count
  HeadRange kv_heads = {};  // kv heads of this mixer

  Index q_width() const { return heads.count * head_width; }      // H E
  Index k_width() const { return kv_heads.count * head_width; }   // G E
  Index v_width() const { return kv_heads.count * value_width; }  // G E_v
  Index o_width() const { return heads.count * value_width; }     // H E_v

  /// The same layer seen by a mixer that owns `count` of these kv heads, from the `begin`-th on.
  Shape kv_range(Index begin, Index count) const {
    Shape part = *this;
    part.kv_heads = {kv_heads.begin + begin, count};
    part.heads = {part.kv_heads.begin * group, count * group};
    return part;
  }
};

}  // namespace heed::inline HEED_ABI
