// Attention on plain Eigen matrices, forward and backward. What layers use is in ops/operand.hpp.
//
//   z = scale Q K^T     z <- cap tanh(z / cap)     z <- z - slope |p - j| + bias     A = softmax(mask(z))     y = A V
//
//   q [T x H*E]   k [S x G*E]   v [S x G*E_v]   y [T x H*E_v]     heads side by side
//
// Query head h reads kv head h G / H, rounded down.
// T and S may differ (cross-attention has a bidirectional mask), and so may E and E_v.
#pragma once

#include <optional>

#include "../core/config_numbers.hpp"
#include "../core/numbers.hpp"
#include "attend_scratch.hpp"
#include "attended.hpp"
#include "documents.hpp"
#include "operand.hpp"

namespace heed::inline HEED_ABI {

/// How `attend` attends. Matrices and lists are the caller's, of the scalar of q or, lists, any: they are read in the call.
struct AttendOptions {
  Index heads = 1;
  Index kv_heads = 0;  ///< 0: as many as heads
  Mask mask = causal();
  double scale = 0;                       ///< 0: 1 / sqrt(E)
  double soft_cap = 0;                    ///< > 0: z <- soft_cap tanh(z / soft_cap), before anything is added or hidden
  std::optional<Index> offset = {};       ///< position of row 0; S - T unless set, so that the last row sees the last key
  Numbers slopes = {};                    ///< [H] ALiBi: alibi_slopes(heads)
  Numbers sinks = {};                     ///< [H] logits that join every row's softmax, with no value behind them
  Numbers bias = {};                      ///< [T x S], or [1 x S] for all rows, or [H*T x S] by head: added, -inf hides
  Flags shown = {};                       ///< of the same shapes: false hides
  Precision precision = Precision::full;  ///< of the products, in forward and in float: ops/precision.hpp
};

/// What backward adds to.
template <class Scalar>
struct AttendGradients {
  Matrix<Scalar> q;      // [T x H*E]
  Matrix<Scalar> k;      // [S x G*E]
  Matrix<Scalar> v;      // [S x G*E_v]
  Matrix<Scalar> sinks;  // [1 x H]; empty: not wanted
  Matrix<Scalar> bias;   // as options.bias; empty: not wanted
};

namespace detail {

/// Heads and widths of a call, checked.
struct AttendShape {
  Index heads, kv_heads, width, value_width;
};

template <class Scalar>
AttendShape expects_attendable(const View<Scalar>& q, const View<Scalar>& k, const View<Scalar>& v,
                               const AttendOptions& options) {
  const Index heads = options.heads, kv_heads = options.kv_heads == 0 ? heads : options.kv_heads;
  HEED_EXPECTS(ShapeError, heads >= 1, "attend: heads: expected 1 or more, found ", heads);
  HEED_EXPECTS(ShapeError, kv_heads >= 1 && heads % kv_heads == 0, "attend: kv_heads: expected a divisor of ", heads,
               " heads, found ", kv_heads);
  HEED_EXPECTS(ShapeError, q.cols() >= heads && q.cols() % heads == 0, "attend: q: expected the columns of ", heads,
               " heads of equal width, found ", q.cols());
  const Index width = q.cols() / heads;
  expects_shape("attend: k", k, k.rows(), kv_heads * width);
  HEED_EXPECTS(ShapeError, v.cols() % kv_heads == 0, "attend: v: expected the columns of ", kv_heads,
               " kv heads of equal width, found ", v.cols());
  expects_shape("attend: v", v, k.rows(), v.cols());
  options.mask.check<ShapeError>("attend");
  expects_number<ShapeError>("attend", "scale", options.scale);
  expects_soft_cap<ShapeError>("attend", options.soft_cap);
  const Index offset = options.offset.value_or(0);
  HEED_EXPECTS(ShapeError, -unbounded <= offset && offset <= unbounded, "attend: offset: expected at most ", unbounded,
               " to both sides, found ", offset);
  const auto expects_list = [&](std::string_view what, const Numbers& list) {
    HEED_EXPECTS(ShapeError, !list.given() || (list.rows() == 1 && list.cols() == heads), what, ": expected ", heads,
                 " numbers, found [", list.rows(), " x ", list.cols(), "]");
  };
  expects_list("attend: slopes", options.slopes);
  expects_list("attend: sinks", options.sinks);
  const auto expects_pairs = [&](std::string_view what, const auto& pairs) {
    const bool rows = pairs.rows() == q.rows() || pairs.rows() == 1 || pairs.rows() == heads * q.rows();
    HEED_EXPECTS(ShapeError, !pairs.given() || (rows && pairs.cols() == k.rows()), what, ": expected [", q.rows(), " x ",
                 k.rows(), "], one row of it, or one for each of ", heads, " heads, found [", pairs.rows(), " x ",
                 pairs.cols(), "]");
  };
  expects_pairs("attend: bias", options.bias);
  expects_pairs("attend: shown", options.shown);
  HEED_EXPECTS(ShapeError, options.bias.template are<Scalar>(), "attend: bias: expected the scalar of q, found another");
  return {heads, kv_heads, width, v.cols() / kv_heads};
}

/// A call's operand and values, made in an arena.
template <class Scalar>
struct AttendCall {
  Computed<Scalar> operand;
  HeadTable<HeadRows<Scalar>> v;

  static const Scalar* list(const Numbers& numbers, Arena& scratch) {
    if (!numbers.given()) return nullptr;
    Scalar* list = scratch.take<Scalar>(numbers.size());
    for (Index i = 0; i < numbers.size(); ++i) list[i] = static_cast<Scalar>(numbers.at(i));
    return list;
  }

  /// log_sum_exp [T x H]. gradients: of k, v and biases; or none.
  static AttendCall make(const View<Scalar>& q, const View<Scalar>& k, const View<Scalar>& v, const AttendOptions& options,
                         const AttendShape& shape, const MutableView<Scalar>& log_sum_exp, Arena& scratch,
                         AttendGradients<Scalar>* gradients = nullptr) {
    const double scale = options.scale == 0 ? 1 / std::sqrt(static_cast<double>(shape.width)) : options.scale;
    const auto table_of = [&](const View<Scalar>& x, Index width, Matrix<Scalar>* d_x) {
      const auto table = HeadTable<HeadRows<Scalar>>::make(scratch, 1, shape.kv_heads);
      for (Index g = 0; g < shape.kv_heads; ++g)
        table.at(0, g) = {x.data() + g * width,
                          d_x == nullptr ? nullptr : d_x->data() + g * width,
                          x.rows(),
                          width,
                          x.outerStride(),
                          d_x == nullptr ? 0 : d_x->outerStride()};
      return table;
    };
    Index* offset = scratch.take<Index>(1);
    *offset = options.offset.value_or(k.rows() - q.rows());
    const bool of_bias = gradients != nullptr && gradients->bias.size() > 0;
    const bool of_sinks = gradients != nullptr && gradients->sinks.size() > 0;
    return {.operand = {.q = q,
                        .k = table_of(k, shape.width, gradients == nullptr ? nullptr : &gradients->k),
                        .mask = options.mask,
                        .scale = static_cast<Scalar>(scale),
                        .log_sum_exp = log_sum_exp,
                        .probabilities = {},
                        .soft_cap = static_cast<Scalar>(options.soft_cap),
                        .slopes = list(options.slopes, scratch),
                        .bias = biases(options, q.rows(), scratch, of_bias ? &gradients->bias : nullptr),
                        .sinks = list(options.sinks, scratch),
                        .d_sinks = of_sinks ? gradients->sinks.data() : nullptr,
                        .offsets = offset,
                        .precision = options.precision},
            .v = table_of(v, shape.value_width, gradients == nullptr ? nullptr : &gradients->v)};
  }

  static HeadTable<ScoreBias<Scalar>> biases(const AttendOptions& options, Index rows, Arena& scratch,
                                             Matrix<Scalar>* d_bias) {
    if (!options.bias.given() && !options.shown.given()) return {};
    const auto table = HeadTable<ScoreBias<Scalar>>::make(scratch, 1, options.heads);
    for (Index h = 0; h < options.heads; ++h) {
      ScoreBias<Scalar>& entry = table.at(0, h);
      // of one row, of all heads together, or each of its own
      const auto from = [&](const auto& pairs) { return pairs.rows() > rows ? h * rows : Index(0); };
      const auto stride = [&](const auto& pairs, Index of) { return pairs.rows() == 1 ? Index(0) : of; };
      if (options.bias.given()) {
        entry.added = options.bias.template data<Scalar>() + from(options.bias) * options.bias.stride();
        entry.stride = stride(options.bias, options.bias.stride());
      }
      if (options.shown.given()) {
        entry.shown = options.shown.data() + from(options.shown) * options.shown.stride();
        entry.shown_stride = stride(options.shown, options.shown.stride());
      }
      if (d_bias != nullptr) {
        entry.gradient = d_bias->data() + from(*d_bias) * d_bias->outerStride();
        entry.gradient_stride = stride(*d_bias, d_bias->outerStride());
      }
    }
    return table;
  }
};

template <class Scalar>
void attend_views(View<Scalar> q, View<Scalar> k, View<Scalar> v, const AttendOptions& options, MutableView<Scalar> y,
                  MutableView<Scalar>* log_sum_exp, Workers& workers) {
  const AttendShape shape = expects_attendable(q, k, v, options);
  expects_shape("attend: y", y, q.rows(), shape.heads * shape.value_width);
  y.setZero();
  workers.run(1, [&](Index, Arena& scratch) {
    const auto call = AttendCall<Scalar>::make(
        q, k, v, options, shape, log_sum_exp != nullptr ? *log_sum_exp : scratch.matrix<Scalar>(q.rows(), shape.heads),
        scratch);
    const Index offsets[] = {0, q.rows()};
    attend(call.operand, call.v, Division(offsets), y, workers);
  });
}

template <class Scalar>
void attend_backward_views(View<Scalar> q, View<Scalar> k, View<Scalar> v, const AttendOptions& options,
                           const Attended<Scalar>& forward, View<Scalar> d_y, const Matrix<Scalar>* d_log_sum_exp,
                           AttendGradients<Scalar>& gradients, Workers& workers) {
  const AttendShape shape = expects_attendable(q, k, v, options);
  const Index width = shape.heads * shape.value_width;
  expects_shape("attend_backward: y", forward.y, q.rows(), width);
  expects_shape("attend_backward: log_sum_exp", forward.log_sum_exp, q.rows(), shape.heads);
  expects_shape("attend_backward: d_y", d_y, q.rows(), width);
  if (d_log_sum_exp != nullptr) expects_shape("attend_backward: d_log_sum_exp", *d_log_sum_exp, q.rows(), shape.heads);
  expects_shape("attend_backward: gradient of q", gradients.q, q.rows(), q.cols());
  expects_shape("attend_backward: gradient of k", gradients.k, k.rows(), k.cols());
  expects_shape("attend_backward: gradient of v", gradients.v, v.rows(), v.cols());
  if (gradients.sinks.size() > 0)
    expects_shape("attend_backward: gradient of sinks", gradients.sinks, options.sinks.rows(), options.sinks.cols());
  if (gradients.bias.size() > 0)
    expects_shape("attend_backward: gradient of bias", gradients.bias, options.bias.rows(), options.bias.cols());
  workers.run(1, [&](Index, Arena& scratch) {
    // Backward only reads it.
    Matrix<Scalar>& log_sum_exp = const_cast<Matrix<Scalar>&>(forward.log_sum_exp);
    auto call = AttendCall<Scalar>::make(q, k, v, options, shape, mutable_view_of(log_sum_exp), scratch, &gradients);
    if (d_log_sum_exp != nullptr) call.operand.d_log_sum_exp = d_log_sum_exp->data();
    const Index offsets[] = {0, q.rows()};
    attend_backward(call.operand, call.v, Division(offsets), view_of(forward.y), d_y, mutable_view_of(gradients.q),
                    workers);
  });
}

/// A type, not a function, so that the sentence comes before the errors that follow from its cause.
template <class Scalar, class... Others>
struct OneScalar {
  static_assert(std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>,
                "heed: attend computes in float or double");
  static_assert((std::is_same_v<Scalar, Others> && ...), "heed: attend takes q, k, v and y of one scalar type");
  using type = Scalar;
};

}  // namespace detail

/// y = softmax(mask(scale q_h k_{h/g}^T)) v_{h/g} for every head h, side by side; and what the options say
///   q [T x H*E], k [S x G*E], v [S x G*E_v], y [T x H*E_v], all row-major, of float or double
///   New row i is at position i + offset; a row that sees nothing is zero.
///   ShapeError unless G divides H and the shapes, of options too, are these: before y changes
///   source  Vaswani et al. 2017 (arXiv 1706.03762), eq. 1; Ainslie et al. 2023 (arXiv 2305.13245) for G < H
template <class Q, class K, class V, class Y>
void attend_into(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                 const AttendOptions& options, const Eigen::MatrixBase<Y>& y, Workers& workers) {
  using Scalar =
      typename detail::OneScalar<typename Q::Scalar, typename K::Scalar, typename V::Scalar, typename Y::Scalar>::type;
  detail::attend_views<Scalar>(view_of(q), view_of(k), view_of(v), options, mutable_view_of(y), nullptr, workers);
}

/// The same on the calling thread.
template <class Q, class K, class V, class Y>
void attend_into(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                 const AttendOptions& options, const Eigen::MatrixBase<Y>& y) {
  Workers workers;
  attend_into(q, k, v, options, y, workers);
}

/// The same, returned.
template <class Q, class K, class V>
Matrix<typename Q::Scalar> attend(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k,
                                  const Eigen::MatrixBase<V>& v, const AttendOptions& options = {}) {
  const Index kv_heads = options.kv_heads == 0 ? options.heads : options.kv_heads;
  const Index value_width = kv_heads > 0 ? v.cols() / kv_heads : 0;
  Matrix<typename Q::Scalar> y(q.rows(), (std::max)(Index(0), options.heads) * value_width);
  attend_into(q, k, v, options, y);
  return y;
}

/// The same with the log-sum-exp of every row and head, for backward and for `merge`. Allocates unless `out` has its
/// shapes.
template <class Q, class K, class V>
void attend_into(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                 const AttendOptions& options, Attended<typename Q::Scalar>& out, Workers& workers) {
  using Scalar = typename detail::OneScalar<typename Q::Scalar, typename K::Scalar, typename V::Scalar>::type;
  const auto shape = detail::expects_attendable<Scalar>(view_of(q), view_of(k), view_of(v), options);
  out.y.resize(q.rows(), shape.heads * shape.value_width);
  out.log_sum_exp.resize(q.rows(), shape.heads);
  MutableView<Scalar> log_sum_exp = mutable_view_of(out.log_sum_exp);
  detail::attend_views<Scalar>(view_of(q), view_of(k), view_of(v), options, mutable_view_of(out.y), &log_sum_exp, workers);
}

/// The same on the calling thread.
template <class Q, class K, class V>
void attend_into(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                 const AttendOptions& options, Attended<typename Q::Scalar>& out) {
  Workers workers;
  attend_into(q, k, v, options, out, workers);
}

/// y = attend(q, k, v)  =>  adds to the gradients of q, k and v, and of sinks and bias where they are not empty
///   forward   what attend_into gave for the same q, k, v and options
///   d_y       [T x H*E_v]
///   ShapeError unless every gradient has the shape of what it belongs to: before any of them changes
///   source    Dao 2023 (arXiv 2307.08691), algorithm 2
template <class Q, class K, class V, class D>
void attend_backward_into(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                          const AttendOptions& options, const Attended<typename Q::Scalar>& forward,
                          const Eigen::MatrixBase<D>& d_y, AttendGradients<typename Q::Scalar>& gradients,
                          Workers& workers) {
  using Scalar =
      typename detail::OneScalar<typename Q::Scalar, typename K::Scalar, typename V::Scalar, typename D::Scalar>::type;
  detail::attend_backward_views<Scalar>(view_of(q), view_of(k), view_of(v), options, forward, view_of(d_y), nullptr,
                                        gradients, workers);
}

/// The same where the log-sum-exp has a gradient too, as after `merge`.
template <class Q, class K, class V>
void attend_backward_into(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                          const AttendOptions& options, const Attended<typename Q::Scalar>& forward,
                          const Attended<typename Q::Scalar>& d_forward, AttendGradients<typename Q::Scalar>& gradients,
                          Workers& workers) {
  using Scalar = typename detail::OneScalar<typename Q::Scalar, typename K::Scalar, typename V::Scalar>::type;
  detail::attend_backward_views<Scalar>(view_of(q), view_of(k), view_of(v), options, forward, view_of(d_forward.y),
                                        &d_forward.log_sum_exp, gradients, workers);
}

/// The same on the calling thread, from zero, returned; with the gradients of sinks and bias where the options have them.
template <class Q, class K, class V, class D>
AttendGradients<typename Q::Scalar> attend_backward(const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k,
                                                    const Eigen::MatrixBase<V>& v, const AttendOptions& options,
                                                    const Attended<typename Q::Scalar>& forward,
                                                    const Eigen::MatrixBase<D>& d_y) {
  const auto zeros = [](Index rows, Index cols) -> Matrix<typename Q::Scalar> {
    return Matrix<typename Q::Scalar>::Zero(rows, cols);
  };
  AttendGradients<typename Q::Scalar> gradients{
      zeros(q.rows(), q.cols()), zeros(k.rows(), k.cols()), zeros(v.rows(), v.cols()),
      zeros(options.sinks.rows(), options.sinks.cols()), zeros(options.bias.rows(), options.bias.cols())};
  Workers workers;
  attend_backward_into(q, k, v, options, forward, d_y, gradients, workers);
  return gradients;
}

}  // namespace heed::inline HEED_ABI
