// The data-dependent steps of a recurrence, and its decays.
//
//   dt = softplus(raw + bias)        raw, dt [T x H]   bias [1 x H]
//   a  = -exp(a_log)                 a, a_log [N x H]
// Mamba-1 has a step for every channel and a decay for each of its states (H: channels), Mamba-2 one step and one decay for
// a head (N = 1).
// Source: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2; Dao and Gu 2024 (arXiv 2405.21060).
#pragma once

#include <limits>

#include "activation.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

/// What steps are kept between. The gradient of a step at a limit is zero.
struct StepLimits {
  double least = 0;
  double most = 0;  ///< 0: no limit

  bool any() const { return least > 0 || most > 0; }

  template <class F, class C>
  static void fields(F&& f, C& limits) {
    f("least", limits.least);
    f("most", limits.most);
  }
};

namespace detail {

/// The limits as lanes.
template <class Scalar>
struct StepRange {
  Lanes<Scalar> least, most;

  explicit StepRange(const StepLimits& limits)
      : least(Lanes<Scalar>::all(static_cast<Scalar>(limits.least))),
        most(Lanes<Scalar>::all(limits.most > 0 ? static_cast<Scalar>(limits.most)
                                                : std::numeric_limits<Scalar>::infinity())) {}
  /// x, or the limit it is beyond. NaN stays NaN.
  Lanes<Scalar> nearest(Lanes<Scalar> x) const {
    const Lanes<Scalar> raised = where_positive(x - least, x, least);
    return where_positive(most - raised, raised, most);
  }
  /// d where x is between the limits, zero elsewhere.
  Lanes<Scalar> gradient(Lanes<Scalar> d, Lanes<Scalar> x) const {
    const Lanes<Scalar> zero = Lanes<Scalar>::all(Scalar(0));
    return where_positive(x - least, where_positive(most - x, d, zero), zero);
  }
};

}  // namespace detail

/// dt = softplus(raw + bias), kept within the limits
template <class Scalar>
void time_step(const View<Scalar>& raw, const View<Scalar>& bias, MutableView<Scalar> dt, Workers& workers,
               const StepLimits& limits = {}) {
  const detail::StepRange<Scalar> range(limits);
  detail::for_rows(raw.rows(), raw.cols(), workers, [&](Index t) {
    Scalar* dt_t = detail::row_of(dt, t);
    detail::transform(
        raw.cols(), dt_t, [](auto r, auto b) { return detail::softplus(r + b); }, detail::row_of(raw, t), bias.data());
    if (limits.any())
      detail::transform(
          raw.cols(), dt_t, [&](auto step) { return range.nearest(step); }, dt_t);
  });
}

/// Adds to d_raw and d_bias.
template <class Scalar>
void time_step_backward(const View<Scalar>& raw, const View<Scalar>& bias, const View<Scalar>& d_dt,
                        MutableView<Scalar> d_raw, MutableView<Scalar> d_bias, Arena& scratch, Workers& workers,
                        const StepLimits& limits = {}) {
  const Arena::Scope scope(scratch);
  const Index H = raw.cols();
  const detail::StepRange<Scalar> range(limits);
  const detail::RowBlocks blocks(raw.rows(), H);
  MutableView<Scalar> d_biases = scratch.zeros<Scalar>(blocks.size(), H);  // [blocks x H]
  workers.run(blocks.size(), [&](Index block, Arena& own) {
    Scalar* d_sum = own.take<Scalar>(H);
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t) {
      // dt = softplus(raw + bias) within the limits   =>   d_raw and d_bias += d_dt softplus'(raw + bias), or nothing
      detail::transform(
          H, d_sum, [](auto d, auto r, auto b) { return d * detail::softplus_derivative(r + b); }, detail::row_of(d_dt, t),
          detail::row_of(raw, t), bias.data());
      if (limits.any())
        detail::transform(
            H, d_sum, [&](auto d, auto r, auto b) { return range.gradient(d, detail::softplus(r + b)); }, d_sum,
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
