// A layer that reads what the layer below publishes: checking gradients below it checks the echo of what was published.
//
//   y[t, k mod D] += cos(k + 1) v[t, k]               v [T x G E_v]: the values of the new rows, their heads side by side
//   y[t, h mod D] += sum_s cos(h + 3 s + 1) a_h[t, s]       a_h [T x S]: the probabilities of query head h
#pragma once

#include <cmath>

#include "../mixers/reach.hpp"

namespace heed::inline HEED_ABI::testing {

/// Signals: values, scores, or both.
template <class... Signals>
struct SignalReader : Stateless {
  static constexpr std::string_view name = "signal reader";
  using consumes = heed::signals<nearest<Signals>...>;
  using publishes = heed::signals<>;

  struct Config {
    std::vector<unsigned char> values = {};  // [kv heads] 1 for those that are read
    std::vector<unsigned char> scores = {};  // [heads]
  };

  static void mark_read(const TapInfo& tap, Alignment, const Shape&, const Config& config, std::span<unsigned char> heads) {
    const auto& read = tap.signal == heed::values::name ? config.values : config.scores;
    std::copy(read.begin(), read.end(), heads.begin());
  }

  template <class Scalar>
  static void apply(const Call<SignalReader, Scalar>& call, const View<Scalar>&, MutableView<Scalar> y) {
    for_each_entry(call, [&](const auto& entry, Index row, Index t, Index head) {
      each(entry, t, head, [&](Index k, Scalar weight, Scalar value) { y(row, k % y.cols()) += weight * value; });
    });
  }

  template <class Scalar>
  static void backward(const Call<SignalReader, Scalar>& call, const View<Scalar>&, const View<Scalar>& d_y,
                       MutableView<Scalar>, Params<Scalar>&) {
    for_each_entry(call, [&](const auto& entry, Index row, Index t, Index head) {
      add_gradient(call, entry, t, head, [&](Index k, Scalar weight) { return weight * d_y(row, k % d_y.cols()); });
    });
  }

 private:
  // f(entry, packed row, row of the sequence, head) for everything that is read
  template <class Scalar, class F>
  static void for_each_entry(const Call<SignalReader, Scalar>& call, F&& f) {
    const auto read = [&](const auto& table, const std::vector<unsigned char>& heads) {
      for (Index b = 0; b < table.sequences; ++b)
        for (Index h = 0; h < table.heads; ++h)
          for (Index t = 0; heads[static_cast<std::size_t>(h)] != 0 && t < call.pass.rows.rows(b); ++t)
            f(table.at(b, h), call.pass.rows.begin(b) + t, t, h);
    };
    if constexpr (consumes::template contains<nearest<heed::values>>)
      read(call.inputs.template get<nearest<heed::values>>(), call.config.values);
    if constexpr (consumes::template contains<nearest<heed::scores>>)
      read(call.inputs.template get<nearest<heed::scores>>(), call.config.scores);
  }

  // f(k, weight, value) for the numbers of one row of one head. Sequences are whole: row t is the t-th of all.
  template <class Scalar, class F>
  static void each(const HeadRows<Scalar>& entry, Index t, Index head, F&& f) {
    for (Index e = 0; e < entry.width; ++e) {
      const Index k = head * entry.width + e;
      f(k, static_cast<Scalar>(std::cos(k + 1)), entry.view()(t, e));
    }
  }
  template <class Scalar, class F>
  static void each(const Probabilities<Scalar>& entry, Index t, Index head, F&& f) {
    for (Index s = 0; s < entry.keys(); ++s) f(head, static_cast<Scalar>(std::cos(head + 3 * s + 1)), entry(t, s));
  }

  template <class Scalar, class F>
  static void add_gradient(const Call<SignalReader, Scalar>&, const HeadRows<Scalar>& entry, Index t, Index head, F&& f) {
    Index e = 0;
    each(entry, t, head, [&](Index k, Scalar weight, Scalar) { entry.gradient_view()(t, e++) += f(k, weight); });
  }
  template <class Scalar, class F>
  static void add_gradient(const Call<SignalReader, Scalar>& call, const Probabilities<Scalar>& entry, Index t, Index head,
                           F&& f) {
    const Arena::Scope scope(call.pass.scratch);
    Scalar* row = call.pass.scratch.template take<Scalar>(entry.keys());
    Index s = 0;
    each(entry, t, head, [&](Index k, Scalar weight, Scalar) { row[s++] = f(k, weight); });
    entry.add_gradient_row(t, row);
  }
};

}  // namespace heed::inline HEED_ABI::testing
