// Attention as its definition reads: plain loops over one head of one sequence.
//
//   z_ij = scale q_i . k_j         z_ij <- cap tanh(z_ij / cap)        z_ij <- z_ij - slope |p_i - j| + bias_ij
//   a_ij = e^(z_ij - lse_i) where row i sees key j                     lse_i = log(e^sink + sum_j e^z_ij)
//   o_i  = sum_j a_ij v_j
//
// Row i is at position p_i = i + offset. A row that sees nothing has a = 0 and o = 0. Nothing is read of a key that a row
// does not see.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <vector>

namespace reference {

/// Row-major and nothing else.
template <class Scalar>
struct Rows {
  std::ptrdiff_t rows = 0, cols = 0;
  std::vector<Scalar> data;

  Rows() = default;
  Rows(std::ptrdiff_t r, std::ptrdiff_t c) : rows(r), cols(c), data(static_cast<std::size_t>(r * c), Scalar(0)) {}
  Scalar& operator()(std::ptrdiff_t i, std::ptrdiff_t j) { return data[static_cast<std::size_t>(i * cols + j)]; }
  const Scalar& operator()(std::ptrdiff_t i, std::ptrdiff_t j) const {
    return data[static_cast<std::size_t>(i * cols + j)];
  }
};

/// Whether a row at a position sees a key.
using Sight = std::function<bool(std::ptrdiff_t position, std::ptrdiff_t key)>;

/// How logits are made of queries and keys.
template <class Scalar>
struct Logits {
  Sight sees;
  std::ptrdiff_t offset = 0;  // position of row 0
  Scalar scale = Scalar(1);
  Scalar soft_cap = Scalar(0);  // 0: none
  Scalar slope = Scalar(0);
  Rows<Scalar> bias;  // [T x S], -inf hides; or empty
  Scalar sink = Scalar(-std::numeric_limits<double>::infinity());

  bool see(std::ptrdiff_t i, std::ptrdiff_t j) const {
    return sees(i + offset, j) && (bias.rows == 0 || bias(i, j) != Scalar(-std::numeric_limits<double>::infinity()));
  }
  /// scale q_i . k_j after the cap
  Scalar product(const Rows<Scalar>& q, const Rows<Scalar>& k, std::ptrdiff_t i, std::ptrdiff_t j) const {
    using std::tanh;
    Scalar z = Scalar(0);
    for (std::ptrdiff_t e = 0; e < q.cols; ++e) z += q(i, e) * k(j, e);
    z = scale * z;
    if (soft_cap > Scalar(0)) z = soft_cap * tanh(z / soft_cap);
    return z;
  }
  Scalar added(std::ptrdiff_t i, std::ptrdiff_t j) const {
    const std::ptrdiff_t ahead = i + offset - j;
    const Scalar of_distance = -slope * Scalar(static_cast<double>(ahead < 0 ? -ahead : ahead));
    return bias.rows == 0 ? of_distance : Scalar(of_distance + bias(i, j));
  }
};

template <class Scalar>
struct Attention {
  Rows<Scalar> a;                   // [T x S]
  Rows<Scalar> o;                   // [T x E_v]
  std::vector<Scalar> log_sum_exp;  // [T]
};

template <class Scalar>
Rows<Scalar> probabilities_times_values(const Rows<Scalar>& a, const Rows<Scalar>& v, const Logits<Scalar>& logits) {
  Rows<Scalar> o(a.rows, v.cols);
  for (std::ptrdiff_t i = 0; i < a.rows; ++i)
    for (std::ptrdiff_t e = 0; e < v.cols; ++e)
      for (std::ptrdiff_t j = 0; j < a.cols; ++j)
        if (logits.see(i, j)) o(i, e) += a(i, j) * v(j, e);
  return o;
}

template <class Scalar>
Attention<Scalar> attention(const Rows<Scalar>& q, const Rows<Scalar>& k, const Rows<Scalar>& v,
                            const Logits<Scalar>& logits) {
  using std::exp;
  using std::log;
  Attention<Scalar> out{Rows<Scalar>(q.rows, k.rows), {}, std::vector<Scalar>(static_cast<std::size_t>(q.rows))};
  const Scalar nothing = Scalar(-std::numeric_limits<double>::infinity());
  for (std::ptrdiff_t i = 0; i < q.rows; ++i) {
    Scalar maximum = logits.sink;
    for (std::ptrdiff_t j = 0; j < k.rows; ++j) {
      if (!logits.see(i, j)) continue;
      out.a(i, j) = logits.product(q, k, i, j) + logits.added(i, j);
      if (!(out.a(i, j) <= maximum)) maximum = out.a(i, j);
    }
    Scalar sum = logits.sink == nothing ? Scalar(0) : Scalar(exp(logits.sink - maximum));
    for (std::ptrdiff_t j = 0; j < k.rows; ++j)
      if (logits.see(i, j)) sum += out.a(i, j) = exp(out.a(i, j) - maximum);
    for (std::ptrdiff_t j = 0; j < k.rows; ++j)
      if (logits.see(i, j)) out.a(i, j) = out.a(i, j) / sum;
    out.log_sum_exp[static_cast<std::size_t>(i)] = sum == Scalar(0) ? nothing : Scalar(maximum + log(sum));
  }
  out.o = probabilities_times_values(out.a, v, logits);
  return out;
}

template <class Scalar>
struct AttentionGradients {
  Rows<Scalar> q, k, v;
  Rows<Scalar> a;     // of the probabilities, echo among it
  Rows<Scalar> bias;  // [T x S]
  Scalar sink = Scalar(0);
};

/// Of dot(o, d_o) + dot(a, echo); echo may be empty.
template <class Scalar>
AttentionGradients<Scalar> attention_backward(const Rows<Scalar>& q, const Rows<Scalar>& k, const Rows<Scalar>& v,
                                              const Logits<Scalar>& logits, const Attention<Scalar>& forward,
                                              const Rows<Scalar>& d_o, const Rows<Scalar>& echo) {
  const Rows<Scalar>& a = forward.a;
  AttentionGradients<Scalar> d{Rows<Scalar>(q.rows, q.cols), Rows<Scalar>(k.rows, k.cols), Rows<Scalar>(v.rows, v.cols),
                               Rows<Scalar>(a.rows, a.cols), Rows<Scalar>(a.rows, a.cols)};
  for (std::ptrdiff_t i = 0; i < a.rows; ++i) {
    Scalar mean = Scalar(0);
    for (std::ptrdiff_t j = 0; j < a.cols; ++j) {
      if (!logits.see(i, j)) continue;
      for (std::ptrdiff_t e = 0; e < v.cols; ++e) {
        d.v(j, e) += a(i, j) * d_o(i, e);
        d.a(i, j) += d_o(i, e) * v(j, e);
      }
      if (echo.rows > 0) d.a(i, j) += echo(i, j);
      mean += a(i, j) * d.a(i, j);
    }
    for (std::ptrdiff_t j = 0; j < a.cols; ++j) {
      if (!logits.see(i, j)) continue;
      Scalar d_z = a(i, j) * (d.a(i, j) - mean);
      d.bias(i, j) = d_z;
      if (logits.soft_cap > 0) {
        const Scalar t = logits.product(q, k, i, j) / logits.soft_cap;
        d_z *= 1 - t * t;
      }
      d_z *= logits.scale;
      for (std::ptrdiff_t e = 0; e < q.cols; ++e) {
        d.q(i, e) += d_z * k(j, e);
        d.k(j, e) += d_z * q(i, e);
      }
    }
    // the sink's value is zero, so its probability times (0 - mean)
    if (logits.sink > -std::numeric_limits<Scalar>::infinity())
      d.sink -= std::exp(logits.sink - forward.log_sum_exp[static_cast<std::size_t>(i)]) * mean;
  }
  return d;
}

}  // namespace reference
