// The sizes that all layers of a model share, and the options of its caches and tapes.
#pragma once

#include "../core/config_numbers.hpp"
#include "../core/executor.hpp"
#include "../core/storage.hpp"
#include "../mixers/shape.hpp"

namespace heed::inline HEED_ABI {

/// What all layers share. Zero means: as stated.
struct Sizes {
  Index width = 0;        // D
  Index heads = 0;        // H
  Index kv_heads = 0;     // G; 0: H
  Index head_width = 0;   // E, of queries and keys; 0: D / H
  Index value_width = 0;  // E_v, of values; 0: E
  Index hidden = 0;       // F, inside the feed-forward; 0: 8 D / 3 rounded up to a multiple of 16

  /// The shape of a whole layer. Raises ConfigError if the sizes do not fit together.
  Shape shape() const {
    HEED_EXPECTS(ConfigError, width >= 1, "width: expected 1 or more, found ", width);
    HEED_EXPECTS(ConfigError, heads >= 1, "heads: expected 1 or more, found ", heads);
    const Index groups = kv_heads == 0 ? heads : kv_heads;
    HEED_EXPECTS(ConfigError, groups >= 1 && heads % groups == 0, "kv_heads: expected a divisor of heads = ", heads,
                 ", found ", kv_heads);
    HEED_EXPECTS(ConfigError, head_width > 0 || (head_width == 0 && width % heads == 0),
                 "head_width: expected 1 or more, or width divisible by heads; found head_width ", head_width, ", width ",
                 width, ", heads ", heads);
    HEED_EXPECTS(ConfigError, value_width >= 0, "value_width: expected 0 or more, found ", value_width);
    HEED_EXPECTS(ConfigError, hidden >= 0, "hidden: expected 0 or more, found ", hidden);
    for (const Index size : {width, heads, kv_heads, head_width, value_width, hidden})
      HEED_EXPECTS(ConfigError, size <= largest_size, "sizes: expected at most ", largest_size, ", found ", size);
    const Index each = head_width == 0 ? width / heads : head_width;
    return {.width = width,
            .head_width = each,
            .value_width = value_width == 0 ? each : value_width,
            .group = heads / groups,
            .hidden = hidden == 0 ? (8 * width / 3 + 15) / 16 * 16 : hidden,
            .heads = {0, heads},
            .kv_heads = {0, groups}};
  }

  template <class F, class C>
  static void fields(F&& f, C& sizes) {
    f("width", sizes.width);
    f("heads", sizes.heads);
    f("kv_heads", sizes.kv_heads);
    f("head_width", sizes.head_width);
    f("value_width", sizes.value_width);
    f("hidden", sizes.hidden);
  }
};

struct CacheOptions {
  Index sequences = 1;
  Index positions = 0;                    // that each sequence can hold
  Index rows = 1;                         // new rows of the largest call that must not allocate
  Index checkpoints = 1;                  // marks that stay good at a time
  Index recent_states = 0;                // positions that a sequence can go back without a checkpoint, whatever the layers
  Storage storage = Storage::arithmetic;  // of keys and values; states stay as they are computed with
  Storage score_storage = Storage::arithmetic;  // of scores that layers above read
  Executor* executor = nullptr;                 // who runs the jobs; nobody: the calling thread
  Index score_bytes = Index(1) << 24;  // scratch for scores that layers above read: longer inputs are fed in slices

  static constexpr Index longest = Index(1) << 31;     // positions, and rows
  static constexpr Index most_bytes = Index(1) << 46;  // that a cache, or its scratch, may take: 64 TiB

  /// ShapeError unless each can be had, whatever the model.
  void check() const {
    const auto expects = [](std::string_view option, Index found, Index least, Index most) {
      HEED_EXPECTS(ShapeError, found >= least, option, ": expected ", least, " or more, found ", found);
      HEED_EXPECTS(ShapeError, found <= most, option, ": expected at most ", most, ", found ", found);
    };
    expects("sequences", sequences, 1, largest_size);
    expects("positions", positions, 1, longest);
    expects("rows", rows, 1, longest);
    expects("checkpoints", checkpoints, 0, largest_size);
    expects("recent_states", recent_states, 0, largest_size);
    HEED_EXPECTS(ShapeError, score_bytes <= most_bytes, "score_bytes: expected at most ", most_bytes, ", found ",
                 score_bytes);
  }
};

struct TapeOptions {
  Executor* executor = nullptr;
};

}  // namespace heed::inline HEED_ABI
