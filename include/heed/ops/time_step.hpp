// The data-dependent steps of a recurrence, and its decays.
//
//   dt = softplus(raw + bias)        raw, dt [T x H]   bias [1 x H]
//   a  = -exp(a_log)                 a, a_log [N x H]
// Mamba-1 has a step for every channel and a decay for each of its states (H: channels), Mamba-2 one step and one decay for
// a head (N = 1).
// Source: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2; Dao and Gu 2024 (arXiv 2405.21060).
#pragma once

#include "activation.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

/// dt = softplus(raw + bias)
template <class Scalar>
void time_step(const View<Scalar>& raw, const View<Scalar>& bias, MutableView<Scalar> dt, Workers& workers) {
  detail::for_rows(raw.rows(), raw.cols(), workers, [&](Index t) {
    detail::transform(
        raw.cols(), detail::row_of(dt, t), [](auto r, auto b) { return detail::softplus(r + b); }, detail::row_of(raw, t),
        bias.data());
  });
}

/// Adds to d_raw and d_bias.
template <class Scalar>
void time_step_backward(const View<Scalar>& raw, const View<Scalar>& bias, const View<Scalar>& d_dt,
                        MutableView<Scalar> d_raw, MutableView<Scalar> d_bias, Arena& scratch, Workers& workers) {
  const Arena::Scope scope(scratch);
  const Index H = raw.cols();
  const detail::RowBlocks blocks(raw.rows(), H);
  MutableView<Scalar> d_biases = scratch.zeros<Scalar>(blocks.size(), H);  // [blocks x H]
  workers.run(blocks.size(), [&](Index block, Arena& own) {
    Scalar* d_sum = own.take<Scalar>(H);
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t) {
      // dt = softplus(raw + bias)   =>   d_raw and d_bias += d_dt softplus'(raw + bias)
      detail::transform(
          H, d_sum, [](auto d, auto r, auto b) { return d * detail::softplus_derivative(r + b); }, detail::row_of(d_dt, t),
          detail::row_of(raw, t), bias.data());
      detail::add_scaled(detail::row_of(d_raw, t), Scalar(1), d_sum, H);
      detail::add_scaled(detail::row_of(d_biases, block), Scalar(1), d_sum, H);
    }
  });
  for (Index block = 0; block < blocks.size(); ++block)
    detail::add_scaled(d_bias.data(), Scalar(1), detail::row_of(d_biases, block), H);
}

/// a = -exp(a_log)
template <class Scalar>
void decay_rate(const View<Scalar>& a_log, MutableView<Scalar> a) {
  for (Index n = 0; n < a.rows(); ++n)
    detail::transform(
        a.cols(), detail::row_of(a, n), [](auto l) { return Scalar(0) - exponential(l); }, detail::row_of(a_log, n));
}

/// a = -exp(a_log)   =>   d_a_log += d_a a
template <class Scalar>
void decay_rate_backward(const View<Scalar>& a, const View<Scalar>& d_a, MutableView<Scalar> d_a_log) {
  for (Index n = 0; n < a.rows(); ++n)
    detail::transform(
        a.cols(), detail::row_of(d_a_log, n), [](auto d_l, auto d, auto rate) { return multiply_add(d, rate, d_l); },
        detail::row_of(d_a_log, n), detail::row_of(d_a, n), detail::row_of(a, n));
}

}  // namespace heed::inline HEED_ABI
