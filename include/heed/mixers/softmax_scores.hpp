// What the score sources that compare queries with keys have in common: their options, and the operand they give.
//
//   A = softmax(mask(cap tanh(scale Q K^T / cap)))        Q [T x H E], K [S x E] per kv head, A [T x S] per query head
//
//   sinks   softmax(z)_j = e^z_j / (e^s_h + sum_k e^z_k): a logit s_h of each head joins every row, and has no value behind
//           it. s_h = 0 is the softmax off by one; s_h = -inf switches the sink off.
// Source: soft-cap: Gemma 2 (arXiv 2408.00118), section 2; learned sinks: gpt-oss (arXiv 2508.10925), section 2.
#pragma once

#include <cmath>

#include "../core/config_numbers.hpp"
#include "../ops/attend.hpp"
#include "head_projection.hpp"
#include "mixer.hpp"
#include "positions.hpp"

namespace heed::inline HEED_ABI {

struct SoftmaxOptions {
  Mask mask = causal();
  Positions positions = Rotary{};
  bool biases = false;                               // of queries and keys
  QueryKeyNorm query_key_norm = QueryKeyNorm::none;  // before they turn
  double norm_epsilon = 1e-6;
  double scale = 0;                       // of the products; 0: 1 / sqrt(E)
  double soft_cap = 0;                    // of the scaled products, before the mask; 0: none
  bool sinks = false;                     // one learned logit for each query head, from 0 on
  Precision precision = Precision::full;  // of the products of float, in forward: ops/precision.hpp

  HeadProjection::Config projection() const { return {biases, query_key_norm, norm_epsilon}; }
  double scale_for(Index head_width) const { return scale == 0 ? 1 / std::sqrt(static_cast<double>(head_width)) : scale; }
  /// How many of so many keys the last row sees.
  Index seen(Index keys) const { return mask.visible(keys - 1, keys).size(); }
  void check(const Shape& shape, std::string_view layer) const {
    check_positions(positions, shape.head_width, layer);
    mask.check<ConfigError>(layer);
    detail::expects_epsilon(layer, "norm_epsilon", norm_epsilon);
    detail::expects_number(layer, "scale", scale);
    detail::expects_soft_cap(layer, soft_cap);
  }

  template <class F, class C>
  static void fields(F&& f, C& options) {
    f("mask", options.mask);
    f("positions", options.positions);
    f("biases", options.biases);
    f("query_key_norm", options.query_key_norm);
    f("norm_epsilon", options.norm_epsilon);
    f("scale", options.scale);
    f("soft_cap", options.soft_cap);
    f("sinks", options.sinks);
    f("precision", options.precision);
  }
};

/// The logits of the sinks as a tensor, if `options.sinks`.
template <class Scalar, class Options>
Matrix<Scalar> make_sinks(const Shape& shape, const Options& options) {
  Matrix<Scalar> sinks;  // [1 x H], or absent
  if (options.sinks) sinks.setZero(1, shape.heads.count);
  return sinks;
}

/// The operand over these queries and keys, with room for those probabilities that a layer above reads.
///   q [T x H E], turned     k per (sequence, kv head) [S x E]
template <class Scores, class Scalar>
Computed<Scalar> softmax_operand(const Call<Scores, Scalar>& call, const MutableView<Scalar>& q,
                                 const HeadTable<HeadRows<Scalar>>& k) {
  const Pass& pass = call.pass;
  const Shape& shape = call.shape;
  const SoftmaxOptions& options = call.config;
  const Published<scores, Scalar> published = call.outputs.template get<scores>();
  for (Index b = 0; b < pass.sequences(); ++b)
    for (Index h = 0; h < shape.heads.count; ++h)
      if (published.is_wanted(h))
        published.table.at(b, h) = Probabilities<Scalar>::reserve(
            pass.kept, {pass.rows.rows(b), pass.visible(b), options.mask, pass.past[static_cast<std::size_t>(b)],
                        pass.training() ? Storage::arithmetic : pass.scores, pass.training()});
  return {
      .q = view_of(q),
      .k = k,
      .mask = options.mask,
      .scale = static_cast<Scalar>(options.scale_for(shape.head_width)),
      .log_sum_exp = pass.record().template matrix<Scalar>(q.rows(), shape.heads.count),  // [T x H]
      .probabilities = published.table,
      .soft_cap = static_cast<Scalar>(options.soft_cap),
      .slopes = slopes_of<Scalar>(options.positions, shape.heads.count, pass.record()),
      .sinks = options.sinks ? call.params.sinks.data() : nullptr,
      .precision = options.precision,
  };
}

/// o = attend(operand, v)   =>   adds to d_q, to the gradients of k and v, and to d_sinks.
template <class Scalar>
void softmax_backward(Computed<Scalar> operand, const HeadTable<HeadRows<Scalar>>& v, const Pass& pass,
                      const View<Scalar>& o, const View<Scalar>& d_o, MutableView<Scalar> d_q, Matrix<Scalar>& d_sinks) {
  if (operand.sinks != nullptr) operand.d_sinks = d_sinks.data();
  attend_backward(operand, v, pass.rows, o, d_o, d_q, pass.workers);
}

}  // namespace heed::inline HEED_ABI
