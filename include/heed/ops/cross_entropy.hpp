// Cross-entropy of logits against the tokens that came next, natural log, averaged over the rows that have one.
//
//   loss = mean_t (log sum_i e^{z_ti} - z_t,target_t)          z = logits [T x V]
//
// A negative target means that the row has none: it does not count and its gradient is zero.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

/// The largest number of a row and the sum of e^(z - largest). n > 0.
template <class Scalar>
struct RowSum {
  Scalar largest;
  Scalar sum;
};

template <class Scalar>
RowSum<Scalar> row_sum(const Scalar* z, Index n) {
  constexpr Index width = full_width<Scalar>;
  Lanes<Scalar> lanes = Lanes<Scalar>::all(z[0]);
  Index i = 0;
  for (; i + width <= n; i += width) lanes = maximum(lanes, Lanes<Scalar>::load(z + i));
  Scalar largest = Eigen::internal::predux_max(lanes.raw);
  for (; i < n; ++i) largest = (std::max)(largest, z[i]);

  const auto shift = Lanes<Scalar>::all(largest);
  Lanes<Scalar> sums = Lanes<Scalar>::all(Scalar(0));
  for (i = 0; i + width <= n; i += width) sums = sums + falling_exponential(Lanes<Scalar>::load(z + i) - shift);
  Scalar exponentials[static_cast<std::size_t>(full_width<Scalar>)] = {};
  falling_exponential(load_first(z + i, n - i) - shift).store(exponentials);
  Scalar sum = sums.sum();
  for (Index lane = 0; lane < n - i; ++lane) sum += exponentials[lane];
  return {largest, sum};
}

inline Index count_of(std::span<const int> targets) {
  Index count = 0;
  for (const int target : targets) count += target >= 0;
  return count;
}

template <class Scalar>
double cross_entropy(View<Scalar> logits, std::span<const int> targets, Arena& scratch, Workers& workers) {
  const Index T = logits.rows(), V = logits.cols();
  const Arena::Scope scope(scratch);
  double* losses = scratch.take<double>(T);
  for_rows(T, V, workers, [&](Index t) {
    const int target = targets[static_cast<std::size_t>(t)];
    losses[t] = 0;
    if (target < 0) return;
    HEED_DEBUG_CHECK(target < V);
    const RowSum<Scalar> row = row_sum(row_of(logits, t), V);
    const double behind = static_cast<double>(row.largest) - static_cast<double>(row_of(logits, t)[target]);
    losses[t] = std::log(static_cast<double>(row.sum)) + behind;
  });
  double sum = 0;
  for (Index t = 0; t < T; ++t) sum += losses[t];
  return sum / static_cast<double>((std::max)(Index(1), count_of(targets)));
}

template <class Scalar>
void cross_entropy_backward(View<Scalar> logits, std::span<const int> targets, MutableView<Scalar> d_logits,
                            Workers& workers) {
  const Index V = logits.cols();
  const Scalar share = static_cast<Scalar>(1 / static_cast<double>((std::max)(Index(1), count_of(targets))));
  for_rows(logits.rows(), V, workers, [&](Index t) {
    const int target = targets[static_cast<std::size_t>(t)];
    if (target < 0) return;
    // loss = mean_t (log sum_i e^{z_ti} - z_t,target_t)   =>   d_z += (e^z / sum_i e^z_i - [i = target]) / count
    const Scalar* z = row_of(logits, t);
    Scalar* d_z = row_of(d_logits, t);
    const RowSum<Scalar> row = row_sum(z, V);
    const auto shift = Lanes<Scalar>::all(row.largest), scale = Lanes<Scalar>::all(share / row.sum);
    const Scalar before = d_z[target];
    transform(
        V, d_z, [&](auto d_i, auto z_i) { return multiply_add(falling_exponential(z_i - shift), scale, d_i); }, d_z, z);
    Scalar e;
    transform(
        1, &e, [&](auto z_i) { return falling_exponential(z_i - shift); }, z + target);
    d_z[target] = before + (e / row.sum - 1) * share;
  });
}

}  // namespace detail

/// The mean loss in nats over the rows whose target is not negative; 0 if there are none. Takes [T] doubles from scratch
/// and gives them back.
///   logits [T x V]   targets [T], less than V
template <class Logits>
double cross_entropy(const Eigen::MatrixBase<Logits>& logits, std::span<const int> targets, Arena& scratch,
                     Workers& workers) {
  HEED_DEBUG_CHECK(logits.rows() == static_cast<Index>(targets.size()));
  return detail::cross_entropy(view_of(logits), targets, scratch, workers);
}

/// Adds the gradient of the mean loss to d_logits.
template <class Logits, class DLogits>
void cross_entropy_backward(const Eigen::MatrixBase<Logits>& logits, std::span<const int> targets,
                            const Eigen::MatrixBase<DLogits>& d_logits, Workers& workers) {
  HEED_DEBUG_CHECK(d_logits.rows() == logits.rows() && d_logits.cols() == logits.cols());
  detail::cross_entropy_backward(view_of(logits), targets, mutable_view_of(d_logits), workers);
}

}  // namespace heed::inline HEED_ABI
