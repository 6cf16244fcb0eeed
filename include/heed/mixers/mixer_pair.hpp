// y += First(x) + Second(x): two mixers on one layer, whatever heads each of them owns.
#pragma once

#include <algorithm>

#include "initialise.hpp"
#include "reach.hpp"

namespace heed::inline HEED_ABI {

/// Division:
///   Config<First, Second>  the pair's
///   first(shape, config), second(shape, config)    the shape that each of the two works on
///   second_publishes       whether Second may publish something, as First may
///   sign                   between the names of the two
///   check(shape, config, layer), scratch_per_row(shape)
template <class First, class Second, class Division>
struct MixerPair {
  static_assert(Division::second_publishes || std::same_as<typename Second::publishes, signals<>> ||
                    std::same_as<typename Second::publishes, runtime_signals>,
                "heed: InParallel<First, Second> publishes what First does: give the mixer that publishes as First");
  using consumes = join<typename First::consumes, typename Second::consumes>;
  using publishes = join<typename First::publishes, typename Second::publishes>;
  using Config = typename Division::template Config<First, Second>;

  template <class Scalar>
  struct Params {
    typename First::template Params<Scalar> first;
    typename Second::template Params<Scalar> second;

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : first(Division::first(shape, config), config.first), second(Division::second(shape, config), config.second) {}
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
        : first(Division::first(shape, config), config.first, size),
          second(Division::second(shape, config), config.second, size) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      heed::visit(prefixed("first", f), c.first...);
      heed::visit(prefixed("second", f), c.second...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) {
    return First::plan(Division::first(shape, config), config.first) +
           Second::plan(Division::second(shape, config), config.second);
  }

  template <class Scalar>
  struct Record {
    typename First::template Record<Scalar> first;
    typename Second::template Record<Scalar> second;
  };

  /// Raises ConfigError unless the heads can be divided so, and for what First or Second refuses.
  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    Division::check(shape, config, layer);
    HEED_EXPECTS(ConfigError, Division::second_publishes || signals_of<Second>(config.second).publishes.empty(), layer,
                 " (", describe(config),
                 "): expected a second mixer that publishes nothing: give the one that publishes as first");
    check_config<First>(Division::first(shape, config), config.first, layer);
    check_config<Second>(Division::second(shape, config), config.second, layer);
  }

  template <class Scalar, class Initialiser>
  static void initialise(const Shape& shape, const Config& config, Params<Scalar>& params, const Initialiser& initialiser) {
    initialiser.template run<First>("first", Division::first(shape, config), config.first, params.first);
    initialiser.template run<Second>("second", Division::second(shape, config), config.second, params.second);
  }

  template <class Scalar>
  static void apply(const Call<MixerPair, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const Shapes shapes(call);
    First::template apply<Scalar>(first_of(call, shapes), x, y);
    Second::template apply<Scalar>(second_of(call, shapes), x, y);
  }

  template <class Scalar>
  static void backward(const Call<MixerPair, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const Shapes shapes(call);
    // y += first(x) + second(x)
    Second::template backward<Scalar>(second_of(call, shapes), x, d_y, d_x, gradients.second);
    First::template backward<Scalar>(first_of(call, shapes), x, d_y, d_x, gradients.first);
  }

  static Index whole_rows(const Config& config) {
    return (std::max)(heed::whole_rows<First>(config.first), heed::whole_rows<Second>(config.second));
  }
  static Index flops(const Shape& shape, const Config& config, Index keys) {
    return heed::flops<First>(Division::first(shape, config), config.first, keys) +
           heed::flops<Second>(Division::second(shape, config), config.second, keys);
  }
  static Index scratch_per_row(const Shape& shape, const Config& config) {
    return heed::scratch_per_row<First>(Division::first(shape, config), config.first) +
           heed::scratch_per_row<Second>(Division::second(shape, config), config.second) + Division::scratch_per_row(shape);
  }
  static Index kept_per_row(const Shape& shape, const Config& config) {
    return heed::kept_per_row<First>(Division::first(shape, config), config.first) +
           heed::kept_per_row<Second>(Division::second(shape, config), config.second);
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    return (std::max)(heed::job_bytes<First, Scalar>(Division::first(shape, config), config.first, size),
                      heed::job_bytes<Second, Scalar>(Division::second(shape, config), config.second, size));
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
    return heed::describe<First>(config.first) + std::string(Division::sign) + heed::describe<Second>(config.second);
  }
  static void mark_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                             std::span<unsigned char> heads) {
    heed::mark_published<First>(signal, alignment, Division::first(shape, config), config.first, heads);
    heed::mark_published<Second>(signal, alignment, Division::second(shape, config), config.second, heads);
  }
  static void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                        std::span<unsigned char> heads) {
    heed::mark_read<First>(tap, alignment, Division::first(shape, config), config.first, heads);
    heed::mark_read<Second>(tap, alignment, Division::second(shape, config), config.second, heads);
  }
  static void count_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                              std::span<Index> counts) {
    heed::count_published<First>(signal, alignment, Division::first(shape, config), config.first, counts);
    heed::count_published<Second>(signal, alignment, Division::second(shape, config), config.second, counts);
  }
  static void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                         std::span<const Index> counts, std::string_view layer) {
    heed::check_read<First>(tap, alignment, Division::first(shape, config), config.first, counts, layer);
    heed::check_read<Second>(tap, alignment, Division::second(shape, config), config.second, counts, layer);
  }

 private:
  struct Shapes {
    template <class Scalar>
    explicit Shapes(const Call<MixerPair, Scalar>& call)
        : first(Division::first(call.shape, call.config)), second(Division::second(call.shape, call.config)) {}
    Shape first;
    Shape second;
  };

  // The part's inputs: of those of the whole, the ones it consumes, for its own heads. Lists known at run time stand one
  // behind the other.
  template <class Part, class Scalar>
  static Inputs<Scalar, typename Part::consumes> inputs_of(const Call<MixerPair, Scalar>& call,
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
  static Outputs<Scalar, typename Part::publishes> outputs_of(const Call<MixerPair, Scalar>& call,
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
  static Index begin_of(const Call<MixerPair, Scalar>& call, const Shape& part) {
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
  static Call<First, Scalar> first_of(const Call<MixerPair, Scalar>& call, const Shapes& shapes) {
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
  static Call<Second, Scalar> second_of(const Call<MixerPair, Scalar>& call, const Shapes& shapes) {
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
