// How the backward of attention is cut into jobs: by shapes alone, never by the number of workers.
//
//   job = (sequence, kv head, part)      part c of C has every C-th block of query rows, from the c-th on
//
// All rows of a kv head add to the gradients of the same keys and values. So that few kv heads are work for many threads,
// the first part adds to the gradients themselves, and every other to zeros of its own, which join them in the order of the
// parts. Blocks take turns, since under a causal mask the later ones are heavier.
#pragma once

#include <algorithm>
#include <array>

#include "../../core/arena.hpp"
#include "../../core/head_table.hpp"
#include "../../core/sequences.hpp"
#include "../lanes.hpp"

namespace heed::inline HEED_ABI::detail {

/// Jobs that a call with fewer kv heads of all its sequences is cut into. So its zeros take no more memory than the
/// gradients of so many heads.
inline constexpr Index backward_jobs = 8;

/// Rows of a part at least, counted over the heads that share a kv head: beside their work, adding up is little.
inline constexpr Index backward_part_rows = 512;

/// How many parts each kv head has: as many as are work, as jobs are wanted, and as there are blocks of rows.
struct BackwardParts {
  Division rows;
  Index sequences, kv_heads;
  Index stack;                 // query heads of a kv head
  Index block;                 // rows that are not divided
  Index jobs = backward_jobs;  // 1: no kv head is cut

  Index of(Index sequence) const {
    const Index n = rows.rows(sequence), blocks = (n + block - 1) / block;
    return (std::max)(Index(1), (std::min)({n * stack / backward_part_rows, jobs / (kv_heads * sequences), blocks}));
  }
  Index most() const {
    Index most = 1;
    for (Index b = 0; b < sequences; ++b) most = (std::max)(most, of(b));
    return most;
  }
};

struct BackwardPart {
  Index sequence, kv_head;
  Index index, count;  // of the parts
};

/// Runs job(part, x, scratch) for all parts, x being the entries of `tables` with the gradients that the part adds to; then
/// adds them up.
///   run(jobs, job)   as workers do
template <class Scalar, std::size_t count, class Job, class Run>
void run_backward_parts(const BackwardParts& parts, const std::array<HeadTable<HeadRows<Scalar>>, count>& tables, Job&& job,
                        Arena& shared, Run&& run) {
  using Entries = std::array<HeadRows<Scalar>, count>;
  const Index most = parts.most(), jobs = parts.sequences * parts.kv_heads * most;
  const auto part_at = [&](Index index) {
    const Index head = index / most, sequence = head / parts.kv_heads;
    return BackwardPart{sequence, head % parts.kv_heads, index % most, parts.of(sequence)};
  };
  const auto entries_at = [&](const BackwardPart& part) {
    Entries entries;
    for (std::size_t i = 0; i < count; ++i) entries[i] = tables[i].at(part.sequence, part.kv_head);
    return entries;
  };
  Scalar** zeros = shared.take_zeroed<Scalar*>(jobs * Index(count));  // of part `index`, table i: [rows x width], or none
  for (Index index = 0; index < jobs; ++index) {
    const BackwardPart part = part_at(index);
    const Entries entries = entries_at(part);
    for (std::size_t i = 0; i < count && part.index > 0 && part.index < part.count; ++i)
      zeros[index * Index(count) + Index(i)] = shared.take<Scalar>(entries[i].rows * entries[i].width);
  }

  run(jobs, [&](Index index, Arena& scratch) {
    const BackwardPart part = part_at(index);
    if (part.index >= part.count) return;
    Entries entries = entries_at(part);
    for (std::size_t i = 0; i < count && part.index > 0; ++i) {
      entries[i].gradient = zeros[index * Index(count) + Index(i)];
      entries[i].gradient_stride = entries[i].width;
      std::fill_n(entries[i].gradient, entries[i].rows * entries[i].width, Scalar(0));
    }
    job(part, entries, scratch);
  });

  if (most > 1)
    run(jobs, [&](Index index, Arena&) {
      const BackwardPart slice = part_at(index);  // of the rows of keys and values: as many slices as parts
      const Entries entries = entries_at(slice);
      for (std::size_t i = 0; i < count && slice.index < slice.count; ++i) {
        const HeadRows<Scalar>& x = entries[i];
        const Index end = x.rows * (slice.index + 1) / slice.count;
        for (Index row = x.rows * slice.index / slice.count; row < end; ++row)
          for (Index part = 1; part < slice.count; ++part)
            add_scaled(x.gradient + row * x.gradient_stride, Scalar(1),
                       zeros[(index - slice.index + part) * Index(count) + Index(i)] + row * x.width, x.width);
      }
    });
}

}  // namespace heed::inline HEED_ABI::detail
