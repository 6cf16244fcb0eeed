// What one cache or one tape holds for the layers of a stack: positions, tensors, records, signal tables and scratch.
#pragma once

#include <memory>
#include <tuple>
#include <vector>

#include "../core/workspace.hpp"
#include "cache_blob.hpp"
#include "layer_plan.hpp"
#include "stack_config.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar, class... Kinds>
struct LayerState {
  using Plan = LayerPlan<Scalar, Kinds...>;

  /// positions: of every sequence, whatever the options say. bytes.kept: besides the signal tables.
  LayerState(std::shared_ptr<const Plan> plan_in, const std::vector<Index>& positions, const CacheOptions& options,
             ScratchBytes bytes)
      : plan(std::move(plan_in)),
        work(Timeline(positions, options.checkpoints, plan->stateful(), options.recent_states), options.executor,
             {bytes.kept + table_bytes(static_cast<Index>(positions.size())), bytes.scratch, bytes.job},
             options.score_storage),
        score_bytes(options.score_bytes) {
    const CacheSize size{positions, work.timeline.slot_count(), options.storage};
    for (std::size_t layer = 0; layer < plan->layers(); ++layer) {
      inputs.emplace_back(plan->wiring[layer].taps.size());
      outputs.emplace_back(plan->wiring[layer].infos.size());
      plan->at(layer, [&]<std::size_t kind>(std::size_t index) {
        const auto& config = plan->template config<kind>(index);
        std::get<kind>(caches).emplace_back(plan->shape, config, size);
        std::get<kind>(records).emplace_back();
        prepare_record<typename Plan::template Kind<kind>>(config, std::get<kind>(records).back());
      });
    }
  }
  LayerState(const LayerState&) = default;
  // By way of a copy: records hold views, and assigning to a view would write through it.
  LayerState& operator=(const LayerState& other) {
    if (this != &other) {
      LayerState copy(other);
      *this = std::move(copy);
    }
    return *this;
  }
  LayerState(LayerState&&) noexcept = default;
  LayerState& operator=(LayerState&&) noexcept = default;
  ~LayerState() = default;

  std::shared_ptr<const Plan> plan;
  Workspace work;
  std::tuple<std::vector<typename Kinds::template Cache<Scalar>>...> caches;
  std::tuple<std::vector<typename Kinds::template Record<Scalar>>...> records;
  Index score_bytes;
  std::vector<std::vector<SignalTable>> inputs;   // by layer, by tap
  std::vector<std::vector<SignalTable>> outputs;  // by layer, by signal
  SignalTable outside;                            // the memory that a call brings

  /// Makes the tables that a layer will fill, and finds those it reads.
  void make_tables(std::size_t layer, Index sequences) {
    const LayerWiring& wiring = plan->wiring[layer];
    for (std::size_t signal = 0; signal < wiring.infos.size(); ++signal)
      outputs[layer][signal] = make_table(work.kept, wiring.infos[signal], sequences, wiring.wanted[signal]);
    for (std::size_t tap = 0; tap < wiring.taps.size(); ++tap) {
      const LayerWiring::Source source = wiring.taps[tap];
      inputs[layer][tap] =
          source.layer == nowhere ? outside : outputs[static_cast<std::size_t>(source.layer)][source.signal];
    }
  }

  /// How many rows fit into one slice, so that the wanted scores of a slice stay within their bytes.
  Index slice_rows(Division rows, Index score_bytes_per_pair) const {
    Index longest = 1;
    for (Index b = 0; b < rows.sequences(); ++b) longest = (std::max)(longest, work.timeline.length(b) + rows.rows(b));
    return (std::max)(Index(1), (std::min)(rows.rows(), score_bytes / (longest * score_bytes_per_pair)));
  }
  /// Where the slice that begins at row `begin` of all ends: `slice` rows on, but never among those first rows of a
  /// sequence that have to come together. Such rows are in the same slice, or begin one.
  Index slice_end(Division rows, Index begin, Index slice) const {
    if (plan->whole_rows >= unbounded) return rows.rows();
    const Index end = begin + (std::min)(slice, rows.rows() - begin);
    for (Index b = 0; b < rows.sequences(); ++b) {
      const Index start = rows.begin(b), first = start + (std::min)(plan->whole_rows, rows.rows(b));
      if (work.timeline.length(b) == 0 && start < end && end < first) return start > begin ? start : first;
    }
    return end;
  }
  /// What all layers cache, from the lowest, under "layers.3.k" and the like.
  std::vector<NamedLeaf> leaves() {
    std::vector<NamedLeaf> all;
    for (std::size_t layer = 0; layer < plan->layers(); ++layer)
      plan->at(layer, [&]<std::size_t kind>(std::size_t index) {
        for (NamedLeaf& leaf : leaves_of(std::get<kind>(caches)[index]))
          all.push_back({"layers." + std::to_string(layer) + "." + leaf.name, leaf.leaf});
      });
    return all;
  }
  bool reorder(std::span<const Index> sources) {
    if (!work.timeline.can_reorder(sources)) return false;
    const Reordering reordering(work.timeline, sources);
    Timeline reordered = work.timeline;
    reordered.reorder(sources);
    for (const NamedLeaf& leaf : leaves()) reordering.move(*leaf.leaf);
    work.timeline = std::move(reordered);
    return true;
  }
  std::vector<std::byte> save() const { return save_cache(work.timeline, const_cast<LayerState&>(*this).leaves()); }
  void load(std::span<const std::byte> bytes) { load_cache(bytes, work.timeline, leaves()); }
  Index bytes() const {
    Index sum = 0;
    std::apply(
        [&](const auto&... of_kind) {
          const auto add = [&](const auto& layers) {
            for (const auto& cache : layers) sum += cache_bytes(cache);
          };
          (add(of_kind), ...);
        },
        caches);
    return sum;
  }

 private:
  std::size_t table_bytes(Index sequences) const {
    std::size_t bytes = 0;
    for (const LayerWiring& layer : plan->wiring)
      for (std::size_t signal = 0; signal < layer.infos.size(); ++signal)
        bytes += Arena::bytes_of<unsigned char>(static_cast<Index>(
            static_cast<std::size_t>(sequences) * layer.wanted[signal].size() * layer.infos[signal].entry_bytes));
    return bytes + Arena::bytes_of<HeadRows<Scalar>>(sequences) + Arena::alignment * 64;
  }
};

}  // namespace heed::inline HEED_ABI
