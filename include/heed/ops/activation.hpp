// Activations as functions of lanes, and the gated product of the feed-forward.
//
//   silu(x) = x sigma(x)          softplus(x) = log(1 + e^x)          swiglu: y = silu(gate) up
//
// Sources: Elfwing et al. 2017 (arXiv 1702.03118); Shazeer 2020 (arXiv 2002.05202), eq. 6.
#pragma once

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI::detail {

/// x sigma(x)
template <class Scalar>
Lanes<Scalar> silu(Lanes<Scalar> x) {
  return x * logistic(x);
}
// silu(x) = x sigma(x)   =>   silu'(x) = sigma(x) (1 + x (1 - sigma(x)))
template <class Scalar>
Lanes<Scalar> silu_derivative(Lanes<Scalar> x) {
  const Lanes<Scalar> sigma = logistic(x);
  return sigma * (Scalar(1) + x * (Scalar(1) - sigma));
}

/// log(1 + x) for x >= 0, exact to rounding near zero too.
template <class Scalar>
Lanes<Scalar> log_one_plus(Lanes<Scalar> x) {
  if constexpr (Eigen::internal::packet_traits<Scalar>::HasLog) {
    // With u = 1 + x rounded, log(u) x / (u - 1) repairs what the rounding lost (Kahan).
    const Lanes<Scalar> zero = Lanes<Scalar>::all(Scalar(0));
    const Lanes<Scalar> u = Scalar(1) + x;
    const Lanes<Scalar> above_one = u - Lanes<Scalar>::all(Scalar(1));
    const Lanes<Scalar> repaired = x * (Lanes<Scalar>{Eigen::internal::plog(u.raw)} / above_one);
    return {Eigen::internal::pselect(Eigen::internal::pcmp_eq(above_one.raw, zero.raw), x.raw, repaired.raw)};
  } else {
    Scalar lanes[static_cast<std::size_t>(full_width<Scalar>)];
    x.store(lanes);
    for (Scalar& lane : lanes) lane = std::log1p(lane);
    return Lanes<Scalar>::load(lanes);
  }
}

/// log(1 + e^x), finite for any finite x: max(x, 0) + log(1 + e^-|x|)
template <class Scalar>
Lanes<Scalar> softplus(Lanes<Scalar> x) {
  const Lanes<Scalar> zero = Lanes<Scalar>::all(Scalar(0));
  return maximum(x, zero) + log_one_plus(exponential(zero - maximum(x, zero - x)));
}
// softplus(x) = log(1 + e^x)   =>   softplus'(x) = sigma(x)
template <class Scalar>
Lanes<Scalar> softplus_derivative(Lanes<Scalar> x) {
  return logistic(x);
}

template <class Scalar>
void swiglu(View<Scalar> gate, View<Scalar> up, MutableView<Scalar> y, Workers& workers) {
  for_rows(y.rows(), y.cols(), workers, [&](Index t) {
    transform(
        y.cols(), row_of(y, t), [](auto g, auto u) { return silu(g) * u; }, row_of(gate, t), row_of(up, t));
  });
}

template <class Scalar>
void swiglu_backward(View<Scalar> gate, View<Scalar> up, View<Scalar> d_y, MutableView<Scalar> d_gate,
                     MutableView<Scalar> d_up, Workers& workers) {
  for_rows(d_y.rows(), d_y.cols(), workers, [&](Index t) {
    // y = silu(gate) up   =>   d_gate += d_y up silu'(gate),   d_up += d_y silu(gate)
    transform(
        d_y.cols(), row_of(d_gate, t), [](auto d_g, auto d, auto g, auto u) { return d_g + d * u * silu_derivative(g); },
        row_of(d_gate, t), row_of(d_y, t), row_of(gate, t), row_of(up, t));
    transform(
        d_y.cols(), row_of(d_up, t), [](auto d_u, auto d, auto g) { return d_u + d * silu(g); }, row_of(d_up, t),
        row_of(d_y, t), row_of(gate, t));
  });
}

}  // namespace heed::inline HEED_ABI::detail

namespace heed::inline HEED_ABI {

/// y = silu(gate) up, element by element. y may be gate or up.
///   gate, up, y [T x F]
template <class G, class U, class Y>
void swiglu(const Eigen::MatrixBase<G>& gate, const Eigen::MatrixBase<U>& up, const Eigen::MatrixBase<Y>& y,
            Workers& workers) {
  HEED_DEBUG_CHECK(gate.rows() == y.rows() && gate.cols() == y.cols() && up.rows() == y.rows() && up.cols() == y.cols());
  detail::swiglu(view_of(gate), view_of(up), mutable_view_of(y), workers);
}

/// Adds the gradient of dot(y, d_y) to d_gate and d_up, which are not gate, up or d_y.
template <class G, class U, class DY, class DG, class DU>
void swiglu_backward(const Eigen::MatrixBase<G>& gate, const Eigen::MatrixBase<U>& up, const Eigen::MatrixBase<DY>& d_y,
                     const Eigen::MatrixBase<DG>& d_gate, const Eigen::MatrixBase<DU>& d_up, Workers& workers) {
  HEED_DEBUG_CHECK(d_gate.rows() == d_y.rows() && d_gate.cols() == d_y.cols() && d_up.rows() == d_y.rows() &&
                   d_up.cols() == d_y.cols());
  detail::swiglu_backward(view_of(gate), view_of(up), view_of(d_y), mutable_view_of(d_gate), mutable_view_of(d_up),
                          workers);
}

}  // namespace heed::inline HEED_ABI
