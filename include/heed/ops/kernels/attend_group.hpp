// Whose rows a kernel of attention works on: the query heads of one kv head, a block of their rows, what is known of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "../../core/head_table.hpp"
#include "../lanes.hpp"
#include "../probabilities.hpp"
#include "../product.hpp"

namespace heed::inline HEED_ABI::detail {

/// Query rows stacked in a block at most: they share what is fetched of K and V, whose rows lie far apart, while the
/// block's q and o stay in the second cache. Whole strips of every instruction set, see attend_strips.hpp.
template <class Scalar>
inline constexpr Index attend_block_lanes = 3072 / Index(sizeof(Scalar));

/// In backward, where a block's d_q stands beside them.
template <class Scalar>
inline constexpr Index attend_backward_lanes = 768 / Index(sizeof(Scalar));

/// A block is not smaller if there are more rows; and no larger one is cut along its keys.
template <class Scalar>
inline constexpr Index attend_cut_lanes = 384 / Index(sizeof(Scalar));

inline constexpr Index attend_tile_keys = 64;

/// The query heads that share one kv head, in one sequence.
template <class Scalar>
struct QueryGroup {
  const Scalar* q = nullptr;  // [T x heads*E], the group's first column of the sequence's first row
  Index q_stride = 0;
  HeadRows<Scalar> k;  // [S x E]
  HeadRows<Scalar> v;  // [S x E_v]
  Index heads = 0;
  Index rows = 0;  // T
  Index past = 0;
  Mask mask;
  Scalar scale = 0;
  const Probabilities<Scalar>* kept = nullptr;  // one per head, those without rows are not kept; or none at all
  // Logits wait here, in the arithmetic scalar, for probabilities that are kept in 16 bits: one per head, of the block's
  // rows from `staged_row` on. Or none: then they wait where probabilities will be.
  const Probabilities<Scalar>* staged = nullptr;
  Index staged_row = 0;

  // Options, off as they stand here; see Computed.
  Scalar soft_cap = 0;
  const Scalar* slopes = nullptr;           // [heads]
  const ScoreBias<Scalar>* bias = nullptr;  // one per head
  const Scalar* sinks = nullptr;            // [heads]

  bool keeps(Index head) const { return kept != nullptr && kept[head].kept(); }
  /// Some head in 16 bits.
  bool keeps_narrow() const {
    bool any = false;
    for (Index h = 0; h < heads; ++h) any = any || (keeps(h) && kept[h].storage() != Storage::arithmetic);
    return any;
  }
  /// Something happens to logits before the softmax.
  bool alters_logits() const { return soft_cap > 0 || slopes != nullptr || bias != nullptr; }
  bool hides(Index head, Index row, Index key) const { return bias != nullptr && bias[head].hides(row, key); }
};

/// The query rows in the lanes: lane i heads + h is row i of head h, so that neighbours see about the same keys; `lanes` is
/// padded to whole packets.
struct Stacked {
  Index heads;
  Index rows;
  Index position;  // of row 0
  Index lanes;
  Mask mask;

  Index lane(Index head, Index row) const { return row * heads + head; }
  /// The rows that have a lane in [begin, end), or a part of it that is padding.
  Interval rows_of(Interval of_lanes) const {
    return {of_lanes.begin / heads, (std::min)(rows, (of_lanes.end + heads - 1) / heads)};
  }

  Coverage coverage(Interval keys) const { return coverage(Interval{0, rows}, keys); }
  Coverage coverage(Interval of_rows, Interval keys) const {
    return mask.coverage(position + of_rows.begin, position + of_rows.end - 1, keys.begin, keys.end - 1);
  }
  /// Every key that some row sees is in it.
  Intervals visible(Index keys) const { return mask.visible(position, position + rows - 1, keys); }
  /// The rows, of each head, that see the key.
  Interval seen_by(Index key) const {
    const Interval positions = mask.seen_by(key, position, position + rows - 1);
    return {positions.begin - position, positions.end - position};
  }
  /// The lanes that see the key.
  Interval lanes_that_see(Index key) const {
    const Interval of_rows = seen_by(key);
    return {of_rows.begin * heads, of_rows.end * heads};
  }
};

template <class Scalar>
Stacked stacked(Index heads, Index rows, Index position, const Mask& mask) {
  constexpr Index width = full_width<Scalar>;
  return {heads, rows, position, (heads * rows + width - 1) / width * width, mask};
}

/// Rows [keys] of x, in the arithmetic scalar: where they lie, or widened into buffer [keys x width].
template <class Scalar>
Strided<Scalar> rows_in(const HeadRows<Scalar>& x, Interval keys, Scalar* buffer) {
  if (x.storage == Storage::arithmetic) return {x.data + keys.begin * x.stride, x.stride, 1};
  for (Index i = 0; i < keys.size(); ++i)
    widen(x.storage, x.narrow + (keys.begin + i) * x.stride, x.width, buffer + i * x.width);
  return {buffer, x.width, 1};
}

/// The same, in buffer [keys x width] also if they lie far apart: rows a page apart fall on each other in the caches.
template <class Scalar>
Strided<Scalar> packed_rows_in(const HeadRows<Scalar>& x, Interval keys, Scalar* buffer) {
  if (x.storage != Storage::arithmetic) return rows_in(x, keys, buffer);
  for (Index i = 0; i < keys.size(); ++i) std::copy_n(x.data + (keys.begin + i) * x.stride, x.width, buffer + i * x.width);
  return {buffer, x.width, 1};
}

/// The buffer that rows_in needs for a tile of keys; none where rows are not widened.
template <class Scalar>
Scalar* take_buffer(const HeadRows<Scalar>& x, Arena& scratch) {
  return x.storage == Storage::arithmetic ? nullptr : scratch.take<Scalar>(attend_tile_keys * x.width);
}

/// What is known of a block's rows after some of their keys: maximum and sum of exponentials [heads*rows], and the
/// unnormalised output [heads*rows x E_v]. Partials of other keys merge into the whole.
template <class Scalar>
struct Partial {
  Scalar* maximum;
  Scalar* sum;
  Scalar* o;

  static Index size(Index rows, Index value_width) { return rows * (value_width + 2); }
  static Partial at(Scalar* data, Index rows) { return {data, data + rows, data + 2 * rows}; }
};

/// -inf, which says that a row sees nothing, becomes +inf: exp(logit - it) is then zero for every logit, -inf among them.
template <class Scalar>
Scalar subtrahend(Scalar log_sum_exp) {
  constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();
  return log_sum_exp == -infinity ? infinity : log_sum_exp;
}

/// Merges the `cuts` partials of `count` rows; a sink s adds e^(s - m) to l.
///   o += sum_c w_c o_c     w_c = e^(m_c - m) / l     l = sum_c e^(m_c - m) l_c
///   source  Ye et al. 2025 (FlashInfer, arXiv 2501.01005), section 2.2: states of attention merge associatively; a sink is
///           a state without output
template <class Scalar>
void merge_partials(const QueryGroup<Scalar>& group, Index count, Scalar* partials, Index cuts, Scalar* o, Index o_stride,
                    Scalar* log_sum_exp, Index log_sum_exp_stride) {
  const Index stacked_rows = group.heads * count, value_width = group.v.width;
  const Index size = Partial<Scalar>::size(stacked_rows, value_width);
  for (Index h = 0; h < group.heads; ++h)
    for (Index i = 0; i < count; ++i) {
      const Index at = h * count + i;
      const auto partial = [&](Index c) { return Partial<Scalar>::at(partials + c * size, stacked_rows); };
      Scalar m = partial(0).maximum[at], l = 0;
      for (Index c = 1; c < cuts; ++c) m = (std::max)(m, partial(c).maximum[at]);
      if (group.sinks != nullptr) m = (std::max)(m, group.sinks[h]);
      for (Index c = 0; c < cuts; ++c) l += std::exp(partial(c).maximum[at] - m) * partial(c).sum[at];
      if (group.sinks != nullptr) l += std::exp(group.sinks[h] - m);
      log_sum_exp[i * log_sum_exp_stride + h] = l == 0 ? -std::numeric_limits<Scalar>::infinity() : m + std::log(l);
      const Index later = (std::min)(i + 8, count - 1);  // rows lie far apart: they are asked for before their turn
      ask_for_row(o + later * o_stride + h * value_width, value_width);
      if (l == 0) continue;
      for (Index c = 0; c < cuts; ++c)
        add_scaled(o + i * o_stride + h * value_width, std::exp(partial(c).maximum[at] - m) / l,
                   partial(c).o + at * value_width, value_width);
    }
}

}  // namespace heed::inline HEED_ABI::detail
