// The recurrence of Mamba-2 ("state space duality"), per head and over packed sequences with carried state.
//
//   S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T x_t       S [N x P], b_t [1 x N], x_t [1 x P]
//   y_t = c_t S_t + d x_t
//
//   x, y [T x H*P]    dt [T x H]    a [1 x H]    d [1 x H], or [1 x H*P]: one for each column
//   b, c [T x groups*N]: head h uses group floor(h groups / H)
//
// One new row (decoding) is computed as written (kernels/ssd_row.hpp), several in chunks (kernels/ssd_chunk.hpp). Backward
// needs the states between the chunks only. A job is a few heads of a sequence, so that those of a group share c_t . b_s.
//
// source: Dao and Gu 2024 (arXiv 2405.21060), sections 5 and 6
#pragma once

#include <algorithm>

#include "../compiled/kernels.hpp"
#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "kernels/ssd_chunk.hpp"
#include "kernels/ssd_chunk_backward.hpp"
#include "kernels/ssd_row.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct SsdInputs {
  View<Scalar> x;    // [T x H*P]
  View<Scalar> dt;   // [T x H]          >= 0
  View<Scalar> a;    // [1 x H]          <= 0
  View<Scalar> b;    // [T x groups*N]
  View<Scalar> c;    // [T x groups*N]
  View<Scalar> d;    // [1 x H] or [1 x H*P]
  Index groups = 1;  ///< of b and c
  Index chunk = 64;  ///< rows of a chunk; the result does not depend on it but for rounding

  Index heads() const { return dt.cols(); }
  Index head_width() const { return heads() > 0 ? x.cols() / heads() : 0; }
  Index state_width() const { return groups > 0 ? b.cols() / groups : 0; }
  Index skip_width() const { return heads() > 0 ? d.cols() / heads() : 0; }  // 1 or P
};

/// Every entry is contiguous. A table without entries, or a null entry, is absent.
template <class Scalar>
struct SsdStates {
  HeadTable<const Scalar*> before = {};  ///< [N x P] read; absent: zero
  HeadTable<Scalar*> after = {};         ///< [N x P] assigned; absent: not wanted; may be the memory of `before`
  HeadTable<Scalar*> kept = {};  ///< [ssd_kept_states(T_b, chunk) x N x P] assigned, for ssd_backward; absent: not wanted
};

/// Where the gradients are added.
template <class Scalar>
struct SsdGradients {
  MutableView<Scalar> x;   // [T x H*P]
  MutableView<Scalar> dt;  // [T x H]
  MutableView<Scalar> a;   // [1 x H]
  MutableView<Scalar> b;   // [T x groups*N]
  MutableView<Scalar> c;   // [T x groups*N]
  MutableView<Scalar> d;   // [1 x H] or [1 x H*P]
};

/// The states that backward over `rows` rows of a sequence needs: those between its chunks.
inline Index ssd_kept_states(Index rows, Index chunk) {
  return rows > 0 ? (rows - 1) / chunk : 0;
}

/// What the two functions below take from a worker's arena at most, for up to `rows` rows of a sequence. Sized so, arenas
/// never grow.
template <class Scalar>
std::size_t ssd_job_bytes(Index rows, Index chunk, Index P, Index N) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar, std::size_t>(compiled::Operation::ssd_job_bytes, rows, chunk, P, N);
  return detail::SsdChunkBackwardScratch<Scalar>::bytes((std::min)(rows, chunk), P, N) +
         std::size_t(detail::ssd_heads_together) * Arena::bytes_of<Scalar>(N * P);
}

namespace detail {

/// Rows from `begin` on, of one head.
template <class Scalar>
SsdHead<Scalar> ssd_head_of(const SsdInputs<Scalar>& in, Index begin, Index count, Index head) {
  const Index P = in.head_width(), N = in.state_width(), group = head * in.groups / in.heads(), skip = in.skip_width();
  const auto rows = [&](const View<Scalar>& view, Index first, Index width) {
    return cols_of(rows_of(view, begin, count), first, width);
  };
  return {rows(in.x, head * P, P),  rows(in.dt, head, 1), rows(in.b, group * N, N),
          rows(in.c, group * N, N), in.a(0, head),        cols_of(in.d, head * skip, skip)};
}

// The heads [begin, end) of one job, and whether one is the first or the last of its group among them.
struct SsdHeads {
  Index block, begin, end, all, groups;

  static Index blocks(Index all) { return (all + ssd_heads_together - 1) / ssd_heads_together; }
  template <class Scalar>
  static SsdHeads of_block(Index block, const SsdInputs<Scalar>& in) {
    const Index all = in.heads(), count = blocks(all);
    return {block, block * all / count, (block + 1) * all / count, all, in.groups};
  }
  Index group(Index head) const { return head * groups / all; }
  bool first_of_group(Index head) const { return head == begin || group(head) != group(head - 1); }
  bool last_of_group(Index head) const { return head + 1 == end || group(head) != group(head + 1); }
};

}  // namespace detail

/// Elements of the arena that ssd_backward takes for each row of its input.
inline Index ssd_backward_per_row(Index heads, Index groups, Index N) {
  return 2 * detail::SsdHeads::blocks(heads) * (std::min)(detail::ssd_heads_together, groups) * N;
}

/// y is assigned, and so are the states after the rows.
template <class Scalar>
void ssd(const SsdInputs<Scalar>& in, Division rows, const SsdStates<Scalar>& states, MutableView<Scalar> y,
         Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::ssd, in, rows, states, y, workers);
  const Index H = in.heads(), P = in.head_width(), N = in.state_width(), blocks = detail::SsdHeads::blocks(H);
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && y.rows() == in.x.rows() && y.cols() == in.x.cols() && in.chunk >= 1);
  HEED_DEBUG_CHECK(in.x.cols() == H * P && in.b.cols() == in.groups * N && in.c.cols() == in.b.cols());
  HEED_DEBUG_CHECK(in.d.cols() == H || in.d.cols() == H * P);
  workers.run(rows.sequences() * blocks, [&](Index job, Arena& scratch) {
    const Index sequence = job / blocks, first = rows.begin(sequence), T = rows.rows(sequence);
    const detail::SsdHeads heads = detail::SsdHeads::of_block(job % blocks, in);
    const auto entry = [&](const auto& table, Index head) {
      return table.entries != nullptr ? table.at(sequence, head) : nullptr;
    };
    const auto y_of = [&](Index head, Index begin, Index count) {
      return cols_of(rows_of(y, first + begin, count), head * P, P);
    };
    Scalar* state[detail::ssd_heads_together];
    bool wanted[detail::ssd_heads_together];
    for (Index head = heads.begin; head < heads.end; ++head) {
      Scalar*& after = state[head - heads.begin];
      const Scalar* before = entry(states.before, head);
      after = entry(states.after, head);
      wanted[head - heads.begin] = after != nullptr;
      if (after == nullptr && T > 0) after = scratch.take<Scalar>(N * P);
      if (T != 1 && after != nullptr && before != after) {
        if (before == nullptr)
          std::fill_n(after, N * P, Scalar(0));
        else
          std::copy_n(before, N * P, after);
      }
    }
    if (T == 1)
      for (Index head = heads.begin; head < heads.end; ++head) {
        Scalar* after = state[head - heads.begin];
        const Scalar* before = entry(states.before, head);
        if (before == nullptr) before = std::fill_n(after, N * P, Scalar(0)) - N * P;
        detail::ssd_row(detail::ssd_head_of(in, first, 1, head), before, after, y_of(head, 0, 1));
      }
    if (T <= 1) return;

    detail::SsdChunkScratch<Scalar> of_chunk((std::min)(in.chunk, T), P, N, scratch);
    for (Index begin = 0; begin < T; begin += in.chunk)
      for (Index head = heads.begin; head < heads.end; ++head) {
        const Index count = (std::min)(in.chunk, T - begin);
        const detail::SsdHead<Scalar> at = detail::ssd_head_of(in, first + begin, count, head);
        if (heads.first_of_group(head)) of_chunk.pairs.assign(at);
        Scalar* after = state[head - heads.begin];
        Scalar* kept = entry(states.kept, head);
        if (begin > 0 && kept != nullptr) std::copy_n(after, N * P, kept + (begin / in.chunk - 1) * N * P);
        const bool empty = begin == 0 && entry(states.before, head) == nullptr;
        const bool goes_on = begin + count < T || wanted[head - heads.begin];
        detail::ssd_chunk(at, empty, after, goes_on, y_of(head, begin, count), of_chunk);
      }
  });
}

/// The gradient of dot(y, d_y), added to d, for whole sequences: the state before them is zero. kept: as `ssd` left them;
/// an entry is read only where ssd_kept_states says that there are some. scratch: what several jobs add to is formed there
/// by job and then added in order.
template <class Scalar>
void ssd_backward(const SsdInputs<Scalar>& in, Division rows, HeadTable<Scalar*> kept, View<Scalar> d_y,
                  SsdGradients<Scalar> d, Arena& scratch, Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::ssd_backward, in, rows, kept, d_y, d, scratch, workers);
  const Index H = in.heads(), P = in.head_width(), N = in.state_width(), T = in.x.rows(), B = rows.sequences();
  const Index skip = in.skip_width(), blocks = detail::SsdHeads::blocks(H);
  HEED_DEBUG_CHECK(rows.rows() == T && d_y.rows() == T && d_y.cols() == in.x.cols() && in.chunk >= 1);
  const Arena::Scope scope(scratch);
  // By block of heads and group among them; a block has as many as heads at most.
  const Index most = (std::min)(detail::ssd_heads_together, in.groups);
  Scalar* d_b = scratch.take<Scalar>(blocks * most * T * N);  // [blocks x groups x T x N]
  Scalar* d_c = scratch.take<Scalar>(blocks * most * T * N);  // [blocks x groups x T x N]
  Scalar* d_a = scratch.take_zeroed<Scalar>(B * H);           // [B x H]
  Scalar* d_d = scratch.take_zeroed<Scalar>(B * H * skip);    // [B x H x skip]
  const auto partial = [&](Scalar* all, const detail::SsdHeads& heads, Index head) {
    const Index group = heads.group(head) - heads.group(heads.begin);
    return all + (heads.block * most + group) * T * N;
  };
  workers.run(B * blocks, [&](Index job, Arena& own) {
    const Index sequence = job / blocks, first = rows.begin(sequence), count = rows.rows(sequence);
    if (count == 0) return;
    const detail::SsdHeads heads = detail::SsdHeads::of_block(job % blocks, in);
    for (Index head = heads.begin; head < heads.end; ++head)
      if (heads.first_of_group(head))
        for (Scalar* all : {d_b, d_c}) std::fill_n(partial(all, heads, head) + first * N, count * N, Scalar(0));
    Scalar* d_states = own.take<Scalar>((heads.end - heads.begin) * N * P);  // [heads x N x P]
    detail::SsdChunkBackwardScratch<Scalar> of_chunk((std::min)(in.chunk, count), P, N, own);
    const Index last = (count - 1) / in.chunk;
    for (Index index = last; index >= 0; --index)
      for (Index head = heads.begin; head < heads.end; ++head) {
        const Index begin = first + index * in.chunk, n = (std::min)(in.chunk, first + count - begin);
        const auto columns = [&](const auto& view, Index column, Index width) {
          return cols_of(rows_of(view, begin, n), column, width);
        };
        const auto of_group = [&](Scalar* all) { return mutable_view_of(partial(all, heads, head) + begin * N, n, N, N); };
        const detail::SsdHead<Scalar> at = detail::ssd_head_of(in, begin, n, head);
        const Scalar* state = index > 0 ? kept.at(sequence, head) + (index - 1) * N * P : nullptr;
        Scalar* d_state = d_states + (head - heads.begin) * N * P;
        const detail::SsdHeadGradients<Scalar> d_head{columns(d.x, head * P, P),
                                                      columns(d.dt, head, 1),
                                                      of_group(d_b),
                                                      of_group(d_c),
                                                      d_a + sequence * H + head,
                                                      d_d + (sequence * H + head) * skip};
        if (heads.first_of_group(head)) of_chunk.begin_group(at);
        detail::ssd_chunk_backward(at, state, index < last ? d_state : nullptr, d_state, columns(d_y, head * P, P), d_head,
                                   of_chunk);
        if (heads.last_of_group(head)) of_chunk.end_group(at, d_head.b, d_head.c);
      }
  });

  detail::for_rows(T, H * N, workers, [&](Index t) {
    for (Index block = 0; block < blocks; ++block) {
      const detail::SsdHeads heads = detail::SsdHeads::of_block(block, in);
      for (Index head = heads.begin; head < heads.end; ++head) {
        if (!heads.first_of_group(head)) continue;
        const Index column = heads.group(head) * N;
        detail::add_scaled(detail::row_of(d.b, t) + column, Scalar(1), partial(d_b, heads, head) + t * N, N);
        detail::add_scaled(detail::row_of(d.c, t) + column, Scalar(1), partial(d_c, heads, head) + t * N, N);
      }
    }
  });
  for (Index job = 0; job < B * H; ++job) {
    d.a(0, job % H) += d_a[job];
    detail::add_scaled(d.d.data() + job % H * skip, Scalar(1), d_d + job * skip, skip);
  }
}

}  // namespace heed::inline HEED_ABI
