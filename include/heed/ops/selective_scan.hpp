// The recurrence of Mamba-1 ("selective scan"): every channel has N states of its own, over packed sequences with carried
// state.
//
//   h_tn = exp(dt_t a_n) h_{t-1,n} + dt_t x_t b_tn       per channel and state n
//   y_t  = sum_n c_tn h_tn + d x_t
//
//   x, dt, y [T x C]    a, h [N x C]    d [1 x C]    b, c [T x groups*N]: channel i uses group floor(i groups / C)
//
// Channels lie side by side, so they are the lanes. A job has some channels of one group; its rows run one after another,
// so that the result has the same bits however rows are cut into calls. Backward needs the states between chunks of rows
// only: kernels/selective_scan_block.hpp.
//
// source: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2 and eq. 4; the step of b is that of Euler, as in their code
#pragma once

#include <algorithm>

#include "../compiled/kernels.hpp"
#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "kernels/selective_scan_block.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct SelectiveScanInputs {
  View<Scalar> x;    // [T x C]
  View<Scalar> dt;   // [T x C]          >= 0
  View<Scalar> a;    // [N x C]          <= 0
  View<Scalar> b;    // [T x groups*N]
  View<Scalar> c;    // [T x groups*N]
  View<Scalar> d;    // [1 x C]
  Index groups = 1;  ///< of b and c; divides C
  Index chunk = 32;  ///< rows between two states that backward reads; no result of forward depends on it

  Index channels() const { return x.cols(); }
  Index state_width() const { return a.rows(); }
};

/// Tables of one column: at(sequence, 0) is contiguous. A table without entries, or a null entry, is absent.
template <class Scalar>
struct SelectiveScanStates {
  HeadTable<const Scalar*> before = {};  ///< [N x C] read; absent: zero
  HeadTable<Scalar*> after = {};         ///< [N x C] assigned; absent: not wanted; may be the memory of `before`
  /// [selective_scan_kept_states(T_b, chunk) x N x C] assigned, for selective_scan_backward; absent: not wanted
  HeadTable<Scalar*> kept = {};
};

/// Where the gradients are added.
template <class Scalar>
struct SelectiveScanGradients {
  MutableView<Scalar> x;   // [T x C]
  MutableView<Scalar> dt;  // [T x C]
  MutableView<Scalar> a;   // [N x C]
  MutableView<Scalar> b;   // [T x groups*N]
  MutableView<Scalar> c;   // [T x groups*N]
  MutableView<Scalar> d;   // [1 x C]
};

/// The states that backward over `rows` rows of a sequence needs: those between its chunks.
inline Index selective_scan_kept_states(Index rows, Index chunk) {
  return rows > 0 ? (rows - 1) / chunk : 0;
}

/// Numbers that backward takes from scratch, a row and state: what blocks of channels add to is formed by block.
inline Index selective_scan_partials(Index C, Index groups) {
  return 2 * (C / detail::scan_channels + groups);
}

/// What the two functions below take from a worker's arena at most, for up to `rows` rows of a sequence. Sized so, arenas
/// never grow.
template <class Scalar>
std::size_t selective_scan_job_bytes(Index rows, Index chunk, Index C, Index N) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar, std::size_t>(compiled::Operation::selective_scan_job_bytes, rows, chunk, C, N);
  const auto bytes = [](Index elements) { return Arena::bytes_of<Scalar>(elements); };
  const Index Q = (std::min)(rows, chunk), w = detail::whole_lanes<Scalar>((std::min)(C, detail::scan_channels));
  const std::size_t forward = 3 * bytes((std::min)(rows, detail::scan_tile_rows) * w) + 2 * bytes(N * w);
  const Index lanes = detail::full_width<Scalar>, together = detail::scan_states_backward_at_once<Scalar>;
  const std::size_t backward = 4 * bytes(N * w) + 6 * bytes(Q * (w + lanes)) + bytes(w) + 2 * bytes(Q * (N + 1) * lanes) +
                               bytes((Q + 1) * together * lanes) + bytes(Q * together * lanes);
  return (std::max)(forward, backward);
}

namespace detail {

/// The channels in blocks of at most `width`, none of them across two groups.
class ScanBlocks {
 public:
  ScanBlocks(Index channels, Index groups, Index width)
      : of_group_(channels / groups), blocks_((of_group_ + width - 1) / width), groups_(groups), width_(width) {}

  Index size() const { return groups_ * blocks_; }
  Index group(Index block) const { return block / blocks_; }
  Index begin(Index block) const { return group(block) * of_group_ + block % blocks_ * width_; }
  Index count(Index block) const { return (std::min)(width_, of_group_ - block % blocks_ * width_); }

 private:
  Index of_group_;
  Index blocks_;
  Index groups_;
  Index width_;
};

template <class Scalar>
ScanBlock<Scalar> scan_block_of(const SelectiveScanInputs<Scalar>& in, const ScanBlocks& blocks, Index block, Index begin,
                                Index T) {
  const Index channel = blocks.begin(block), n = blocks.count(block), N = in.state_width();
  const Index state = blocks.group(block) * N;
  const auto part = [&](const View<Scalar>& view, Index first, Index count) {
    return cols_of(rows_of(view, begin, T), first, count);
  };
  return {part(in.x, channel, n), part(in.dt, channel, n), cols_of(in.a, channel, n),
          part(in.b, state, N),   part(in.c, state, N),    in.d.data() + channel};
}

}  // namespace detail

/// y is assigned, and so are the states after the rows. One row (decoding) is read and written in place.
template <class Scalar>
void selective_scan(const SelectiveScanInputs<Scalar>& in, Division rows, const SelectiveScanStates<Scalar>& states,
                    MutableView<Scalar> y, Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::selective_scan, in, rows, states, y, workers);
  const Index C = in.channels();
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && y.rows() == in.x.rows() && y.cols() == C && in.chunk >= 1);
  HEED_DEBUG_CHECK(in.groups >= 1 && C % in.groups == 0 && in.a.cols() == C && in.dt.cols() == C && in.d.cols() == C);
  HEED_DEBUG_CHECK(in.b.cols() == in.groups * in.state_width() && in.c.cols() == in.b.cols());
  const detail::ScanBlocks blocks(C, in.groups, detail::scan_channels);
  workers.run(rows.sequences() * blocks.size(), [&](Index job, Arena& scratch) {
    const Index sequence = job / blocks.size(), block = job % blocks.size(), channel = blocks.begin(block);
    const Index begin = rows.begin(sequence), T = rows.rows(sequence), n = blocks.count(block);
    const auto entry = [&](const auto& table) {
      return table.entries != nullptr && table.at(sequence, 0) != nullptr ? table.at(sequence, 0) + channel : nullptr;
    };
    const detail::ScanBlockStates<Scalar> at{entry(states.before), entry(states.after), entry(states.kept), C};
    if (T == 0) return detail::scan_no_rows(at, in.state_width(), n);
    detail::scan_rows(detail::scan_block_of(in, blocks, block, begin, T), in.chunk, at,
                      cols_of(rows_of(y, begin, T), channel, n), scratch);
  });
}

/// The gradient of dot(y, d_y), added to d, for whole sequences: the state before them is zero. kept: as `selective_scan`
/// left them; an entry is read only where selective_scan_kept_states says that there are some. scratch: what several
/// channels add to is formed there by block of channels, and then added in order.
template <class Scalar>
void selective_scan_backward(const SelectiveScanInputs<Scalar>& in, Division rows, HeadTable<Scalar*> kept,
                             View<Scalar> d_y, SelectiveScanGradients<Scalar> d, Arena& scratch, Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::selective_scan_backward, in, rows, kept, d_y, d, scratch,
                                        workers);
  const Index C = in.channels(), N = in.state_width(), T = in.x.rows();
  HEED_DEBUG_CHECK(rows.rows() == T && d_y.rows() == T && d_y.cols() == C && in.chunk >= 1 && C % in.groups == 0);
  const Arena::Scope scope(scratch);
  const detail::ScanBlocks blocks(C, in.groups, detail::scan_channels);
  Scalar* d_b = scratch.take<Scalar>(blocks.size() * T * N);  // [blocks x T x N]
  Scalar* d_c = scratch.take<Scalar>(blocks.size() * T * N);  // [blocks x T x N]
  workers.run(blocks.size(), [&](Index block, Arena& own) {
    const Index channel = blocks.begin(block), n = blocks.count(block);
    for (Index sequence = 0; sequence < rows.sequences(); ++sequence) {
      const Index begin = rows.begin(sequence), count = rows.rows(sequence);
      if (count == 0) continue;
      const Arena::Scope of_sequence(own);
      const auto part = [&](const auto& view) { return cols_of(rows_of(view, begin, count), channel, n); };
      const Scalar* kept_here = kept.entries != nullptr ? kept.at(sequence, 0) : nullptr;
      if (kept_here != nullptr) kept_here += channel;
      detail::scan_rows_backward(
          detail::scan_block_of(in, blocks, block, begin, count), in.chunk, kept_here, C, part(d_y),
          detail::ScanBlockGradients<Scalar>{part(d.x), part(d.dt), cols_of(d.a, channel, n), d.d.data() + channel,
                                             d_b + (block * T + begin) * N, d_c + (block * T + begin) * N},
          own);
    }
  });

  detail::for_rows(T, blocks.size() * N, workers, [&](Index t) {
    for (Index block = 0; block < blocks.size(); ++block) {
      const Index column = blocks.group(block) * N;
      detail::add_scaled(detail::row_of(d.b, t) + column, Scalar(1), d_b + (block * T + t) * N, N);
      detail::add_scaled(detail::row_of(d.c, t) + column, Scalar(1), d_c + (block * T + t) * N, N);
    }
  });
}

}  // namespace heed::inline HEED_ABI
