// What a mixer is: the companions of one, and the call that reaches it.
//
// A mixer is an empty struct with
//   consumes, publishes           lists of taps and of signals
//   Config                        what is chosen, an aggregate with a default for every member
//   Params<Scalar>                what is learned: Params(shape, config) and visit
//   Cache<Scalar>                 what survives between calls: Cache(shape, config, size) and visit
//   Record<Scalar>                what one call leaves for backward
//   plan(shape, config)           what the cache keeps per position and per state slot
//   apply(call, x, y)             y += mixer(x)
//   backward(call, x, d_y, d_x, gradients)      adds to d_x, to gradients and to the gradients of what was consumed
// The parts of a mixer (where scores come from, where values come from) have the same companions.
//
// What a call can rely on, and must keep (core/pass.hpp):
//   past           a sequence without past positions has no state: nothing of the read slot may be used
//   states         are read and written piece by piece (core/pieces.hpp), from one slot to another or in place
//   pass.kept      lives as long as the call (or the tape): what layers above read
//   pass.scratch   lives as long as the layer
//   pass.record()  is the one of them where backward, if it will come, finds what the forward pass leaves
#pragma once

#include <array>
#include <concepts>
#include <memory>
#include <span>

#include "../core/head_table.hpp"
#include "../core/pass.hpp"
#include "../core/visit.hpp"
#include "../ops/probabilities.hpp"
#include "../signals/wiring.hpp"
#include "cached.hpp"
#include "shape.hpp"
#include "stateless.hpp"

namespace heed::inline HEED_ABI {

/// The entry type of a signal's table: rows and where their gradient goes, unless specialised.
template <class Signal, class Scalar>
struct entry_of {
  using type = HeadRows<Scalar>;
};
template <class Scalar>
struct entry_of<scores, Scalar> {
  using type = Probabilities<Scalar>;
};
template <class Signal, class Scalar>
using Entry = typename entry_of<Signal, Scalar>::type;

/// A signal as its publisher sees it: the table to fill, and which heads somebody above reads.
template <class Signal, class Scalar>
struct Published {
  HeadTable<Entry<Signal, Scalar>> table;
  const unsigned char* wanted;

  explicit Published(const SignalTable& erased)
      : table{static_cast<Entry<Signal, Scalar>*>(erased.entries), erased.sequences, erased.heads, erased.stride},
        wanted(erased.wanted) {}
  bool is_wanted(Index head) const { return wanted != nullptr && wanted[head] != 0; }
  SignalTable erased() const {
    return {table.entries,
            table.sequences,
            table.heads,
            table.stride,
            wanted,
            Signal::alignment,
            sizeof(Entry<Signal, Scalar>)};
  }
};

/// One consumed tap with what it reads.
template <class Tap, class Scalar>
struct Fed {
  SignalTable table;
};

/// Names the tap that reads a published signal: feed<first<values>>(outputs.get<values>()).
template <class Tap, class Signal, class Scalar>
Fed<Tap, Scalar> feed(const Published<Signal, Scalar>& published) {
  static_assert(std::same_as<typename Tap::signal, Signal>,
                "heed: this tap reads another signal than the one it is fed (are two inputs swapped?)");
  return {published.erased()};
}

/// What a mixer consumes. There is no default: a consumed signal cannot be forgotten.
template <class Scalar, class Consumes>
class Inputs;

template <class Scalar, class... Taps>
class Inputs<Scalar, signals<Taps...>> {
 public:
  /// One feed<Tap>(...) for every consumed tap, in any order.
  template <class... Fed_>
  Inputs(const Fed<Fed_, Scalar>&... fed) {  // NOLINT: a braced list of feeds is an Inputs
    static_assert(
        (signals<Fed_...>::template contains<Taps> && ...),
        "heed: this mixer consumes a signal that it was not given: pass feed<Tap>(...) for every tap it consumes");
    if constexpr ((signals<Fed_...>::template contains<Taps> && ...)) (take(fed), ...);
  }
  /// The tables in the order of the list: how a stack calls.
  explicit Inputs(std::span<const SignalTable> tables) {
    for (std::size_t tap = 0; tap < sizeof...(Taps); ++tap) tables_[tap] = tables[tap];
  }
  /// A part's share of its mixer's inputs.
  template <class... Wider>
  requires(!std::same_as<signals<Wider...>, signals<Taps...>>) explicit Inputs(
      const Inputs<Scalar, signals<Wider...>>& wider) {
    ((tables_[list::template index_of<Taps>] = wider.template erased<Taps>()), ...);
  }

  /// What Tap reads: an entry for each of the mixer's own heads, the first of them for the first.
  template <class Tap>
  HeadTable<Entry<typename Tap::signal, Scalar>> get() const {
    return Published<typename Tap::signal, Scalar>(erased<Tap>()).table;
  }
  template <class Tap>
  const SignalTable& erased() const {
    static_assert(list::template contains<Tap>, "heed: this tap is not in the mixer's consumes list");
    return tables_[list::template index_of<Tap>];
  }
  /// All tables, in the order of the list.
  std::span<const SignalTable> tables() const { return {tables_, sizeof...(Taps)}; }

 private:
  using list = signals<Taps...>;

  template <class Tap>
  void take(const Fed<Tap, Scalar>& fed) {
    if constexpr (list::template contains<Tap>) tables_[list::template index_of<Tap>] = fed.table;
  }

  SignalTable tables_[sizeof...(Taps) + 1] = {};
};

/// The tables of what a mixer publishes.
template <class Scalar, class Publishes>
class Outputs;

template <class Scalar, class... Signals>
class Outputs<Scalar, signals<Signals...>> {
 public:
  explicit Outputs(std::span<const SignalTable> tables) {
    for (std::size_t signal = 0; signal < sizeof...(Signals); ++signal) tables_[signal] = tables[signal];
  }
  template <class... Wider>
  requires(!std::same_as<signals<Wider...>, signals<Signals...>>) explicit Outputs(
      const Outputs<Scalar, signals<Wider...>>& wider) {
    ((tables_[list::template index_of<Signals>] = wider.template get<Signals>().erased()), ...);
  }

  template <class Signal>
  Published<Signal, Scalar> get() const {
    static_assert(list::template contains<Signal>, "heed: this signal is not in the mixer's publishes list");
    return Published<Signal, Scalar>(tables_[list::template index_of<Signal>]);
  }
  /// All tables, in the order of the list.
  std::span<const SignalTable> tables() const { return {tables_, sizeof...(Signals)}; }

 private:
  using list = signals<Signals...>;
  SignalTable tables_[sizeof...(Signals) + 1] = {};
};

/// Everything one call of a component needs besides x.
template <class Component, class Scalar>
struct Call {
  const Shape& shape;
  const typename Component::Config& config;
  const typename Component::template Params<Scalar>& params;
  Inputs<Scalar, typename Component::consumes> inputs;
  Outputs<Scalar, typename Component::publishes> outputs;
  typename Component::template Cache<Scalar>& cache;
  typename Component::template Record<Scalar>& record;
  const Pass& pass;
};

/// The call of a part of the component: the same circumstances, the part's own companions.
template <class Part, class Component, class Scalar>
Call<Part, Scalar> part_of(const Call<Component, Scalar>& whole, const typename Part::Config& config,
                           const typename Part::template Params<Scalar>& params,
                           typename Part::template Cache<Scalar>& cache, typename Part::template Record<Scalar>& record) {
  return {whole.shape,
          config,
          params,
          Inputs<Scalar, typename Part::consumes>(whole.inputs),
          Outputs<Scalar, typename Part::publishes>(whole.outputs),
          cache,
          record,
          whole.pass};
}

/// How a stack makes the tables of what a component publishes.
template <class Scalar, class Publishes>
struct signal_infos;
template <class Scalar, class... Signals>
struct signal_infos<Scalar, signals<Signals...>> {
  template <class Signal>
  static constexpr SignalInfo info() {
    return {Signal::name, Signal::alignment, sizeof(Entry<Signal, Scalar>), [](void* entries, std::ptrdiff_t count) {
              std::uninitialized_value_construct_n(static_cast<Entry<Signal, Scalar>*>(entries), count);
            }};
  }
  static constexpr std::array<SignalInfo, sizeof...(Signals)> table{info<Signals>()...};
};

/// What a mixer is, whatever the scalar.
template <class M>
concept Mixer = std::default_initializable<typename M::Config> &&
    requires(const Shape& shape, const typename M::Config& config) {
  typename M::consumes;
  typename M::publishes;
  { M::plan(shape, config) } -> std::same_as<CachePlan>;
};

/// What a mixer is for one scalar.
template <class M, class Scalar>
concept MixerOf = Mixer<M> &&
    requires(const Call<M, Scalar>& call, const View<Scalar>& rows, MutableView<Scalar> target,
             typename M::template Params<Scalar>& gradients, typename M::template Cache<Scalar>& cache) {
  requires std::copyable<typename M::template Params<Scalar>>;
  requires std::default_initializable<typename M::template Record<Scalar>>;
  M::template Cache<Scalar>::visit(detail::AnyLeaf(), cache);
  M::template apply<Scalar>(call, rows, target);
  M::template backward<Scalar>(call, rows, rows, target, gradients);
};

}  // namespace heed::inline HEED_ABI
