// The recurrence of Mamba-2 ("state space duality"), per head and over packed sequences with carried state.
//
//   S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T x_t       S [N x P], b_t [1 x N], x_t [1 x P]
//   y_t = c_t S_t + d x_t
//
//   x, y [T x H*P]    dt [T x H]    a [1 x H]    d [1 x H], or [1 x H*P]: one for each column
//   b, c [T x groups*N]: head h uses group floor(h groups / H)
//
// One new row (decoding) is computed as written, several in chunks: kernels/ssd_head.hpp.
// Backward needs the states between the chunks only.
//
// source: Dao and Gu 2024 (arXiv 2405.21060), sections 5 and 6
#pragma once

#include <algorithm>

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "kernels/ssd_head.hpp"
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
  const Index Q = (std::min)(rows, chunk), row = detail::whole_lanes<Scalar>(Q);
  const auto bytes = [](Index elements) { return Arena::bytes_of<Scalar>(elements); };
  return 3 * bytes(Q * row) + bytes(Q * N) + bytes(Q * P) + bytes(N * P) + 4 * bytes(row) + 2 * bytes(Q);
}

namespace detail {

template <class Scalar>
SsdHead<Scalar> ssd_head_of(const SsdInputs<Scalar>& in, Index begin, Index T, Index head) {
  const Index P = in.head_width(), N = in.state_width(), group = head * in.groups / in.heads(), skip = in.skip_width();
  const auto rows = [&](const View<Scalar>& view, Index first, Index count) {
    return cols_of(rows_of(view, begin, T), first, count);
  };
  return {rows(in.x, head * P, P),  rows(in.dt, head, 1), rows(in.b, group * N, N),
          rows(in.c, group * N, N), in.a(0, head),        cols_of(in.d, head * skip, skip)};
}

}  // namespace detail

/// y is assigned, and so are the states after the rows.
template <class Scalar>
void ssd(const SsdInputs<Scalar>& in, Division rows, const SsdStates<Scalar>& states, MutableView<Scalar> y,
         Workers& workers) {
  const Index H = in.heads(), P = in.head_width(), N = in.state_width();
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && y.rows() == in.x.rows() && y.cols() == in.x.cols() && in.chunk >= 1);
  HEED_DEBUG_CHECK(in.x.cols() == H * P && in.b.cols() == in.groups * N && in.c.cols() == in.b.cols());
  HEED_DEBUG_CHECK(in.d.cols() == H || in.d.cols() == H * P);
  workers.run(rows.sequences() * H, [&](Index job, Arena& scratch) {
    const Index sequence = job / H, head = job % H, T = rows.rows(sequence);
    const Scalar* before = states.before.entries != nullptr ? states.before.at(sequence, head) : nullptr;
    Scalar* after = states.after.entries != nullptr ? states.after.at(sequence, head) : nullptr;
    Scalar* kept = states.kept.entries != nullptr ? states.kept.at(sequence, head) : nullptr;
    const bool wanted = after != nullptr;
    if (!wanted && T == 0) return;
    if (!wanted) after = scratch.take<Scalar>(N * P);
    if (before == nullptr)
      std::fill_n(after, N * P, Scalar(0));
    else if (T != 1 && before != after)
      std::copy_n(before, N * P, after);
    if (T == 0) return;

    const detail::SsdHead<Scalar> at = detail::ssd_head_of(in, rows.begin(sequence), T, head);
    const MutableView<Scalar> y_head = cols_of(rows_of(y, rows.begin(sequence), T), head * P, P);
    if (T == 1)
      detail::ssd_row(at, before != nullptr ? before : after, after, y_head);
    else
      detail::ssd_chunks(at, in.chunk, before == nullptr, after, wanted, kept, y_head, scratch);
  });
}

/// The gradient of dot(y, d_y), added to d, for whole sequences: the state before them is zero. kept: as `ssd` left them;
/// an entry is read only where ssd_kept_states says that there are some. scratch: what several heads add to is formed there
/// by head and then added in order.
template <class Scalar>
void ssd_backward(const SsdInputs<Scalar>& in, Division rows, HeadTable<Scalar*> kept, View<Scalar> d_y,
                  SsdGradients<Scalar> d, Arena& scratch, Workers& workers) {
  const Index H = in.heads(), P = in.head_width(), N = in.state_width(), T = in.x.rows(), B = rows.sequences();
  const Index skip = in.skip_width();
  HEED_DEBUG_CHECK(rows.rows() == T && d_y.rows() == T && d_y.cols() == in.x.cols() && in.chunk >= 1);
  const Arena::Scope scope(scratch);
  Scalar* d_b = scratch.take<Scalar>(H * T * N);            // [H x T x N]
  Scalar* d_c = scratch.take<Scalar>(H * T * N);            // [H x T x N]
  Scalar* d_a = scratch.take_zeroed<Scalar>(B * H);         // [B x H]
  Scalar* d_d = scratch.take_zeroed<Scalar>(B * H * skip);  // [B x H x skip]
  workers.run(B * H, [&](Index job, Arena& own) {
    const Index sequence = job / H, head = job % H, begin = rows.begin(sequence), count = rows.rows(sequence);
    if (count == 0) return;
    const auto partial = [&](Scalar* all) {
      Scalar* at = all + (head * T + begin) * N;
      std::fill_n(at, count * N, Scalar(0));
      return mutable_view_of(at, count, N, N);
    };
    const auto columns = [&](const auto& view, Index first, Index width) {
      return cols_of(rows_of(view, begin, count), first, width);
    };
    detail::ssd_chunks_backward(detail::ssd_head_of(in, begin, count, head), in.chunk,
                                kept.entries != nullptr ? kept.at(sequence, head) : nullptr, columns(d_y, head * P, P),
                                detail::SsdHeadGradients<Scalar>{columns(d.x, head * P, P), columns(d.dt, head, 1),
                                                                 partial(d_b), partial(d_c), d_a + job, d_d + job * skip},
                                own);
  });

  detail::for_rows(T, H * N, workers, [&](Index t) {
    for (Index head = 0; head < H; ++head) {
      const Index column = head * in.groups / H * N;
      detail::add_scaled(detail::row_of(d.b, t) + column, Scalar(1), d_b + (head * T + t) * N, N);
      detail::add_scaled(detail::row_of(d.c, t) + column, Scalar(1), d_c + (head * T + t) * N, N);
    }
  });
  for (Index job = 0; job < B * H; ++job) {
    d.a(0, job % H) += d_a[job];
    detail::add_scaled(d.d.data() + job % H * skip, Scalar(1), d_d + job * skip, skip);
  }
}

}  // namespace heed::inline HEED_ABI
