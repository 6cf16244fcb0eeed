// Attention: probabilities times values, forward and backward.
//
//   o[:, h] += A_h V_{h / g}             o [T x H*E_v], V [S x E_v], g = H / G query heads for each key/value head
//
//   Computed    A = softmax(mask(scale Q K^T)), formed in tiles and never whole: memory is linear in S; options, off unless
//               set: soft-cap, ALiBi, biases, sinks, positions that are not S - T
//   Given       A is somebody else's, kept as Probabilities
//
// New row i is at position i + past, past = S - T (bottom-right), and may be negative: a row that sees nothing yields zero,
// with a zero gradient. Neither keys nor values that a row does not see can reach it, not even as NaN.
#pragma once

#include "../compiled/kernels.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "kernels/attend_backward.hpp"
#include "kernels/attend_few.hpp"
#include "kernels/attend_given.hpp"
#include "kernels/attend_in_terms.hpp"
#include "kernels/attend_plan.hpp"
#include "kernels/backward_parts.hpp"
#include "score_bias.hpp"

namespace heed::inline HEED_ABI {

/// The operand A = softmax(mask(biases + soft-cap(scale Q K^T))).
template <class Scalar>
struct Computed {
  View<Scalar> q;                 // [T x H*E], packed rows
  HeadTable<HeadRows<Scalar>> k;  // per (sequence, kv head): [S x E]
  Mask mask;
  Scalar scale;
  MutableView<Scalar> log_sum_exp;  // [T x H], natural log, -inf for a row that sees nothing: attend writes it
  HeadTable<Probabilities<Scalar>> probabilities;  // per (sequence, query head): those with rows are filled; or no heads

  // Options: as they stand here, they change nothing.
  Scalar soft_cap = 0;                     // > 0: logits become soft_cap tanh(logits / soft_cap), before mask and biases
  const Scalar* slopes = nullptr;          // [H] ALiBi: -slope |position - key| is added
  HeadTable<ScoreBias<Scalar>> bias = {};  // per (sequence, query head): what else is added or hidden; or no heads
  const Scalar* sinks = nullptr;           // [H] logits that join every softmax, with no value behind them
  Scalar* d_sinks = nullptr;               // [H] where their gradient is added
  const Scalar* d_log_sum_exp = nullptr;   // [T x H] its gradient, where something is made of it
  const Index* offsets = nullptr;          // [B] position of each sequence's row 0, instead of S - T
  Precision precision = Precision::full;   // of the products, in forward
};

/// The operand A, formed elsewhere.
template <class Scalar>
struct Given {
  HeadTable<Probabilities<Scalar>> probabilities;  // per (sequence, query head): [T x S]; those without rows add nothing
};

namespace detail {

/// The position of a sequence's row 0.
template <class Scalar>
Index position_of(const Computed<Scalar>& a, Division rows, Index sequence) {
  if (a.offsets != nullptr) return a.offsets[sequence];
  return a.k.at(sequence, 0).rows - rows.rows(sequence);
}

template <class Scalar>
QueryGroup<Scalar> group_of(const Computed<Scalar>& a, const HeadTable<HeadRows<Scalar>>& v, Division rows, Index sequence,
                            Index kv_head) {
  QueryGroup<Scalar> group;
  group.k = a.k.at(sequence, kv_head);
  group.v = v.at(sequence, kv_head);
  group.heads = a.log_sum_exp.cols() / v.heads;
  group.rows = rows.rows(sequence);
  group.past = position_of(a, rows, sequence);
  group.q = a.q.data() + rows.begin(sequence) * a.q.outerStride() + kv_head * group.heads * group.k.width;
  group.q_stride = a.q.outerStride();
  group.mask = a.mask;
  group.scale = a.scale;
  const Index head = kv_head * group.heads;
  for (Index h = head; h < (std::min)(head + group.heads, a.probabilities.heads); ++h)
    if (a.probabilities.at(sequence, h).kept()) group.kept = &a.probabilities.at(sequence, head);
  group.soft_cap = a.soft_cap;
  if (a.slopes != nullptr) group.slopes = a.slopes + head;
  if (a.bias.heads > 0) group.bias = &a.bias.at(sequence, head);
  if (a.sinks != nullptr) group.sinks = a.sinks + head;
  return group;
}

template <class Scalar>
bool has_bias_gradient(const Computed<Scalar>& a) {
  for (Index b = 0; b < a.bias.sequences; ++b)
    for (Index h = 0; h < a.bias.heads; ++h)
      if (a.bias.at(b, h).gradient != nullptr) return true;
  return false;
}

}  // namespace detail

/// o[:, h] += softmax(mask(scale q_h k_{h/g}^T)) v_{h/g}
///   v                per (sequence, kv head): [S x E_v]
///   o                [T x H*E_v]
///   a.log_sum_exp    written, as are the kept heads of a.probabilities
template <class Scalar>
void attend(const Computed<Scalar>& a, HeadTable<HeadRows<Scalar>> v, Division rows, MutableView<Scalar> o,
            Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::attend, a, v, rows, o, workers);
  using namespace detail;
  if (v.heads == 0 || v.sequences == 0) return;
  const Index heads = a.log_sum_exp.cols() / v.heads;  // of a group
  const auto size_of = [&](const AttendPlan& plan) { return Partial<Scalar>::size(heads * plan.rows, v.at(0, 0).width); };
  const auto finish = [&](const QueryGroup<Scalar>& group, AttendJob job, Index row, Index count, Scalar* partials,
                          Index cuts, Arena& scratch) {
    const Index first_row = rows.begin(job.sequence) + row, head = job.kv_head * heads;
    MutableView<Scalar> lse = a.log_sum_exp;
    MutableView<Scalar> out = o;
    finish_rows(group, row, count, partials, cuts, out.data() + first_row * out.outerStride() + head * group.v.width,
                out.outerStride(), lse.data() + first_row * lse.outerStride() + head, lse.outerStride(), scratch);
  };
  const auto group_at = [&](Index b, Index kv_head) { return group_of(a, v, rows, b, kv_head); };
  if constexpr (std::is_same_v<Scalar, float>)
    if (a.precision != Precision::full) attend_in_terms(a.precision, v.sequences, v.heads, group_at, finish, workers);
  const Index lanes = lanes_of_block<Scalar>(a.q.rows() * a.log_sum_exp.cols());
  // A single job runs here and now, with an arena: what several jobs share is taken from it.
  workers.run(1, [&](Index, Arena& shared) {
    const AttendPlans all = plan_all(
        v.sequences, v.heads, shared,
        [&](Index b) {
          if (in_terms<Scalar>(a.precision, heads * rows.rows(b))) return AttendPlan{};
          const Index keys = a.k.at(b, 0).rows;
          const bool few = are_few<Scalar>(heads * rows.rows(b));
          bool narrow = false;  // logits that wait to be rounded are a single job's
          for (Index g = 0; g < v.heads; ++g) narrow = narrow || group_at(b, g).keeps_narrow();
          return plan_attend<Scalar>(few, rows.rows(b), keys, heads, lanes, position_of(a, rows, b), a.mask,
                                     narrow ? KeyCuts::none : KeyCuts::wanted);
        },
        size_of);
    const auto attend_job = [&](const QueryGroup<Scalar>& group, const AttendPlan& plan, const AttendJob& job, Index row,
                                Index count, Partial<Scalar> out, Arena& scratch) {
      const Intervals keys = plan.blocks > 1
                                 ? stacked<Scalar>(heads, count, group.past + row, group.mask).visible(group.k.rows)
                                 : plan.cut(job.cut);
      if (plan.few)
        attend_few(group, keys, out, scratch);
      else
        attend_rows(group, row, count, keys, out, scratch);
    };
    run_plans<Scalar>(all, group_at, attend_job, finish, shared, workers);
  });
}

/// o = attend(a, v)  =>  adds to d_q, k.gradient and v.gradient, to d_sinks and the gradients of biases where there are
/// any. Gradients that kept heads of a.probabilities hold (their echo, from layers above) join.
///   o      [T x H*E_v]   what attend added in forward
///   d_q    [T x H*E]
template <class Scalar>
void attend_backward(const Computed<Scalar>& a, HeadTable<HeadRows<Scalar>> v, Division rows, View<Scalar> o,
                     View<Scalar> d_o, MutableView<Scalar> d_q, Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::attend_backward, a, v, rows, o, d_o, d_q, workers);
  using namespace detail;
  if (v.heads == 0 || v.sequences == 0) return;
  const View<Scalar> log_sum_exp = view_of(a.log_sum_exp);
  const Index heads = a.log_sum_exp.cols(), stack = heads / v.heads;
  const bool of_sinks = a.sinks != nullptr && a.d_sinks != nullptr;
  // Entries may share the gradient of a bias: then all that adds to it goes one after another.
  const bool of_biases = has_bias_gradient(a);
  const Index block = (std::max)(Index(1), attend_backward_lanes<Scalar> / stack);
  const BackwardParts parts{rows, v.sequences, v.heads, stack, block, of_biases ? Index(1) : backward_jobs};
  const Index most = parts.most();
  workers.run(1, [&](Index, Arena& shared) {
    Scalar* d_sinks = of_sinks ? shared.take_zeroed<Scalar>(most * v.sequences * heads) : nullptr;  // [parts x B x H]
    const auto of_part = [&](const BackwardPart& part, const auto& k_and_v, Arena& scratch) {
      const Index b = part.sequence, kv_head = part.kv_head;
      auto group = group_of(a, v, rows, b, kv_head);
      group.k = k_and_v[0], group.v = k_and_v[1];
      const auto of_group = [&](const auto& x, Index width) {
        return cols_of(rows_of(x, rows.begin(b), group.rows), kv_head * stack * width, stack * width);
      };
      const GroupGradients<Scalar> d{
          of_group(log_sum_exp, 1),
          of_group(o, group.v.width),
          of_group(d_o, group.v.width),
          of_group(d_q, group.k.width),
          a.d_log_sum_exp == nullptr ? nullptr : a.d_log_sum_exp + rows.begin(b) * heads + kv_head * stack,
          heads,
          of_sinks ? d_sinks + (part.index * v.sequences + b) * heads + kv_head * stack : nullptr};
      for (Index row = part.index * block; row < group.rows; row += part.count * block) {
        const Arena::Scope scope(scratch);
        attend_block_backward(group, d, row, (std::min)(block, group.rows - row), scratch);
      }
    };
    const auto run = [&](Index jobs, auto&& job) {
      if (!of_biases) return workers.run(jobs, job);
      for (Index index = 0; index < jobs; ++index) {
        const Arena::Scope scope(shared);
        job(index, shared);
      }
    };
    run_backward_parts<Scalar, 2>(parts, {a.k, v}, of_part, shared, run);
    for (Index i = 0; of_sinks && i < most * v.sequences * heads; ++i) a.d_sinks[i % heads] += d_sinks[i];
  });
}

/// o[:, h] += A_h v_{h/g}
///   v   per (sequence, kv head): [S x E_v]
///   o   [T x H*E_v]
template <class Scalar>
void attend(const Given<Scalar>& a, HeadTable<HeadRows<Scalar>> v, Division rows, MutableView<Scalar> o, Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::attend_given, a, v, rows, o, workers);
  using namespace detail;
  if (v.heads == 0 || v.sequences == 0) return;
  const Index heads = a.probabilities.heads / v.heads;  // of a group
  const Index width = v.at(0, 0).width;
  const auto rows_of_o = [&](Index sequence, Index head) {
    return o.data() + rows.begin(sequence) * o.outerStride() + head * width;
  };
  workers.run(1, [&](Index, Arena& shared) {
    const AttendPlans all = plan_all(
        v.sequences, v.heads, shared,
        [&](Index b) {
          const Index keys = v.at(b, 0).rows;
          return plan_given<Scalar>(rows.rows(b), keys);
        },
        [&](const AttendPlan& plan) { return heads * plan.rows * width; });
    Scalar* partials = shared.take_zeroed<Scalar>(all.partial);  // per (sequence, kv head, cut): [heads x T x E_v]
    const auto partial_of = [&](const AttendJob& job, const AttendPlan& plan, Index h) {
      return partials + plan.first_partial + ((job.kv_head * plan.cuts + job.cut) * heads + h) * plan.rows * width;
    };

    workers.run(all.jobs, [&](Index index, Arena& scratch) {
      const AttendJob job = all.job(index);
      const AttendPlan& plan = all.plans[job.sequence];
      const Index row = job.block * plan.block, count = (std::min)(plan.block, plan.rows - row);
      const Index head = job.kv_head * heads, stride = o.outerStride();
      const HeadRows<Scalar>& of_v = v.at(job.sequence, job.kv_head);
      if (heads == 0) return;
      const Probabilities<Scalar>* kept = &a.probabilities.at(job.sequence, head);
      if (plan.cuts > 1)
        give_block(kept, heads, of_v, row, count, plan.cut(job.cut), partial_of(job, plan, 0), width, plan.rows * width,
                   scratch);
      else
        give_block(kept, heads, of_v, row, count, plan.keys, rows_of_o(job.sequence, head) + row * stride, stride, width,
                   scratch);
    });

    for (Index b = 0; b < v.sequences; ++b) {
      const AttendPlan& plan = all.plans[b];
      for (Index head = 0; plan.cuts > 1 && head < v.heads * heads; ++head)
        for (Index cut = 0; cut < plan.cuts; ++cut)
          for (Index i = 0; i < plan.rows; ++i)
            add_scaled(rows_of_o(b, head) + i * o.outerStride(), Scalar(1),
                       partial_of({b, head / heads, 0, cut}, plan, head % heads) + i * width, width);
    }
  });
}

/// o = attend(a, v)  =>  adds to v.gradient and to the probabilities' gradients.
template <class Scalar>
void attend_backward(const Given<Scalar>& a, HeadTable<HeadRows<Scalar>> v, Division rows, View<Scalar> d_o,
                     Workers& workers) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar>(compiled::Operation::attend_given_backward, a, v, rows, d_o, workers);
  using namespace detail;
  if (v.heads == 0) return;
  const Index heads = a.probabilities.heads / v.heads;
  const auto of_part = [&](const BackwardPart& part, const auto& of_v, Arena& scratch) {
    const Index width = of_v[0].width;
    for (Index head = part.kv_head * heads; head < (part.kv_head + 1) * heads; ++head) {
      const Probabilities<Scalar>& kept = a.probabilities.at(part.sequence, head);
      for (Index row = part.index * give_block_rows; row < kept.rows(); row += part.count * give_block_rows)
        give_block_backward(kept, of_v[0], row, (std::min)(give_block_rows, kept.rows() - row),
                            d_o.data() + (rows.begin(part.sequence) + row) * d_o.outerStride() + head * width,
                            d_o.outerStride(), scratch);
    }
  };
  workers.run(1, [&](Index, Arena& shared) {
    run_backward_parts<Scalar, 1>({rows, v.sequences, v.heads, heads, give_block_rows}, {v}, of_part, shared,
                                  [&](Index jobs, auto&& job) { workers.run(jobs, job); });
  });
}

}  // namespace heed::inline HEED_ABI
