// What one cache or one tape holds for the layers of a stack: positions, tensors, records, signal tables and scratch.
#pragma once

#include <memory>
#include <tuple>
#include <vector>

#include "../core/workspace.hpp"
#include "../mixers/reach.hpp"

namespace heed::inline HEED_ABI {

/// How one layer is connected: where each of its taps reads, and which heads of its signals are read above.
struct LayerWiring {
  struct Source {
    int layer;
    std::size_t signal;  // index in the publishes list of that layer
  };

  LayerWiring(const LayerSignals& layer_signals, std::span<const SignalInfo> signal_infos, const Shape& shape)
      : signals(layer_signals), infos(signal_infos) {
    for (const SignalInfo& info : infos)
      wanted.emplace_back(static_cast<std::size_t>(own_heads(info.alignment, shape).count));
  }

  std::size_t index_of(std::string_view signal) const {
    std::size_t index = 0;
    while (infos[index].name != signal) ++index;
    return index;
  }
  /// Query heads whose probabilities a layer above reads.
  Index wanted_scores() const {
    Index count = 0;
    for (std::size_t signal = 0; signal < infos.size(); ++signal)
      if (infos[signal].name == scores::name) count += std::count(wanted[signal].begin(), wanted[signal].end(), 1);
    return count;
  }

  LayerSignals signals;
  std::span<const SignalInfo> infos;
  std::vector<Source> taps;                        // by tap
  std::vector<std::vector<unsigned char>> wanted;  // by signal: [heads]
};

template <class Scalar, class... Kinds>
struct LayerState {
  LayerState(const Timeline& timeline, Executor* executor, Index score_bytes_in, std::size_t kept_bytes,
             std::size_t scratch_bytes, const std::vector<LayerWiring>& wiring)
      : work(timeline, executor, kept_bytes + table_bytes(wiring, timeline.sequences()), scratch_bytes),
        score_bytes(score_bytes_in) {
    for (const LayerWiring& layer : wiring) {
      inputs.emplace_back(layer.taps.size());
      outputs.emplace_back(layer.infos.size());
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
  LayerState(LayerState&&) = default;
  LayerState& operator=(LayerState&&) = default;
  ~LayerState() = default;

  Workspace work;
  std::tuple<std::vector<typename Kinds::template Cache<Scalar>>...> caches;
  std::tuple<std::vector<typename Kinds::template Record<Scalar>>...> records;
  Index score_bytes;
  std::vector<std::vector<SignalTable>> inputs;   // by layer, by tap
  std::vector<std::vector<SignalTable>> outputs;  // by layer, by signal

  /// Makes the tables that a layer will fill, and finds those it reads.
  void make_tables(std::size_t layer, const std::vector<LayerWiring>& wiring, Index sequences) {
    for (std::size_t signal = 0; signal < wiring[layer].infos.size(); ++signal)
      outputs[layer][signal] = make_table(work.kept, wiring[layer].infos[signal], sequences, wiring[layer].wanted[signal]);
    for (std::size_t tap = 0; tap < wiring[layer].taps.size(); ++tap) {
      const LayerWiring::Source source = wiring[layer].taps[tap];
      inputs[layer][tap] = outputs[static_cast<std::size_t>(source.layer)][source.signal];
    }
  }

  /// How many rows fit into one slice, so that the wanted scores of a slice stay within their bytes.
  Index slice_rows(Division rows, Index score_bytes_per_pair) const {
    Index longest = 1;
    for (Index b = 0; b < rows.sequences(); ++b) longest = (std::max)(longest, work.timeline.length(b) + rows.rows(b));
    return (std::max)(Index(1), (std::min)(rows.rows(), score_bytes / (longest * score_bytes_per_pair)));
  }
  Index bytes() const {
    Index sum = 0;
    std::apply(
        [&](const auto&... of_kind) {
          const auto add = [&](const auto& layers) {
            for (const auto& cache : layers) sum += cache.bytes();
          };
          (add(of_kind), ...);
        },
        caches);
    return sum;
  }

 private:
  static std::size_t table_bytes(const std::vector<LayerWiring>& wiring, Index sequences) {
    std::size_t bytes = 0;
    for (const LayerWiring& layer : wiring)
      for (std::size_t signal = 0; signal < layer.infos.size(); ++signal)
        bytes += Arena::bytes_of<unsigned char>(static_cast<Index>(
            static_cast<std::size_t>(sequences) * layer.wanted[signal].size() * layer.infos[signal].entry_bytes));
    return bytes + Arena::alignment * 64;
  }
};

}  // namespace heed::inline HEED_ABI
