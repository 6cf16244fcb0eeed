// A short causal convolution of every channel by itself, then an activation, over packed sequences with carried history.
//
//   u_t = bias + sum_j weight_j x_{t-k+1+j}       j = 0 .. k-1; weight_{k-1} multiplies the current row
//   y_t = f(u_t)                                  f = silu unless another is named: short_conv<Identity>(...)
//
//   x, y [T x C]    weight [k x C]    bias [1 x C]    history [(k-1) x C] per sequence: the rows before the new ones
//
// source: Gu and Dao 2023 (arXiv 2312.00752), the convolution of the Mamba block
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../compiled/kernels.hpp"
#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "activation.hpp"
#include "kernels/stores_avx512.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct ShortConvInputs {
  View<Scalar> x;       // [T x C]
  View<Scalar> weight;  // [k x C], k >= 1
  View<Scalar> bias;    // [1 x C]
};

/// Tables of one column: at(sequence, 0) is contiguous [(k-1) x C]. A table without entries, or a null entry, is absent.
template <class Scalar>
struct ShortConvHistory {
  HeadTable<const Scalar*> before = {};  ///< read; absent: zero
  HeadTable<Scalar*> after = {};         ///< assigned; absent: not wanted; may be the memory of `before`
};

/// Where the gradients are added.
template <class Scalar>
struct ShortConvGradients {
  MutableView<Scalar> x;       // [T x C]
  MutableView<Scalar> weight;  // [k x C]
  MutableView<Scalar> bias;    // [1 x C]
};

namespace detail {

// A job of forward has some rows of one sequence and some channels: whole rows where they are not very wide, so that memory
// is read as it lies. One of backward has some channels of all sequences, so that sums over rows have one order.
inline constexpr Index conv_rows = 64;
inline constexpr Index conv_channels = 2048;
inline constexpr Index conv_backward_channels = 64;

// Computed together, so that they share the loads of taps and rows and need not wait for each other's exponentials.
inline constexpr Index conv_rows_at_once = 8;

// From so many bytes of y on, most of x and y would have left the caches when they are read again.
inline constexpr std::size_t conv_bytes_past_caches = std::size_t(10) << 20;

template <class Scalar>
bool conv_goes_past_caches(const MutableView<Scalar>& y) {
  const auto line = [](std::size_t bytes) { return bytes % line_bytes == 0; };
  return static_cast<std::size_t>(y.size()) * sizeof(Scalar) >= conv_bytes_past_caches &&
         line(reinterpret_cast<std::uintptr_t>(y.data())) &&
         line(static_cast<std::size_t>(y.outerStride()) * sizeof(Scalar));
}

// Stands for a row that is absent.
template <class Scalar>
inline constexpr Scalar conv_zeros[conv_channels] = {};

// The `count` rows from row `first` on of some channels of one sequence; rows before its first are those of `history`.
template <class Scalar>
void conv_window(const Scalar** window, Index count, Index k, Index first, const Scalar* x, Index x_row,
                 const Scalar* history, Index history_row) {
  for (Index j = 0; j < count; ++j) {
    const Index row = first + j;
    window[j] = row >= 0 ? x + row * x_row : history + (row + k - 1) * history_row;
  }
}

// packet(load, store) for every packet of n channels: whole ones stored as whole_store says, the last channels by
// themselves.
template <class Scalar, class F, class Store>
void conv_packets(Index n, F&& packet, Store&& whole_store) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  Index i = 0;
  for (; i + width <= n; i += width)
    packet([i](const Scalar* from) { return Packet::load(from + i); },
           [i, &whole_store](Scalar* to, Packet y) { whole_store(to + i, y); });
  if (i < n)
    packet([i, n](const Scalar* from) { return load_first(from + i, n - i); },
           [i, n](Scalar* to, Packet y) { store_first(to + i, y, n - i); });
}

// out_r = f(bias + sum_j weight_j window_{r+j}) for each row r, f of Lanes. k is a number; or a constant, so that its loop
// is none.
template <Index... r, class Scalar, class F, class Taps, class Store>
void conv_rows_of(std::integer_sequence<Index, r...>, Scalar* out, Index out_row, F&& f, const Scalar* bias,
                  const Scalar* weight, Index weight_row, const Scalar* const* window, Taps k, Index n,
                  Store&& whole_store) {
  using Packet = Lanes<Scalar>;
  const auto packet = [&](auto&& load, auto&& store) {
    const Packet start = load(bias);
    Packet u[] = {(void(r), start)...};
    for (Index j = 0; j < k; ++j) {
      const Packet weight_j = load(weight + j * weight_row);
      ((u[r] = multiply_add(weight_j, load(window[r + j]), u[r])), ...);
    }
    (store(out + r * out_row, f(u[r])), ...);
  };
  conv_packets<Scalar>(n, packet, whole_store);
}

}  // namespace detail

/// y = f(bias + sum_j weight_j x_{t-k+1+j}), assigned. y must not overlap x.
template <Activation F = Silu, class Scalar>
void short_conv(const ShortConvInputs<Scalar>& in, Division rows, const ShortConvHistory<Scalar>& history,
                MutableView<Scalar> y, Workers& workers) {
  if constexpr (detail::is_compiled<Scalar> && std::is_same_v<F, Silu>)
    return detail::run_compiled<Scalar>(compiled::Operation::short_conv, in, rows, history, y, workers);
  HEED_DEBUG_CHECK(in.weight.rows() >= 1 && in.weight.cols() == in.x.cols() && in.bias.cols() == in.x.cols());
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && y.rows() == in.x.rows() && y.cols() == in.x.cols());
  const Index C = in.x.cols(), k = in.weight.rows(), x_row = in.x.outerStride();
  const Index at_once = (std::max)(detail::conv_rows, k - 1);  // so that only the first rows of a sequence read history
  const Index strips = (C + detail::conv_channels - 1) / detail::conv_channels;
  Index longest = 1;
  for (Index sequence = 0; sequence < rows.sequences(); ++sequence) longest = (std::max)(longest, rows.rows(sequence));
  const Index blocks = (longest + at_once - 1) / at_once;
  const bool past_caches = k == 4 && detail::conv_goes_past_caches(y);
  workers.run(rows.sequences() * blocks * strips, [&](Index job, Arena& scratch) {
    const Index sequence = job / (blocks * strips), begin = job / strips % blocks * at_once;
    const Index channel = job % strips * detail::conv_channels, n = (std::min)(detail::conv_channels, C - channel);
    const Index first = rows.begin(sequence), T = rows.rows(sequence), end = (std::min)(T, begin + at_once);
    if (begin > 0 && begin >= T) return;
    const Scalar* x = T > 0 ? in.x.data() + first * x_row + channel : nullptr;
    const Scalar* before = history.before.entries != nullptr ? history.before.at(sequence, 0) : nullptr;
    Scalar* after = history.after.entries != nullptr ? history.after.at(sequence, 0) : nullptr;
    const Index before_row = before != nullptr ? C : 0;  // absent: one row of zeros stands for all
    before = before != nullptr ? before + channel : detail::conv_zeros<Scalar>;

    const Scalar** window = scratch.take<const Scalar*>(k - 1 + detail::conv_rows_at_once);
    const auto compute = [&](auto r, Index t, auto taps, auto&& store) {
      detail::conv_window(window, k - 1 + Index(r.size()), k, t - k + 1, x, x_row, before, before_row);
      detail::conv_rows_of(
          r, y.data() + (first + t) * y.outerStride() + channel, y.outerStride(), [](auto u) { return F::of(u); },
          in.bias.data() + channel, in.weight.data() + channel, in.weight.outerStride(), window, taps, n, store);
    };
    const auto to_caches = [](Scalar* to, detail::Lanes<Scalar> y_t) { y_t.store(to); };
    Index t = begin;
    constexpr std::make_integer_sequence<Index, detail::conv_rows_at_once> many;
    const auto compute_many = [&](auto taps, auto&& store) {
      for (; t + detail::conv_rows_at_once <= end; t += detail::conv_rows_at_once) compute(many, t, taps, store);
    };
    constexpr std::integral_constant<Index, 4> four;
    if constexpr (detail::stores_past_caches<Scalar>) {
      if (past_caches) {
        compute_many(four, [](Scalar* to, detail::Lanes<Scalar> y_t) { detail::store_past_caches(to, y_t); });
        detail::end_stores_past_caches();
      }
    }
    if (k == four)
      compute_many(four, to_caches);
    else
      compute_many(k, to_caches);
    for (; t < end; ++t) compute(std::make_integer_sequence<Index, 1>(), t, k, to_caches);

    // Row i becomes x_{T-k+1+i}; where that is older than the new rows it is row i + T of `before`. Upwards, so that
    // `after` may be `before`.
    if (after == nullptr || begin > 0) return;
    for (Index i = 0; i < k - 1; ++i) {
      const Index row = T - k + 1 + i;
      const Scalar* from = row >= 0 ? x + row * x_row : before + (i + T) * before_row;
      Scalar* to = after + i * C + channel;
      if (from != to) std::copy_n(from, n, to);
    }
  });
}

namespace detail {

// Rows of backward that are computed together; those after them are done already.
template <class Scalar>
struct ConvRowsBackward {
  const Scalar* const* window;  // x_{t-k+1+r} of row r, as in forward
  Scalar* const* d_u;           // d_u_{t+r}: written for the rows, read for the k - 1 after them
  const Scalar* d_y;
  Index d_y_row;
  Scalar* d_x;
  Index d_x_row;
};

template <Index... r, class Scalar, class DF, class Taps>
void conv_rows_backward(std::integer_sequence<Index, r...>, const ConvRowsBackward<Scalar>& of, DF&& d_f,
                        const Scalar* bias, const Scalar* weight, Index weight_row, Scalar* d_bias, Scalar* d_weight,
                        Index d_weight_row, Taps k, Index n) {
  using Packet = Lanes<Scalar>;
  constexpr Index last = Index(sizeof...(r)) - 1;
  const auto packet = [&](auto&& load, auto&& store) {
    // y_t = f(u_t)   =>   d_u_t = d_y_t f'(u_t)
    const Packet start = load(bias);
    Packet u[] = {(void(r), start)...};
    for (Index j = 0; j < k; ++j) {
      const Packet weight_j = load(weight + j * weight_row);
      ((u[r] = multiply_add(weight_j, load(of.window[r + j]), u[r])), ...);
    }
    const Packet d_u[] = {load(of.d_y + r * of.d_y_row) * d_f(u[r])...};
    (store(of.d_u[r], d_u[r]), ...);

    // u_t = bias + sum_j weight_j x_{t-k+1+j}   =>   d_bias += d_u_t,  d_weight_j += d_u_t x_{t-k+1+j},
    //                                               d_x_t += sum_j weight_j d_u_{t+k-1-j}
    Packet sum = load(d_bias);
    ((sum = sum + d_u[last - r]), ...);
    store(d_bias, sum);
    Packet d_x[] = {load(of.d_x + r * of.d_x_row)...};
    for (Index j = 0; j < k; ++j) {
      Packet d_weight_j = load(d_weight + j * d_weight_row);
      ((d_weight_j = multiply_add(d_u[last - r], load(of.window[last - r + j]), d_weight_j)), ...);
      store(d_weight + j * d_weight_row, d_weight_j);
      const Packet weight_j = load(weight + j * weight_row);
      ((d_x[r] = multiply_add(weight_j, load(of.d_u[r + k - 1 - j]), d_x[r])), ...);
    }
    (store(of.d_x + r * of.d_x_row, d_x[r]), ...);
  };
  conv_packets<Scalar>(n, packet, [](Scalar* to, Packet y) { y.store(to); });
}

}  // namespace detail

/// The gradient of dot(y, d_y), added to d, for whole sequences: the history before them is zero.
template <Activation F = Silu, class Scalar>
void short_conv_backward(const ShortConvInputs<Scalar>& in, Division rows, View<Scalar> d_y, ShortConvGradients<Scalar> d,
                         Workers& workers) {
  if constexpr (detail::is_compiled<Scalar> && std::is_same_v<F, Silu>)
    return detail::run_compiled<Scalar>(compiled::Operation::short_conv_backward, in, rows, d_y, d, workers);
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && d_y.rows() == in.x.rows() && d_y.cols() == in.x.cols());
  const Index C = in.x.cols(), k = in.weight.rows(), kept = k - 1 + detail::conv_rows_at_once;
  const Index blocks = (C + detail::conv_backward_channels - 1) / detail::conv_backward_channels;
  workers.run(blocks, [&](Index job, Arena& scratch) {
    const Index channel = job * detail::conv_backward_channels, n = (std::min)(detail::conv_backward_channels, C - channel);
    const Scalar** window = scratch.take<const Scalar*>(kept);
    Scalar** d_u_window = scratch.take<Scalar*>(kept);
    Scalar* d_u = scratch.take<Scalar>(kept * n);  // [kept x n]: d_u_t in row t mod kept
    for (Index sequence = 0; sequence < rows.sequences(); ++sequence) {
      const Index first = rows.begin(sequence), T = rows.rows(sequence);
      if (T == 0) continue;
      const Scalar* x = in.x.data() + first * in.x.outerStride() + channel;
      std::fill_n(d_u, kept * n, Scalar(0));  // nothing reads rows after the last
      const auto compute = [&](auto r, Index t, auto taps) {
        detail::conv_window(window, k - 1 + Index(r.size()), k, t - k + 1, x, in.x.outerStride(),
                            detail::conv_zeros<Scalar>, Index(0));
        for (Index row = 0; row < k - 1 + Index(r.size()); ++row) d_u_window[row] = d_u + (t + row) % kept * n;
        detail::conv_rows_backward(
            r,
            detail::ConvRowsBackward<Scalar>{window, d_u_window, d_y.data() + (first + t) * d_y.outerStride() + channel,
                                             d_y.outerStride(), d.x.data() + (first + t) * d.x.outerStride() + channel,
                                             d.x.outerStride()},
            [](auto u) { return F::derivative(u); }, in.bias.data() + channel, in.weight.data() + channel,
            in.weight.outerStride(), d.bias.data() + channel, d.weight.data() + channel, d.weight.outerStride(), taps, n);
      };
      Index end = T;
      constexpr std::make_integer_sequence<Index, detail::conv_rows_at_once> many;
      const auto compute_many = [&](auto taps) {
        for (; end >= detail::conv_rows_at_once; end -= detail::conv_rows_at_once) {
          const Index t = end - detail::conv_rows_at_once;
          // The rows before: no prefetcher of the processor follows so few channels from row to row.
          for (Index row = (std::max)(Index(0), t - detail::conv_rows_at_once); row < t; ++row) {
            detail::ask_for_row(x + row * in.x.outerStride(), n);
            detail::ask_for_row(d_y.data() + (first + row) * d_y.outerStride() + channel, n);
            detail::ask_for_row(d.x.data() + (first + row) * d.x.outerStride() + channel, n);
          }
          compute(many, t, taps);
        }
      };
      constexpr std::integral_constant<Index, 4> four;
      if (k == four)
        compute_many(four);
      else
        compute_many(k);
      for (; end > 0; --end) compute(std::make_integer_sequence<Index, 1>(), end - 1, k);
    }
  });
}

}  // namespace heed::inline HEED_ABI
