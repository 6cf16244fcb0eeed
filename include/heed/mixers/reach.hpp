// Which heads of a layer a mixer publishes and reads: checked when a stack is built, on the one layer a tap has found.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mixer.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
class Inputs<Scalar, runtime_signals> {
 public:
  explicit Inputs(std::span<const SignalTable> tables) : tables_(tables) {}
  std::span<const SignalTable> tables() const { return tables_; }  // in the order of the mixer's taps

 private:
  std::span<const SignalTable> tables_;
};

template <class Scalar>
class Outputs<Scalar, runtime_signals> {
 public:
  explicit Outputs(std::span<const SignalTable> tables) : tables_(tables) {}
  std::span<const SignalTable> tables() const { return tables_; }  // in the order of the mixer's signals

 private:
  std::span<const SignalTable> tables_;
};

/// The lists of a mixer made of mixers that are known at run time only.
struct RuntimeLists {
  std::vector<TapInfo> taps;
  std::vector<std::string_view> names;
  std::vector<SignalInfo> infos;
};

/// What a component consumes and publishes, from its type or from its config.
template <class Component>
LayerSignals signals_of([[maybe_unused]] const typename Component::Config& config) {
  if constexpr (requires { Component::signals(config); })
    return Component::signals(config);
  else
    return layer_signals<Component>();
}

/// How to make the tables of what a component publishes, in the order of its signals.
template <class Component, class Scalar>
std::span<const SignalInfo> signal_infos_of([[maybe_unused]] const typename Component::Config& config) {
  if constexpr (requires { Component::template infos<Scalar>(config); })
    return Component::template infos<Scalar>(config);
  else
    return signal_infos<Scalar, typename Component::publishes>::table;
}

/// A readable name: the component's own description, or its name.
template <class Component>
std::string describe([[maybe_unused]] const typename Component::Config& config) {
  if constexpr (requires { Component::describe(config); })
    return Component::describe(config);
  else if constexpr (requires { std::string(Component::name); })
    return std::string(Component::name);
  else
    return "mixer";
}

inline bool same_tap(const TapInfo& a, const TapInfo& b) {
  return a.source == b.source && a.name == b.name && a.signal == b.signal;
}

/// The entries that belong to a mixer's own heads in a table of this alignment.
inline HeadRange own_heads(Alignment alignment, const Shape& shape) {
  switch (alignment) {
    case Alignment::kv_heads:
      return shape.kv_heads;
    case Alignment::heads_from_first:
      return shape.heads;
    case Alignment::layer:
      break;
  }
  return {0, 1};
}

/// The entries that a mixer reads from a table of this alignment.
inline HeadRange read_heads(Alignment alignment, const Shape& shape) {
  return alignment == Alignment::heads_from_first ? HeadRange{0, shape.heads.count} : own_heads(alignment, shape);
}

/// Sets heads[h] for the heads of `signal` that the component publishes.
template <class Component>
void mark_published(std::string_view signal, Alignment alignment, const Shape& shape,
                    [[maybe_unused]] const typename Component::Config& config, std::span<unsigned char> heads) {
  if constexpr (requires { Component::mark_published(signal, alignment, shape, config, heads); }) {
    Component::mark_published(signal, alignment, shape, config, heads);
  } else if (signals_of<Component>(config).publishes_signal(signal)) {
    const HeadRange own = own_heads(alignment, shape);
    for (Index h = own.begin; h < own.begin + own.count; ++h) heads[static_cast<std::size_t>(h)] = 1;
  }
}

/// Sets heads[h] for the heads that the component reads through `tap`.
template <class Component>
void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape,
               [[maybe_unused]] const typename Component::Config& config, std::span<unsigned char> heads) {
  if constexpr (requires { Component::mark_read(tap, alignment, shape, config, heads); }) {
    Component::mark_read(tap, alignment, shape, config, heads);
  } else {
    for (const TapInfo& own : signals_of<Component>(config).consumes)
      if (same_tap(own, tap)) {
        const HeadRange read = read_heads(alignment, shape);
        for (Index h = read.begin; h < read.begin + read.count; ++h) heads[static_cast<std::size_t>(h)] = 1;
      }
  }
}

/// What an entry of a signal holds, in numbers, where its readers rely on it: the layers of a value history, the numbers of
/// a coefficient holder. A component that publishes such a signal may leave it unsaid; its readers then find out in a call.
inline constexpr Index unsaid = -1;

/// Sets counts[h] for the heads of `signal` that the component publishes.
template <class Component>
void count_published([[maybe_unused]] std::string_view signal, [[maybe_unused]] Alignment alignment,
                     [[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config,
                     [[maybe_unused]] std::span<Index> counts) {
  if constexpr (requires { Component::count_published(signal, alignment, shape, config, counts); })
    Component::count_published(signal, alignment, shape, config, counts);
}

/// Raises ConfigError if the heads that the component reads through `tap` do not hold what its config says; `layer` names
/// it in the error.
template <class Component>
void check_read([[maybe_unused]] const TapInfo& tap, [[maybe_unused]] Alignment alignment,
                [[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config,
                [[maybe_unused]] std::span<const Index> counts, [[maybe_unused]] std::string_view layer) {
  if constexpr (requires { Component::check_read(tap, alignment, shape, config, counts, layer); })
    Component::check_read(tap, alignment, shape, config, counts, layer);
}

/// Of a component that publishes `signal` on its own heads: the same count for each.
inline void count_own(Alignment alignment, const Shape& shape, Index count, std::span<Index> counts) {
  const HeadRange own = own_heads(alignment, shape);
  for (Index h = own.begin; h < own.begin + own.count; ++h) counts[static_cast<std::size_t>(h)] = count;
}

/// Raises ConfigError if the component cannot work with these sizes; `layer` names it in the error.
template <class Component>
void check_config([[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config,
                  [[maybe_unused]] std::string_view layer) {
  if constexpr (requires { Component::check(shape, config, layer); }) Component::check(shape, config, layer);
}

/// How many of a sequence's first rows have to come in one call, because they may depend on one another: `unbounded` for
/// all. A component that says by `sees_ahead(config)` that rows may depend on later ones means all.
template <class Component>
Index whole_rows([[maybe_unused]] const typename Component::Config& config) {
  if constexpr (requires { Component::whole_rows(config); })
    return Component::whole_rows(config);
  else if constexpr (requires { Component::sees_ahead(config); })
    return Component::sees_ahead(config) ? unbounded : 0;
  else
    return 0;
}
/// Whether a row of the component may depend on later rows.
template <class Component>
bool sees_ahead(const typename Component::Config& config) {
  return whole_rows<Component>(config) > 1;
}

/// Floating-point operations of one new row that sees `keys` positions, itself among them, besides those of its products
/// with the matrices that are learned, which are two for each of their numbers. Products only: a softmax is not counted.
template <class Component>
Index flops([[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config,
            [[maybe_unused]] Index keys) {
  if constexpr (requires { Component::flops(shape, config, keys); })
    return Component::flops(shape, config, keys);
  else
    return 0;
}

/// Scratch scalars per new row that the component needs beyond a few activations of the shape's widths.
template <class Component>
Index scratch_per_row([[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config) {
  if constexpr (requires { Component::scratch_per_row(shape, config); })
    return Component::scratch_per_row(shape, config);
  else
    return 0;
}

/// Scalars per new row that the component puts into pass.kept at inference for the layers above, besides probabilities.
template <class Component>
Index kept_per_row([[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config) {
  if constexpr (requires { Component::kept_per_row(shape, config); })
    return Component::kept_per_row(shape, config);
  else
    return 0;
}

/// The largest call that scratch is sized for.
struct CallSize {
  Index sequences;
  Index rows;  // new ones of all sequences
  Index keys;  // cached and new ones of one sequence
};

/// Bytes that a worker's arena needs for the component's jobs, beyond those of the products it shares with all others.
template <class Component, class Scalar>
std::size_t job_bytes([[maybe_unused]] const Shape& shape, [[maybe_unused]] const typename Component::Config& config,
                      [[maybe_unused]] const CallSize& size) {
  if constexpr (requires { Component::template job_bytes<Scalar>(shape, config, size); })
    return Component::template job_bytes<Scalar>(shape, config, size);
  else
    return 0;
}

/// Readies a record whose type is known at run time only, so that no call has to allocate it.
template <class Component, class Record>
void prepare_record([[maybe_unused]] const typename Component::Config& config, [[maybe_unused]] Record& record) {
  if constexpr (requires { Component::prepare_record(config, record); }) Component::prepare_record(config, record);
}

/// A layer's table of one signal, for the layer to fill. wanted: [heads] which of them are read above.
inline SignalTable make_table(Arena& arena, const SignalInfo& info, Index sequences,
                              std::span<const unsigned char> wanted) {
  const auto heads = static_cast<Index>(wanted.size());
  auto* entries = arena.take<unsigned char>(sequences * heads * static_cast<Index>(info.entry_bytes));
  info.construct(entries, sequences * heads);
  return {entries, sequences, heads, heads, wanted.data(), info.alignment, info.entry_bytes};
}

/// Of what a mixer publishes: what belongs to its kv heads [begin, begin + count).
inline SignalTable published_part(const SignalTable& table, Index begin, Index count, Index group) {
  if (table.alignment == Alignment::layer) return table;
  const Index per_kv_head = table.alignment == Alignment::kv_heads ? 1 : group;
  SignalTable part = table;
  part.entries =
      static_cast<unsigned char*>(table.entries) + static_cast<std::size_t>(begin * per_kv_head) * table.entry_bytes;
  part.heads = count * per_kv_head;
  if (table.wanted != nullptr) part.wanted = table.wanted + begin * per_kv_head;
  return part;
}

/// Of what a mixer reads: what a part that owns its kv heads [begin, begin + count) reads.
inline SignalTable read_part(const SignalTable& table, Index begin, Index count, Index group) {
  return published_part(table, table.alignment == Alignment::heads_from_first ? 0 : begin, count, group);
}

}  // namespace heed::inline HEED_ABI
