// How attention is cut into jobs: by shapes alone, never by the number of workers.
//
//   job = (sequence, kv head, query block, key cut)      more than one key cut only where there is but one query block
#pragma once

#include "../../core/workers.hpp"
#include "attend_few.hpp"
#include "attend_strips.hpp"

namespace heed::inline HEED_ABI::detail {

/// Keys of one job when a sequence has one query block only, so that a long one still has work for many threads.
inline constexpr Index attend_cut_keys = 1024;

/// Rows that decode: up to so many are one block over long keys, if the heads that share a kv head fit in it, so that keys
/// are read once.
inline constexpr Index attend_decoded_rows = 16;

/// How the work of one (sequence, kv head) is cut.
struct AttendPlan {
  Index rows = 0;
  Index block = 1;   // query rows of one block
  Index blocks = 0;  // of query rows
  Intervals keys;    // cut into `cuts` if there is but one block
  Index cuts = 1;
  bool few = false;     // rows: along the head instead of in tiles
  Index first_job = 0;  // of the sequence, its kv heads after one another
  Index first_partial = 0;

  Index jobs() const { return blocks * cuts; }
  Intervals cut(Index i) const {
    const Index size = (keys.size() + cuts - 1) / cuts;
    return keys.slice(i * size, (i + 1) * size);
  }
};

/// Lanes of a block: many, so that a tile of keys is fetched for many rows; fewer where there are so few rows of all heads
/// and sequences together, `total`, that there would not be 32 jobs.
template <class Scalar>
constexpr Index lanes_of_block(Index total) {
  return (std::clamp)(total / 32, attend_cut_lanes<Scalar>, attend_block_lanes<Scalar>);
}

/// Whether the keys of a block may be cut.
enum class KeyCuts { none, wanted };

/// For `stack` query heads side by side in a block of at most so many lanes.
template <class Scalar>
AttendPlan plan_attend(bool few, Index rows, Index keys, Index stack, Index lanes, Index past, const Mask& mask,
                       KeyCuts key_cuts = KeyCuts::wanted) {
  AttendPlan plan;
  plan.rows = rows;
  if (rows == 0) return plan;
  plan.few = few;
  const Index at_most = (std::max)(Index(1), lanes / stack);
  const Index step = (std::min)(at_most, (std::max)(Index(1), strip_lanes<Scalar> / stack));  // of whole strips
  plan.blocks = (rows + at_most - 1) / at_most;
  plan.block = (std::min)(rows, ((rows + plan.blocks - 1) / plan.blocks + step - 1) / step * step);
  plan.blocks = (rows + plan.block - 1) / plan.block;
  plan.keys = bidirectional().visible(0, keys);
  const Intervals seen = stacked<Scalar>(stack, rows, past, mask).visible(keys);
  const Index cuts =
      key_cuts == KeyCuts::none ? 1 : (std::max)(Index(1), (seen.size() + attend_cut_keys - 1) / attend_cut_keys);
  const bool decodes = plan.few || (cuts > 1 && rows <= attend_decoded_rows && stack * rows <= attend_block_lanes<Scalar>);
  if (decodes) plan.block = rows, plan.blocks = 1;
  if (plan.blocks == 1) {
    plan.keys = seen;
    if (decodes || stack * rows <= attend_cut_lanes<Scalar>) plan.cuts = cuts;
  }
  return plan;
}

/// Where one job stands.
struct AttendJob {
  Index sequence;
  Index kv_head;
  Index block;
  Index cut;
};

/// The plans of all sequences.
struct AttendPlans {
  AttendPlan* plans;
  Index sequences;
  Index kv_heads;
  Index jobs = 0;
  Index partial = 0;  // elements of all partials

  AttendJob job(Index index) const {
    const AttendPlan* after = std::upper_bound(plans, plans + sequences, index,
                                               [](Index i, const AttendPlan& plan) { return i < plan.first_job; });
    const AttendPlan& plan = after[-1];
    const Index within = index - plan.first_job;
    const Index rest = within % plan.jobs();
    // Later rows see more keys under a causal mask: the heavy blocks go first.
    return {after - plans - 1, within / plan.jobs(), plan.blocks - 1 - rest / plan.cuts, rest % plan.cuts};
  }
};

/// plan_of(sequence) for all of them; a partial has partial_size(plan) elements.
template <class PlanOf, class PartialSize>
AttendPlans plan_all(Index sequences, Index kv_heads, Arena& scratch, PlanOf&& plan_of, PartialSize&& partial_size) {
  AttendPlans all{scratch.take_zeroed<AttendPlan>(sequences), sequences, kv_heads};
  for (Index b = 0; b < sequences; ++b) {
    AttendPlan& plan = all.plans[b] = plan_of(b);
    plan.first_job = all.jobs;
    plan.first_partial = all.partial;
    all.jobs += kv_heads * plan.jobs();
    if (plan.cuts > 1) all.partial += kv_heads * plan.cuts * partial_size(plan);
  }
  return all;
}

/// Runs the jobs of all plans, then merges what several jobs left of the same rows. group_of(sequence, kv head) is a
/// QueryGroup; attend(group, plan, job, row, count, partial, scratch) attends with `count` of its rows from `row` on;
/// finish(group, job, row, count, partials, cuts, scratch) makes the output of partials. Partials are taken from `shared`.
template <class Scalar, class GroupOf, class Attend, class Finish>
void run_plans(const AttendPlans& all, GroupOf&& group_of, Attend&& attend, Finish&& finish, Arena& shared,
               Workers& workers) {
  Scalar* partials = shared.take<Scalar>(all.partial);
  workers.run(all.jobs, [&](Index index, Arena& scratch) {
    const AttendJob job = all.job(index);
    const AttendPlan& plan = all.plans[job.sequence];
    QueryGroup<Scalar> group = group_of(job.sequence, job.kv_head);
    const Index row = job.block * plan.block, count = (std::min)(plan.block, plan.rows - row);
    stage_kept(group, row, count, scratch);
    const Index size = Partial<Scalar>::size(group.heads * count, group.v.width);
    Scalar* partial = plan.cuts > 1 ? partials + plan.first_partial + (job.kv_head * plan.cuts + job.cut) * size
                                    : scratch.take<Scalar>(size);
    attend(group, plan, job, row, count, Partial<Scalar>::at(partial, group.heads * count), scratch);
    if (plan.cuts == 1) finish(group, job, row, count, partial, Index(1), scratch);
  });

  if (all.partial > 0)
    workers.run(all.sequences * all.kv_heads, [&](Index index, Arena& scratch) {
      const AttendJob job{index / all.kv_heads, index % all.kv_heads, 0, 0};
      const AttendPlan& plan = all.plans[job.sequence];
      if (plan.cuts == 1) return;
      const QueryGroup<Scalar> group = group_of(job.sequence, job.kv_head);
      const Index size = Partial<Scalar>::size(group.heads * plan.rows, group.v.width);
      finish(group, job, Index(0), plan.rows, partials + plan.first_partial + job.kv_head * plan.cuts * size, plan.cuts,
             scratch);
    });
}

}  // namespace heed::inline HEED_ABI::detail
