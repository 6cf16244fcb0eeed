// V = l_n V_n + sum_{i < n} l_i V_i,   V_n = x W_v + b_v
//
//   x [T x D]   W_v [D x G E_v]   b_v [1 x G E_v]   V_i [T x E_v] per kv head: the unmixed values of lower layer i
//   l [1 x n]: one learned number for every lower layer that has values, from the lowest on, and one for the layer's own
//   The cache keeps the mixed rows, so decoding needs the V_i of the new positions only.
// Source: Zhou et al. 2024 (arXiv 2410.17897), Dense-ResFormer: eq. 5 with learned coefficients.
#pragma once

#include "../core/config_numbers.hpp"
#include "../ops/mix.hpp"
#include "head_projection.hpp"
#include "value_history.hpp"

namespace heed::inline HEED_ABI {

/// The values are the layer's own, mixed with those of all layers below it down to the HistoryValues that begin.
struct DenseResidualValues {
  static constexpr std::string_view name = "dense residual values";
  using consumes = signals<nearest<value_history>>;
  using publishes = signals<values, value_history>;

  struct Config {
    Index below = 1;          // lower layers whose values are mixed in: n - 1
    double from_below = 0.5;  // what their numbers add up to at first, each with an equal part
    double from_own = 0.5;    // where the layer's own starts
    bool biases = false;      // b_v

    HeadProjection::Config projection() const { return {.biases = biases}; }

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("below", config.below);
      f("from_below", config.from_below);
      f("from_own", config.from_own);
      f("biases", config.biases);
    }
  };

  template <class Scalar>
  struct Params {
    HeadProjection::Params<Scalar> v;  // to [T x G E_v]
    Matrix<Scalar> from_layers;        // [1 x n], the lowest layer first, the own last

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : v(shape.width, shape.kv_heads.count, shape.value_width, config.projection()) {
      from_layers.setConstant(1, config.below + 1,
                              static_cast<Scalar>(config.from_below / static_cast<double>(config.below)));
      from_layers(0, config.below) = static_cast<Scalar>(config.from_own);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      HeadProjection::Params<Scalar>::visit("v", f, p.v...);
      f("from_layers", Role::coefficient, p.from_layers...);
    }
  };
  template <class Scalar>
  using Cache = ValueCache<Scalar>;
  static CachePlan plan(const Shape& shape, const Config&) { return {.per_position = shape.v_width()}; }
  static Index kept_per_row(const Shape& shape, const Config&) { return shape.v_width(); }

  static void check(const Shape&, const Config& config, std::string_view layer) {
    detail::expects_size(layer, "below", config.below, 1);
    detail::expects_number(layer, "from_below", config.from_below);
    detail::expects_number(layer, "from_own", config.from_own);
  }
  static void count_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                              std::span<Index> counts) {
    if (signal == value_history::name) count_own(alignment, shape, config.below + 1, counts);
  }
  static void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                         std::span<const Index> counts, std::string_view layer) {
    if (tap.signal != value_history::name) return;
    const HeadRange own = own_heads(alignment, shape);
    for (Index g = own.begin; g < own.begin + own.count; ++g) {
      const Index count = counts[static_cast<std::size_t>(g)];
      HEED_EXPECTS(ConfigError, count == unsaid || count == config.below, layer, ": below: expected the ", count,
                   " layers below that have values of kv head ", g, ", found ", config.below);
    }
  }

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar> projection;
    const Scalar* v_own = nullptr;  // [T x G E_v]
    Scalar* d_v = nullptr;          // [T x G E_v] of the mixed rows, where attention and readers above add
    Scalar* d_v_own = nullptr;      // [T x G E_v] of the unmixed rows, where the dense layers above add
  };

  /// Returns the visible mixed rows [S x E_v] of every (sequence, kv head) and publishes them, and the unmixed ones.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<DenseResidualValues, Scalar>& call, const View<Scalar>& x) {
    const Pass& pass = call.pass;
    const Config& config = call.config;
    const Params<Scalar>& params = call.params;
    MutableView<Scalar> v_own =
        HeadProjection::apply(config.projection(), params.v, call.record.projection, pass, x, pass.kept);  // [T x G E_v]
    call.record.v_own = v_own.data();
    publish_history(call, v_own);

    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> v = pass.scratch.matrix<Scalar>(x.rows(), call.shape.v_width());  // [T x G E_v]
    for_layers_below(call, [&](Index i, const HeadTable<HeadRows<Scalar>>& v_i) {
      if (i + 1 == config.below)
        mix<Scalar>({number(params, i), v_i, number(params, config.below), view_of(v_own)}, pass.rows, v, pass.workers);
      else
        mix_in(number(params, i), v_i, pass.rows, v, pass.workers);
    });
    const auto table = call.outputs.template get<values>().table;
    call.record.d_v = publish_rows(call.cache.v, table, pass, view_of(v));
    return table;
  }

  template <class Scalar>
  static void backward(const Call<DenseResidualValues, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const Pass& pass = call.pass;
    const Config& config = call.config;
    const Params<Scalar>& params = call.params;
    const Record<Scalar>& record = call.record;
    const Index width = call.shape.v_width();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> v_own = view_of(record.v_own, x.rows(), width, width);                          // [T x G E_v]
    const View<Scalar> d_v = view_of(static_cast<const Scalar*>(record.d_v), x.rows(), width, width);  // [T x G E_v]
    MutableView<Scalar> d_v_own = mutable_view_of(record.d_v_own, x.rows(), width, width);             // [T x G E_v]
    const auto d_number = [&](Index i) { return mutable_view_of(gradients.from_layers.data() + i, 1, 1, 1); };
    // v = l_n v_own + sum_i l_i v_i   =>   d_v_own += l_n d_v,  d_v_i += l_i d_v,  d_l_n, d_l_i
    for_layers_below(call, [&](Index i, const HeadTable<HeadRows<Scalar>>& v_i) {
      if (i + 1 == config.below)
        mix_backward<Scalar>({number(params, i), v_i, number(params, config.below), v_own}, pass.rows, d_v,
                             {d_number(i), d_number(config.below), d_v_own}, pass.scratch, pass.workers);
      else
        mix_in_backward(number(params, i), v_i, pass.rows, d_v, d_number(i), pass.scratch, pass.workers);
    });
    // v_own = x w_v + b_v   =>   d_x += d_v_own w_v^T,  d_w_v += x^T d_v_own,  d_b_v += sum_t d_v_own
    HeadProjection::backward(config.projection(), params.v, record.projection, pass, x, d_v_own, d_x, gradients.v);
  }

 private:
  template <class Scalar>
  static View<Scalar> number(const Params<Scalar>& params, Index i) {
    return view_of(params.from_layers.data() + i, 1, 1, 1);
  }

  // The layer's own link, above those of the layers below.
  template <class Scalar>
  static void publish_history(const Call<DenseResidualValues, Scalar>& call, const MutableView<Scalar>& v_own) {
    const Pass& pass = call.pass;
    const Index stride = v_own.cols(), width = call.shape.value_width;
    Scalar* d_v_own = pass.training() ? pass.kept.template zeros<Scalar>(v_own.rows(), stride).data() : nullptr;
    call.record.d_v_own = d_v_own;
    const auto below = call.inputs.template get<nearest<value_history>>();
    const auto history = call.outputs.template get<value_history>().table;
    for (Index b = 0; b < history.sequences; ++b)
      for (Index g = 0; g < history.heads; ++g) {
        const Index at = pass.rows.begin(b) * stride + g * width;
        HeadRows<Scalar> rows{v_own.data() + at, nullptr, pass.rows.rows(b), width, stride, stride};
        if (d_v_own != nullptr) rows.gradient = d_v_own + at;
        history.at(b, g) = {rows, &below.at(b, g), below.at(b, g).length + 1};
      }
  }

  // f(i, v_i) for the layers below, from the nearest, i = below - 1, down to the lowest, i = 0.
  template <class Scalar, class F>
  static void for_layers_below(const Call<DenseResidualValues, Scalar>& call, F&& f) {
    const Arena::Scope scope(call.pass.scratch);
    auto chain = call.inputs.template get<nearest<value_history>>();
    // A stack has checked this while it was built, unless a publisher left it unsaid; a layer by itself is fed in calls.
    for (Index b = 0; b < chain.sequences; ++b)
      for (Index g = 0; g < chain.heads; ++g)
        HEED_EXPECTS(ConfigError, chain.at(b, g).length == call.config.below, "below: expected the ", chain.at(b, g).length,
                     " layers below that have values of kv head ", g, ", found ", call.config.below);
    auto links = HeadTable<const ValueHistory<Scalar>*>::make(call.pass.scratch, chain.sequences, chain.heads);
    auto v_i = HeadTable<HeadRows<Scalar>>::make(call.pass.scratch, chain.sequences, chain.heads);
    for (Index i = call.config.below; i-- > 0;) {
      for (Index b = 0; b < chain.sequences; ++b)
        for (Index g = 0; g < chain.heads; ++g) {
          const auto*& link = links.at(b, g);
          link = link == nullptr ? &chain.at(b, g) : link->below;
          v_i.at(b, g) = link->rows;
        }
      f(i, v_i);
    }
  }
};

}  // namespace heed::inline HEED_ABI
