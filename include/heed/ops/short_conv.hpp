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

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "activation.hpp"

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

// A job has the channels [begin, begin + count).
inline constexpr Index conv_channels = 128;          // forward: of one sequence
inline constexpr Index conv_backward_channels = 64;  // backward: of all sequences, so that sums over rows have one order

// The k rows x_{t-k+1} ... x_t of some channels of one sequence; rows before its first are those of `history`.
template <class Scalar>
void conv_window(const Scalar** window, Index k, Index t, const Scalar* x, Index x_row, const Scalar* history,
                 Index history_row) {
  for (Index j = 0; j < k; ++j) {
    const Index row = t - k + 1 + j;
    window[j] = row >= 0 ? x + row * x_row : history + (row + k - 1) * history_row;
  }
}

// out = f(bias + sum_j weight_j window_j), f of Lanes
template <class Scalar, class F>
void conv_row(Scalar* out, F&& f, const Scalar* bias, const Scalar* weight, Index weight_row, const Scalar* const* window,
              Index k, Index n) {
  const auto u = [&](auto&& load) {
    auto sum = load(bias);
    for (Index j = 0; j < k; ++j) sum = multiply_add(load(weight + j * weight_row), load(window[j]), sum);
    return sum;
  };
  constexpr Index width = full_width<Scalar>;
  Index i = 0;
  for (; i + width <= n; i += width) f(u([&](const Scalar* from) { return Lanes<Scalar>::load(from + i); })).store(out + i);
  if (i < n) store_first(out + i, f(u([&](const Scalar* from) { return load_first(from + i, n - i); })), n - i);
}

}  // namespace detail

/// y = f(bias + sum_j weight_j x_{t-k+1+j}), assigned. y must not overlap x.
template <Activation F = Silu, class Scalar>
void short_conv(const ShortConvInputs<Scalar>& in, Division rows, const ShortConvHistory<Scalar>& history,
                MutableView<Scalar> y, Workers& workers) {
  HEED_DEBUG_CHECK(in.weight.rows() >= 1 && in.weight.cols() == in.x.cols() && in.bias.cols() == in.x.cols());
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && y.rows() == in.x.rows() && y.cols() == in.x.cols());
  const Index C = in.x.cols(), k = in.weight.rows();
  const Index blocks = (C + detail::conv_channels - 1) / detail::conv_channels;
  workers.run(rows.sequences() * blocks, [&](Index job, Arena& scratch) {
    const Index sequence = job / blocks, channel = job % blocks * detail::conv_channels;
    const Index n = (std::min)(detail::conv_channels, C - channel);
    const Index first = rows.begin(sequence), T = rows.rows(sequence), x_row = in.x.outerStride();
    const Scalar* x = T > 0 ? in.x.data() + first * x_row + channel : nullptr;
    const Scalar* before = history.before.entries != nullptr ? history.before.at(sequence, 0) : nullptr;
    Scalar* after = history.after.entries != nullptr ? history.after.at(sequence, 0) : nullptr;
    const Index before_row = before != nullptr ? C : 0;  // absent: one row of zeros stands for all
    before = before != nullptr ? before + channel : scratch.take_zeroed<Scalar>(n);

    const Scalar** window = scratch.take<const Scalar*>(k);
    for (Index t = 0; t < T; ++t) {
      detail::conv_window(window, k, t, x, x_row, before, before_row);
      detail::conv_row(
          y.data() + (first + t) * y.outerStride() + channel, [](auto u) { return F::of(u); }, in.bias.data() + channel,
          in.weight.data() + channel, in.weight.outerStride(), window, k, n);
    }

    // Row i becomes x_{T-k+1+i}; where that is older than the new rows it is row i + T of `before`. Upwards, so that
    // `after` may be `before`.
    if (after == nullptr) return;
    for (Index i = 0; i < k - 1; ++i) {
      const Index row = T - k + 1 + i;
      const Scalar* from = row >= 0 ? x + row * x_row : before + (i + T) * before_row;
      Scalar* to = after + i * C + channel;
      if (from != to) std::copy_n(from, n, to);
    }
  });
}

/// The gradient of dot(y, d_y), added to d, for whole sequences: the history before them is zero.
template <Activation F = Silu, class Scalar>
void short_conv_backward(const ShortConvInputs<Scalar>& in, Division rows, View<Scalar> d_y, ShortConvGradients<Scalar> d,
                         Workers& workers) {
  HEED_DEBUG_CHECK(rows.rows() == in.x.rows() && d_y.rows() == in.x.rows() && d_y.cols() == in.x.cols());
  const Index C = in.x.cols(), k = in.weight.rows();
  const Index blocks = (C + detail::conv_backward_channels - 1) / detail::conv_backward_channels;
  workers.run(blocks, [&](Index job, Arena& scratch) {
    const Index channel = job * detail::conv_backward_channels, n = (std::min)(detail::conv_backward_channels, C - channel);
    const Scalar* weight = in.weight.data() + channel;
    const Scalar* zeros = scratch.take_zeroed<Scalar>(n);
    const Scalar** window = scratch.take<const Scalar*>(k);
    Scalar* u = scratch.take<Scalar>(n);
    Scalar* d_u = scratch.take<Scalar>(k * n);  // [k x n]: d_u_t in row t mod k
    const auto add = [](auto sum, auto a) { return sum + a; };
    const auto add_product = [](auto sum, auto a, auto b) { return multiply_add(a, b, sum); };
    const auto d_f = [](auto g, auto u_c) { return g * F::derivative(u_c); };
    for (Index sequence = 0; sequence < rows.sequences(); ++sequence) {
      const Index first = rows.begin(sequence), T = rows.rows(sequence);
      if (T == 0) continue;
      const Scalar* x = in.x.data() + first * in.x.outerStride() + channel;
      for (Index t = T - 1; t >= 0; --t) {
        // y_t = f(u_t)   =>   d_u_t = d_y_t f'(u_t)
        detail::conv_window(window, k, t, x, in.x.outerStride(), zeros, Index(0));
        detail::conv_row(
            u, [](auto u_c) { return u_c; }, in.bias.data() + channel, weight, in.weight.outerStride(), window, k, n);
        Scalar* d_u_t = d_u + t % k * n;
        detail::transform(n, d_u_t, d_f, d_y.data() + (first + t) * d_y.outerStride() + channel, u);

        // u_t = bias + sum_j weight_j x_{t-k+1+j}   =>   d_bias += d_u_t,  d_weight_j += d_u_t x_{t-k+1+j},
        //                                               d_x_t += sum_j weight_j d_u_{t+k-1-j}
        Scalar* d_bias = d.bias.data() + channel;
        detail::transform(n, d_bias, add, d_bias, d_u_t);
        Scalar* d_x_t = d.x.data() + (first + t) * d.x.outerStride() + channel;
        for (Index j = 0; j < k; ++j) {
          Scalar* d_weight_j = d.weight.data() + j * d.weight.outerStride() + channel;
          if (t - k + 1 + j >= 0) detail::transform(n, d_weight_j, add_product, d_weight_j, d_u_t, window[j]);
          const Index reader = t + k - 1 - j;
          if (reader < T)
            detail::transform(n, d_x_t, add_product, d_x_t, weight + j * in.weight.outerStride(), d_u + reader % k * n);
        }
      }
    }
  });
}

}  // namespace heed::inline HEED_ABI
