// Layer normalisation of rows, forward and backward.
//
//   y = (x - mean) r w + b,   r = (mean((x - mean)^2) + epsilon)^(-1/2) for every row       x, y [T x D]   w, b [1 x D]
//
// The deviations are taken from the rounded mean, in a second walk, so that rows far from zero lose nothing.
// Source: Ba, Kiros, Hinton 2016 (arXiv 1607.06450), eq. 3 and section 3.1.
#pragma once

#include <cmath>

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct LayerNormInputs {
  View<Scalar> x;       // [T x D]
  View<Scalar> weight;  // [1 x D]
  View<Scalar> bias;    // [1 x D]
  double epsilon = 1e-5;
};

/// What a row was normalised by.
template <class Scalar>
struct LayerNormMoments {
  MutableView<Scalar> mean;               // [T x 1]
  MutableView<Scalar> inverse_deviation;  // [T x 1] r
};

/// Where the gradients are added.
template <class Scalar>
struct LayerNormGradients {
  MutableView<Scalar> x;       // [T x D]
  MutableView<Scalar> weight;  // [1 x D]
  MutableView<Scalar> bias;    // [1 x D]
};

namespace detail {

template <class Scalar>
struct RowMoments {
  Scalar mean;
  Scalar inverse_deviation;
};

/// centred = x - mean, and what normalises the row. centred may be x.
template <class Scalar>
RowMoments<Scalar> centre(const Scalar* x, Scalar* centred, Index D, double epsilon) {
  const auto n = static_cast<Scalar>(D);
  const Scalar mean = sum_over(
                          D, [](auto x_i) { return x_i; }, x) /
                      n;
  const auto mean_ = Lanes<Scalar>::all(mean);
  transform(
      D, centred, [&](auto x_i) { return x_i - mean_; }, x);
  const Scalar squares = sum_over(
      D, [](auto c_i) { return c_i * c_i; }, static_cast<const Scalar*>(centred));
  return {mean, Scalar(1) / std::sqrt(squares / n + static_cast<Scalar>(epsilon))};
}

/// normed(t, moments) for every row, when it is written.
template <class Scalar, class F>
void layer_norm(const LayerNormInputs<Scalar>& in, MutableView<Scalar> y, Workers& workers, F&& normed) {
  const Index D = in.x.cols();
  HEED_DEBUG_CHECK(y.rows() == in.x.rows() && y.cols() == D && in.weight.cols() == D && in.bias.cols() == D);
  for_rows(in.x.rows(), D, workers, [&](Index t) {
    Scalar* y_t = row_of(y, t);
    const RowMoments<Scalar> moments = centre(row_of(in.x, t), y_t, D, in.epsilon);
    const auto r = Lanes<Scalar>::all(moments.inverse_deviation);
    transform(
        D, y_t, [&](auto c_i, auto w_i, auto b_i) { return multiply_add(c_i * r, w_i, b_i); }, y_t, in.weight.data(),
        in.bias.data());
    normed(t, moments);
  });
}

}  // namespace detail

/// y is assigned. It may be x.
template <class Scalar>
void layer_norm(const LayerNormInputs<Scalar>& in, MutableView<Scalar> y, Workers& workers) {
  detail::layer_norm(in, y, workers, [](Index, const auto&) {});
}

/// The same, and what every row was normalised by.
template <class Scalar>
void layer_norm(const LayerNormInputs<Scalar>& in, MutableView<Scalar> y, LayerNormMoments<Scalar> moments,
                Workers& workers) {
  HEED_DEBUG_CHECK(moments.mean.rows() == in.x.rows() && moments.inverse_deviation.rows() == in.x.rows());
  detail::layer_norm(in, y, workers, [&](Index t, const detail::RowMoments<Scalar>& of_row) {
    *detail::row_of(moments.mean, t) = of_row.mean;
    *detail::row_of(moments.inverse_deviation, t) = of_row.inverse_deviation;
  });
}

/// The gradient of dot(y, d_y), added to d, whose memory is none of the inputs'. Takes [2 blocks x D] from scratch and a
/// row from the scratch of every job, and gives them back.
template <class Scalar>
void layer_norm_backward(const LayerNormInputs<Scalar>& in, View<Scalar> d_y, LayerNormGradients<Scalar> d, Arena& scratch,
                         Workers& workers) {
  using namespace detail;  // NOLINT: the operation's own tools
  const Index D = in.x.cols();
  HEED_DEBUG_CHECK(d_y.rows() == in.x.rows() && d_y.cols() == D && d.x.rows() == in.x.rows() && d.x.cols() == D);
  HEED_DEBUG_CHECK(d.weight.cols() == D && d.bias.cols() == D);
  const RowBlocks blocks(in.x.rows(), D);
  const Arena::Scope scope(scratch);
  MutableView<Scalar> d_weights = scratch.zeros<Scalar>(blocks.size(), D);  // one row a block
  MutableView<Scalar> d_biases = scratch.zeros<Scalar>(blocks.size(), D);   // one row a block
  const Scalar* w = in.weight.data();
  const auto n = static_cast<Scalar>(D);
  workers.run(blocks.size(), [&](Index block, Arena& own) {
    Scalar* u = own.take<Scalar>(D);  // (x - mean) r of one row
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t) {
      const Scalar* d_y_t = row_of(d_y, t);
      const auto r = Lanes<Scalar>::all(centre(row_of(in.x, t), u, D, in.epsilon).inverse_deviation);
      transform(
          D, u, [&](auto c_i) { return c_i * r; }, static_cast<const Scalar*>(u));
      const Scalar* u_t = u;
      // y = u w + b   =>   d_b += d_y,  d_w += d_y u,  d_u = d_y w
      add_scaled(row_of(d_biases, block), Scalar(1), d_y_t, D);
      transform(
          D, row_of(d_weights, block), [](auto d_w, auto d_y_i, auto u_i) { return d_w + d_y_i * u_i; },
          row_of(d_weights, block), d_y_t, u_t);
      // u = (x - mean) r   =>   d_x += r (d_u - mean(d_u) - u mean(d_u u))
      const auto mean = Lanes<Scalar>::all(sum_over(
                                               D, [](auto d_y_i, auto w_i) { return d_y_i * w_i; }, d_y_t, w) /
                                           n);
      const auto along =
          Lanes<Scalar>::all(sum_over(
                                 D, [](auto d_y_i, auto w_i, auto u_i) { return d_y_i * w_i * u_i; }, d_y_t, w, u_t) /
                             n);
      transform(
          D, row_of(d.x, t),
          [&](auto d_x_i, auto d_y_i, auto w_i, auto u_i) { return d_x_i + r * (d_y_i * w_i - mean - u_i * along); },
          row_of(d.x, t), d_y_t, w, u_t);
    }
  });
  for (Index block = 0; block < blocks.size(); ++block) {
    add_scaled(d.weight.data(), Scalar(1), row_of(d_weights, block), D);
    add_scaled(d.bias.data(), Scalar(1), row_of(d_biases, block), D);
  }
}

}  // namespace heed::inline HEED_ABI
