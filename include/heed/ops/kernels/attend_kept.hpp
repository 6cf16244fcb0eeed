// Probabilities that are kept for layers above, as the kernels of attention form them and take their gradient up again.
//
//   z       the logits of a tile, as the mask leaves them, wait in the panels
//   A       = e^(z - lse)                 once the log-sum-exp of their rows is known
//   echo    the gradient of A             joins dP in backward, and rowsum(A o echo) joins D
//
// docs/kernels/kept_scores.md tells what was measured.
#pragma once

#include "attend_group.hpp"

namespace heed::inline HEED_ABI::detail {

/// Room in the job's scratch for the logits of the group's rows [row, row + count), if its probabilities are kept in 16
/// bits.
template <class Scalar>
void stage_kept(QueryGroup<Scalar>& group, Index row, Index count, Arena& scratch) {
  if (!group.keeps_narrow()) return;
  auto* staged = scratch.take_zeroed<Probabilities<Scalar>>(group.heads);
  for (Index h = 0; h < group.heads; ++h)
    if (group.keeps(h))
      staged[h] = Probabilities<Scalar>::reserve(scratch, {count, group.k.rows, group.mask, group.past + row});
  group.staged = staged;
  group.staged_row = row;
}

/// z[key key_stride + i row_stride] are the logits of head h's rows row + i, i < count, for `keys`: kept until
/// finish_kept.
template <class Scalar>
void keep_logits(const QueryGroup<Scalar>& group, Index h, Index row, Index count, Interval keys, const Scalar* z,
                 Index key_stride, Index row_stride) {
  constexpr Index whole = Probabilities<Scalar>::panel_rows;
  const Probabilities<Scalar>& to = group.staged == nullptr ? group.kept[h] : group.staged[h];
  const Index first_row = group.staged == nullptr ? row : row - group.staged_row;
  to.for_each_panel(first_row, count, [&](const auto& panel, Index first, Index rows) {
    for (const Interval part : panel.keys) {
      const Interval both = part.cut(keys.begin, keys.end);
      if (both.empty()) continue;
      Scalar* at = to.numbers(panel, both.begin) + first_row + first - panel.row;
      const Scalar* from = z + (both.begin - keys.begin) * key_stride + first * row_stride;
      for (Index key = both.begin; key < both.end; ++key, at += panel.rows, from += key_stride)
        if (row_stride == 1 && rows == whole)
          std::copy_n(from, whole, at);
        else
          for (Index i = 0; i < rows; ++i) at[i] = from[i * row_stride];
    }
  });
}

/// The same of all heads that are kept: tile [keys x part.size()] has the lanes in `part`. What the mask hides in it may be
/// anything.
template <class Scalar>
void keep_logits(const Scalar* tile, const QueryGroup<Scalar>& group, const Stacked& s, Interval part, Index row,
                 Interval keys) {
  for (Index h = 0; group.kept != nullptr && h < s.heads; ++h) {
    const auto row_from = [&](Index lane) { return (std::min)(s.rows, (lane - h + s.heads - 1) / s.heads); };
    const Index first = row_from(part.begin), last = row_from(part.end);
    if (group.keeps(h) && first < last)
      keep_logits(group, h, row + first, last - first, keys, tile + s.lane(h, first) - part.begin, part.size(), s.heads);
  }
}

/// Zero where rows [first, first + rows) of a panel, lying at `of_key` for the first of `keys`, see nothing.
template <class Scalar>
void hide_panel(const Probabilities<Scalar>& a, Scalar* of_key, Index stride, Index row, Index rows, Interval keys) {
  const Index position = a.past() + row;
  if (a.mask().coverage(position, position + rows - 1, keys.begin, keys.end - 1) == Coverage::all) return;
  for (Index key = keys.begin; key < keys.end; ++key, of_key += stride) {
    const Interval seen = a.mask().seen_by(key, position, position + rows - 1);
    const Index begin = seen.empty() ? rows : seen.begin - position, end = seen.empty() ? rows : seen.end - position;
    std::fill_n(of_key, begin, Scalar(0));
    std::fill(of_key + end, of_key + rows, Scalar(0));
  }
}

/// Rows [row, row + count) of `kept` are those of `staged`, whose row 0 is `staged_row`, in 16 bits.
template <class Scalar>
void round_kept(const Probabilities<Scalar>& kept, const Probabilities<Scalar>& staged, Index staged_row, Index row,
                Index count) {
  constexpr Scalar zeros[std::size_t(Probabilities<Scalar>::panel_rows)] = {};
  kept.for_each_panel(row, count, [&](const auto& panel, Index first, Index rows) {
    const auto with_staged = [&](auto&& f) { staged.for_each_panel(row + first - staged_row, rows, f); };
    const Index lane = row + first - panel.row;
    for (const Interval part : panel.keys)
      with_staged([&](const auto& from, Index skipped, Index shared) {
        const Index of_from = row + first + skipped - staged_row - from.row;
        if (shared == panel.rows && shared == from.rows && from.keys == panel.keys) {
          if (!part.empty()) kept.write_keys(panel, part, staged.numbers(from, part.begin));
          return;
        }
        for (Index key = part.begin; key < part.end; ++key)
          kept.write(panel, key, lane + skipped, shared,
                     from.keys.contains(key) ? staged.numbers(from, key) + of_from : zeros);
      });
  });
}

/// The logits that wait for head h's rows [row, row + count) become probabilities.
///   subtract   [count] their log-sum-exp, see subtrahend
template <class Scalar>
void finish_kept(const QueryGroup<Scalar>& group, Index h, Index row, Index count, const Scalar* subtract) {
  constexpr Index whole = Probabilities<Scalar>::panel_rows, width = full_width<Scalar>;
  const Probabilities<Scalar>& kept = group.kept[h];
  const Probabilities<Scalar>& waiting = group.staged == nullptr ? kept : group.staged[h];
  const Index first_row = group.staged == nullptr ? row : row - group.staged_row;
  waiting.for_each_panel(first_row, count, [&](const auto& panel, Index first, Index rows) {
    for (const Interval part : panel.keys) {
      if (part.empty()) continue;
      Scalar* const begin = waiting.numbers(panel, part.begin) + first_row + first - panel.row;
      if (panel.rows == 1)  // all keys side by side
        transform(
            part.size(), begin, [&](auto z) { return exponential(z - decltype(z)::all(subtract[first])); }, begin);
      else if (rows == whole)
        for (Index i = 0; i < whole; i += width) {
          const auto of_packet = Lanes<Scalar>::load(subtract + first + i);
          Scalar* at = begin + i;
          for (Index key = part.begin; key < part.end; ++key, at += whole)
            exponential(Lanes<Scalar>::load(at) - of_packet).store(at);
        }
      else
        for (Index j = 0; j < part.size(); ++j)
          transform(
              rows, begin + j * panel.rows, [](auto z, auto lse) { return exponential(z - lse); }, begin + j * panel.rows,
              subtract + first);
      hide_panel(waiting, begin, panel.rows, first_row + first, rows, part);
      // e^(-inf - lse) is not zero once a NaN that the row sees has reached its lse.
      for (Index i = 0; i < rows && !kept.bias().empty(); ++i)
        for (Index key = part.begin; std::isnan(subtract[first + i]) && key < part.end; ++key)
          if (kept.bias().hides(row + first + i, key)) begin[(key - part.begin) * panel.rows + i] = Scalar(0);
    }
  });
  if (group.staged != nullptr) round_kept(kept, waiting, group.staged_row, row, count);
}

/// Merges the partials of rows [row, row + count), and turns what is kept of them into probabilities.
template <class Scalar>
void finish_rows(const QueryGroup<Scalar>& group, Index row, Index count, Scalar* partials, Index cuts, Scalar* o,
                 Index o_stride, Scalar* log_sum_exp, Index log_sum_exp_stride, Arena& scratch) {
  merge_partials(group, count, partials, cuts, o, o_stride, log_sum_exp, log_sum_exp_stride);
  Scalar* subtract = scratch.take<Scalar>(count);
  for (Index h = 0; h < group.heads; ++h) {
    if (!group.keeps(h)) continue;
    for (Index i = 0; i < count; ++i) subtract[i] = subtrahend(log_sum_exp[i * log_sum_exp_stride + h]);
    finish_kept(group, h, row, count, subtract);
  }
}

/// sums[i row_stride] += rowsum(A o echo) of rows row + i, i < count.
template <class Scalar>
void add_echo_sums(Scalar* sums, const Probabilities<Scalar>& kept, Index row, Index count, Index row_stride) {
  Scalar buffer[std::size_t(Probabilities<Scalar>::panel_rows)];
  kept.for_each_panel(row, count, [&](const auto& panel, Index first, Index rows) {
    const Index skipped = row + first - panel.row;
    for (const Interval part : panel.keys)
      for (Index key = part.begin; key < part.end; ++key) {
        const Scalar* p = kept.tile(panel, {key, key + 1}, buffer) + skipped;
        const Scalar* echo = kept.gradient_tile(panel, key) + skipped;
        for (Index i = 0; i < rows; ++i) sums[(first + i) * row_stride] += p[i] * echo[i];
      }
  });
}

/// d_p[key key_stride + i row_stride] += echo of rows row + i, i < count, for `keys`.
template <class Scalar>
void add_echo(Scalar* d_p, Index key_stride, Index row_stride, const Probabilities<Scalar>& kept, Index row, Index count,
              Interval keys) {
  kept.for_each_panel(row, count, [&](const auto& panel, Index first, Index rows) {
    for (const Interval part : panel.keys)
      for (Index key = (std::max)(part.begin, keys.begin); key < (std::min)(part.end, keys.end); ++key) {
        const Scalar* echo = kept.gradient_tile(panel, key) + row + first - panel.row;
        for (Index i = 0; i < rows; ++i) d_p[(key - keys.begin) * key_stride + (first + i) * row_stride] += echo[i];
      }
  });
}

}  // namespace heed::inline HEED_ABI::detail
