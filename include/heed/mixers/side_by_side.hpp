// y += First(x) + Second(x),   each on its own heads
//
//   The kv heads of the layer, with their query heads, are split: First owns the leading ones, Second the rest. Each owns
//   its rows of W_o, so that the sum is the concatenation of all heads times one W_o. Partial score reuse is
//   SideBySide<StandardAttention, ScoreReuseAttention>: the new heads come first. RecurFormer's layer is
//   SideBySide<StandardAttention, Mamba2>.
// Source: Bhojanapalli et al. 2021 (arXiv 2110.06821), section 3 (partial reuse); Yan et al. 2024 (arXiv 2410.12850).
#pragma once

#include <algorithm>

#include "initialise.hpp"
#include "reach.hpp"

namespace heed::inline HEED_ABI {

/// How the kv heads of a layer are divided between two mixers.
struct HeadSplit {
  /// kv heads that the second mixer owns; a kv head is never divided.
  Index second_kv_heads;
  static constexpr Index half = -1;

  Index second_count(const Shape& shape) const {
    return second_kv_heads == half ? shape.kv_heads.count / 2 : second_kv_heads;
  }
  Shape first(const Shape& shape) const { return shape.kv_range(0, shape.kv_heads.count - second_count(shape)); }
  Shape second(const Shape& shape) const {
    return shape.kv_range(shape.kv_heads.count - second_count(shape), second_count(shape));
  }
  void check(const Shape& shape, std::string_view layer) const {
    HEED_EXPECTS(ConfigError, second_kv_heads == half || (second_kv_heads >= 0 && second_kv_heads <= shape.kv_heads.count),
                 layer, ": second_kv_heads: expected 0 to ", shape.kv_heads.count, ", found ", second_kv_heads);
  }
};

template <class First, class Second>
struct SideBySide {
  using consumes = join<typename First::consumes, typename Second::consumes>;
  using publishes = join<typename First::publishes, typename Second::publishes>;

  struct Config {
    Index second_kv_heads = HeadSplit::half;  // half of the layer's unless chosen
    typename First::Config first = {};
    typename Second::Config second = {};

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("second_kv_heads", config.second_kv_heads);
      f("first", config.first);
      f("second", config.second);
    }
  };

  template <class Scalar>
  struct Params {
    typename First::template Params<Scalar> first;
    typename Second::template Params<Scalar> second;

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : first(first_shape(shape, config), config.first), second(second_shape(shape, config), config.second) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      heed::visit(prefixed("first", f), p.first...);
      heed::visit(prefixed("second", f), p.second...);
    }
  };

  template <class Scalar>
  struct Cache {
    typename First::template Cache<Scalar> first;
    typename Second::template Cache<Scalar> second;

    Cache(const Shape& shape, const Config& config, const CacheSize& size)
        : first(first_shape(shape, config), config.first, size), second(second_shape(shape, config), config.second, size) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      heed::visit(prefixed("first", f), c.first...);
      heed::visit(prefixed("second", f), c.second...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) {
    return First::plan(first_shape(shape, config), config.first) + Second::plan(second_shape(shape, config), config.second);
  }

  template <class Scalar>
  struct Record {
    typename First::template Record<Scalar> first;
    typename Second::template Record<Scalar> second;
  };

  /// Raises ConfigError unless the split leaves both mixers whole kv heads.
  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    HeadSplit{config.second_kv_heads}.check(shape, layer);
    check_config<First>(first_shape(shape, config), config.first, layer);
    check_config<Second>(second_shape(shape, config), config.second, layer);
  }

  template <class Scalar, class Initialiser>
  static void initialise(const Shape& shape, const Config& config, Params<Scalar>& params, const Initialiser& initialiser) {
    initialiser.template run<First>("first", first_shape(shape, config), config.first, params.first);
    initialiser.template run<Second>("second", second_shape(shape, config), config.second, params.second);
  }

  template <class Scalar>
  static void apply(const Call<SideBySide, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const Shapes shapes(call);
    First::template apply<Scalar>(first_of(call, shapes), x, y);
    Second::template apply<Scalar>(second_of(call, shapes), x, y);
  }

  template <class Scalar>
  static void backward(const Call<SideBySide, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const Shapes shapes(call);
    // y += first(x) + second(x)
    Second::template backward<Scalar>(second_of(call, shapes), x, d_y, d_x, gradients.second);
    First::template backward<Scalar>(first_of(call, shapes), x, d_y, d_x, gradients.first);
  }

  static bool sees_ahead(const Config& config) {
    return heed::sees_ahead<First>(config.first) || heed::sees_ahead<Second>(config.second);
  }
  static Index scratch_per_row(const Shape& shape, const Config& config) {
    return heed::scratch_per_row<First>(first_shape(shape, config), config.first) +
           heed::scratch_per_row<Second>(second_shape(shape, config), config.second);
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    return (std::max)(heed::job_bytes<First, Scalar>(first_shape(shape, config), config.first, size),
                      heed::job_bytes<Second, Scalar>(second_shape(shape, config), config.second, size));
  }
  template <class AnyRecord>
  static void prepare_record(const Config& config, AnyRecord& record) {
    heed::prepare_record<First>(config.first, record.first);
    heed::prepare_record<Second>(config.second, record.second);
  }
  /// First's taps and then Second's; each signal once. For mixers whose lists are known at run time only.
  template <class Scalar>
  static RuntimeLists lists(const Config& config) {
    RuntimeLists all;
    const auto add = [&](const LayerSignals& part, std::span<const SignalInfo> infos) {
      all.taps.insert(all.taps.end(), part.consumes.begin(), part.consumes.end());
      for (const SignalInfo& info : infos)
        if (std::find(all.names.begin(), all.names.end(), info.name) == all.names.end()) {
          all.names.push_back(info.name);
          all.infos.push_back(info);
        }
    };
    add(signals_of<First>(config.first), signal_infos_of<First, Scalar>(config.first));
    add(signals_of<Second>(config.second), signal_infos_of<Second, Scalar>(config.second));
    return all;
  }
  static std::string describe(const Config& config) {
    return heed::describe<First>(config.first) + " | " + heed::describe<Second>(config.second);
  }
  static void mark_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                             std::span<unsigned char> heads) {
    heed::mark_published<First>(signal, alignment, first_shape(shape, config), config.first, heads);
    heed::mark_published<Second>(signal, alignment, second_shape(shape, config), config.second, heads);
  }
  static void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                        std::span<unsigned char> heads) {
    heed::mark_read<First>(tap, alignment, first_shape(shape, config), config.first, heads);
    heed::mark_read<Second>(tap, alignment, second_shape(shape, config), config.second, heads);
  }

 private:
  static Shape first_shape(const Shape& shape, const Config& config) {
    return HeadSplit{config.second_kv_heads}.first(shape);
  }
  static Shape second_shape(const Shape& shape, const Config& config) {
    return HeadSplit{config.second_kv_heads}.second(shape);
  }

  struct Shapes {
    template <class Scalar>
    explicit Shapes(const Call<SideBySide, Scalar>& call)
        : first(first_shape(call.shape, call.config)), second(second_shape(call.shape, call.config)) {}
    Shape first;
    Shape second;
  };

  // The part's inputs: of those of the whole, the ones it consumes, for its own heads. Lists known at run time stand one
  // behind the other.
  template <class Part, class Scalar>
  static Inputs<Scalar, typename Part::consumes> inputs_of(const Call<SideBySide, Scalar>& call,
                                                           [[maybe_unused]] const typename Part::Config& config,
                                                           [[maybe_unused]] std::size_t taps_before, const Shape& part) {
    const auto read = [&](std::span<const SignalTable> whole) {
      auto* tables = call.pass.scratch.template take<SignalTable>(static_cast<Index>(whole.size()));
      for (std::size_t tap = 0; tap < whole.size(); ++tap)
        tables[tap] = read_part(whole[tap], begin_of(call, part), part.kv_heads.count, part.group);
      return std::span<const SignalTable>(tables, whole.size());
    };
    using Read = Inputs<Scalar, typename Part::consumes>;
    if constexpr (std::same_as<typename Part::consumes, runtime_signals>)
      return Read(read(call.inputs.tables().subspan(taps_before, signals_of<Part>(config).consumes.size())));
    else
      return Read(read(Read(call.inputs).tables()));
  }
  // The part's tables: of those of the whole, the entries of its own heads.
  template <class Part, class Scalar>
  static Outputs<Scalar, typename Part::publishes> outputs_of(const Call<SideBySide, Scalar>& call,
                                                              const typename Part::Config& config, const Shape& part) {
    const std::span<const SignalInfo> infos = signal_infos_of<Part, Scalar>(config);
    auto* tables = call.pass.scratch.template take<SignalTable>(static_cast<Index>(infos.size()));
    for (std::size_t i = 0; i < infos.size(); ++i)
      tables[i] = published_part(call.outputs.tables()[published_at(call.config, infos[i].name)], begin_of(call, part),
                                 part.kv_heads.count, part.group);
    return Outputs<Scalar, typename Part::publishes>(std::span<const SignalTable>(tables, infos.size()));
  }
  // The part's first kv head, counted from the first of the whole.
  template <class Scalar>
  static Index begin_of(const Call<SideBySide, Scalar>& call, const Shape& part) {
    return part.kv_heads.begin - call.shape.kv_heads.begin;
  }
  // The place of a signal among those of the whole: First's, then those that only Second publishes.
  static std::size_t published_at(const Config& config, std::string_view signal) {
    std::size_t index = 0;
    for (const std::string_view name : signals_of<First>(config.first).publishes) {
      if (name == signal) return index;
      ++index;
    }
    for (const std::string_view name : signals_of<Second>(config.second).publishes) {
      if (name == signal) return index;
      if (!signals_of<First>(config.first).publishes_signal(name)) ++index;
    }
    return index;
  }

  template <class Scalar>
  static Call<First, Scalar> first_of(const Call<SideBySide, Scalar>& call, const Shapes& shapes) {
    return {shapes.first,
            call.config.first,
            call.params.first,
            inputs_of<First>(call, call.config.first, 0, shapes.first),
            outputs_of<First>(call, call.config.first, shapes.first),
            call.cache.first,
            call.record.first,
            call.pass};
  }
  template <class Scalar>
  static Call<Second, Scalar> second_of(const Call<SideBySide, Scalar>& call, const Shapes& shapes) {
    return {
        shapes.second,
        call.config.second,
        call.params.second,
        inputs_of<Second>(call, call.config.second, signals_of<First>(call.config.first).consumes.size(), shapes.second),
        outputs_of<Second>(call, call.config.second, shapes.second),
        call.cache.second,
        call.record.second,
        call.pass};
  }
};

}  // namespace heed::inline HEED_ABI
