// Attention of a call whose products are formed of bf16 terms: how it is cut into jobs, by shapes alone.
//
//   first    job = (sequence, kv head, 16 panels)                    packs K and V, but what nobody sees
//   second   job = (sequence, kv head, query block, key cut)         attends
//   third    job = (sequence, kv head)                               merges the cuts, where there are any
#pragma once

#include "../../core/workers.hpp"
#include "attend_plan.hpp"
#include "attend_terms.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr Index pack_panels_of_job = 16;

/// group_of(sequence, kv head) is a QueryGroup<float>; finish(group, job, row, count, partials, cuts, scratch) makes the
/// output of partials. Sequences that are not in_terms are left alone.
template <class GroupOf, class Finish>
void attend_in_terms(Precision precision, Index sequences, Index kv_heads, GroupOf&& group_of, Finish&& finish,
                     Workers& workers) {
  const QueryGroup<float> any = group_of(0, 0);
  const TermShape shape(terms_of(precision), any.k.width, any.v.width);
  workers.run(1, [&](Index, Arena& shared) {
    Index* first_panel = shared.take<Index>(sequences);  // of the sequence, its kv heads after one another
    Index panels = 0;
    const AttendPlans packs = plan_all(
        sequences, kv_heads, shared,
        [&](Index b) {
          const auto group = group_of(b, 0);
          AttendPlan plan;
          first_panel[b] = panels;
          if (!in_terms<float>(precision, group.heads * group.rows)) return plan;
          panels += kv_heads * in_steps(group.k.rows);
          plan.rows = in_steps(group.k.rows);
          plan.block = pack_panels_of_job;
          plan.blocks = (plan.rows + plan.block - 1) / plan.block;
          plan.keys = panels_of(stacked<float>(group.heads, group.rows, group.past, group.mask).visible(group.k.rows));
          return plan;
        },
        [](const AttendPlan&) { return Index(0); });
    const PackedRows all_packed{shared.take<PairTile>(panels * shape.k_panel()),
                                shared.take<PairTile>(panels * shape.v_panel()), shared.take<bool>(panels)};
    const auto packed_of = [&](const AttendJob& job) {
      const Index panel = first_panel[job.sequence] + job.kv_head * packs.plans[job.sequence].rows;
      return PackedRows{all_packed.k + panel * shape.k_panel(), all_packed.v + panel * shape.v_panel(),
                        all_packed.finite + panel};
    };
    workers.run(packs.jobs, [&](Index index, Arena& scratch) {
      const AttendJob job = packs.job(index);
      const AttendPlan& plan = packs.plans[job.sequence];
      for (const Interval part : plan.keys.cut(job.block * plan.block, (job.block + 1) * plan.block)) {
        const Arena::Scope scope(scratch);
        pack_panels(group_of(job.sequence, job.kv_head), shape, part, packed_of(job), scratch);
      }
    });

    const auto size_of = [&](const AttendPlan& plan) { return Partial<float>::size(any.heads * plan.rows, any.v.width); };
    const AttendPlans all = plan_all(
        sequences, kv_heads, shared,
        [&](Index b) {
          const auto group = group_of(b, 0);
          AttendPlan plan;
          if (!in_terms<float>(precision, group.heads * group.rows)) return plan;
          plan.rows = group.rows;
          plan.block = (std::min)(group.rows, (std::max)(Index(1), term_block_lanes / group.heads));
          plan.blocks = (group.rows + plan.block - 1) / plan.block;
          plan.keys = packs.plans[b].keys;  // panels
          bool narrow = false;
          for (Index g = 0; g < kv_heads; ++g) narrow = narrow || group_of(b, g).keeps_narrow();
          if (plan.blocks == 1 && !narrow)  // logits that wait to be rounded are a single job's
            plan.cuts = (std::max)(Index(1), (plan.keys.size() * panel_keys + attend_cut_keys - 1) / attend_cut_keys);
          return plan;
        },
        size_of);
    const auto attend_job = [&](const QueryGroup<float>& group, const AttendPlan& plan, const AttendJob& job, Index row,
                                Index count, Partial<float> out, Arena& scratch) {
      const Intervals panels_seen =
          plan.blocks > 1
              ? panels_of(stacked<float>(group.heads, count, group.past + row, group.mask).visible(group.k.rows))
              : plan.cut(job.cut);
      const auto attend_in = [&]<class Tiles>(std::type_identity<Tiles>) {
        attend_in_tiles<Tiles>(group, shape, packed_of(job), row, count, panels_seen, out, scratch);
      };
#if defined(HEED_AMX)
      if (tiles_available()) return attend_in(std::type_identity<TilesAmx>());
#endif
      attend_in(std::type_identity<TilesPortable>());
    };
    run_plans<float>(all, group_of, attend_job, finish, shared, workers);
  });
}

/// What it takes from a worker's arena at most; see attend_scratch_bytes.
inline std::size_t terms_scratch_bytes(Precision precision, Index sequences, Index rows, Index keys, Index heads,
                                       Index kv_heads, Index key_width, Index value_width) {
  const Index group = heads / kv_heads;
  if (!in_terms<float>(precision, group * rows)) return 0;
  const auto bytes = [](Index elements) { return Arena::bytes_of<float>(elements); };
  const TermShape shape(terms_of(precision), key_width, value_width);
  const Index block = (std::min)(rows, (std::max)(Index(1), term_block_lanes / group));
  const Index lanes = in_steps(group * block) * tile_columns, lane_tiles = lanes / tile_rows;
  const Index panels = sequences * kv_heads * in_steps(keys), cuts = (keys + attend_cut_keys - 1) / attend_cut_keys + 1;
  const Index size = Partial<float>::size(group * block, value_width);
  const std::size_t of_job = Arena::bytes_of<PairTile>(shape.terms * lane_tiles * (shape.steps + term_tile_panels)) +
                             bytes(term_tile_panels * panel_keys * lanes) + bytes(shape.values() * lanes) +
                             5 * bytes(lanes) + bytes(size) + bytes(attend_tile_keys * key_width) +
                             bytes(attend_tile_keys * value_width) + bytes(block);
  return of_job + 2 * Arena::bytes_of<AttendPlan>(sequences) + Arena::bytes_of<Index>(sequences) +
         Arena::bytes_of<PairTile>(panels * (shape.k_panel() + shape.v_panel())) + Arena::bytes_of<bool>(panels) +
         (cuts > 2 ? bytes(sequences * kv_heads * cuts * size) : 0);
}

}  // namespace heed::inline HEED_ABI::detail
