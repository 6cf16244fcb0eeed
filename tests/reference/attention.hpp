// Attention as its definition reads: plain loops over one head of one sequence.
//
//   z_ij = scale q_i . k_j where row i sees key j      a_i = softmax(z_i)      o_i = sum_j a_ij v_j
//
// Row i is at position i + S - T and sees the keys from `left` before to `right` after its position. A row that sees
// nothing has a = 0 and o = 0. Nothing is read of a key that a row does not see.
#pragma once

#include <cmath>
#include <cstddef>
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
  Scalar operator()(std::ptrdiff_t i, std::ptrdiff_t j) const { return data[static_cast<std::size_t>(i * cols + j)]; }
};

struct Sight {
  std::ptrdiff_t left, right;
  bool operator()(std::ptrdiff_t position, std::ptrdiff_t key) const {
    return key >= position - left && key <= position + right;
  }
};

template <class Scalar>
struct Attention {
  Rows<Scalar> a;                   // [T x S]
  Rows<Scalar> o;                   // [T x E_v]
  std::vector<Scalar> log_sum_exp;  // [T]
};

template <class Scalar>
Rows<Scalar> probabilities_times_values(const Rows<Scalar>& a, const Rows<Scalar>& v, Sight sees) {
  Rows<Scalar> o(a.rows, v.cols);
  for (std::ptrdiff_t i = 0; i < a.rows; ++i)
    for (std::ptrdiff_t e = 0; e < v.cols; ++e)
      for (std::ptrdiff_t j = 0; j < a.cols; ++j)
        if (sees(i + a.cols - a.rows, j)) o(i, e) += a(i, j) * v(j, e);
  return o;
}

template <class Scalar>
Attention<Scalar> attention(const Rows<Scalar>& q, const Rows<Scalar>& k, const Rows<Scalar>& v, Sight sees, Scalar scale) {
  Attention<Scalar> out{Rows<Scalar>(q.rows, k.rows), {}, std::vector<Scalar>(static_cast<std::size_t>(q.rows))};
  const std::ptrdiff_t past = k.rows - q.rows;
  for (std::ptrdiff_t i = 0; i < q.rows; ++i) {
    Scalar maximum = -std::numeric_limits<Scalar>::infinity();
    for (std::ptrdiff_t j = 0; j < k.rows; ++j) {
      if (!sees(i + past, j)) continue;
      Scalar z = 0;
      for (std::ptrdiff_t e = 0; e < q.cols; ++e) z += q(i, e) * k(j, e);
      out.a(i, j) = scale * z;
      if (!(out.a(i, j) <= maximum)) maximum = out.a(i, j);
    }
    Scalar sum = 0;
    for (std::ptrdiff_t j = 0; j < k.rows; ++j)
      if (sees(i + past, j)) sum += out.a(i, j) = std::exp(out.a(i, j) - maximum);
    for (std::ptrdiff_t j = 0; j < k.rows; ++j)
      if (sees(i + past, j)) out.a(i, j) /= sum;
    out.log_sum_exp[static_cast<std::size_t>(i)] =
        sum == 0 ? -std::numeric_limits<Scalar>::infinity() : maximum + std::log(sum);
  }
  out.o = probabilities_times_values(out.a, v, sees);
  return out;
}

template <class Scalar>
struct AttentionGradients {
  Rows<Scalar> q, k, v;
  Rows<Scalar> a;  // of the probabilities, echo among it
};

/// Of dot(o, d_o) + dot(a, echo); echo may be empty.
template <class Scalar>
AttentionGradients<Scalar> attention_backward(const Rows<Scalar>& q, const Rows<Scalar>& k, const Rows<Scalar>& v,
                                              Sight sees, Scalar scale, const Rows<Scalar>& a, const Rows<Scalar>& d_o,
                                              const Rows<Scalar>& echo) {
  AttentionGradients<Scalar> d{Rows<Scalar>(q.rows, q.cols), Rows<Scalar>(k.rows, k.cols), Rows<Scalar>(v.rows, v.cols),
                               Rows<Scalar>(a.rows, a.cols)};
  const std::ptrdiff_t past = k.rows - q.rows;
  for (std::ptrdiff_t i = 0; i < a.rows; ++i) {
    Scalar mean = 0;
    for (std::ptrdiff_t j = 0; j < a.cols; ++j) {
      if (!sees(i + past, j)) continue;
      for (std::ptrdiff_t e = 0; e < v.cols; ++e) {
        d.v(j, e) += a(i, j) * d_o(i, e);
        d.a(i, j) += d_o(i, e) * v(j, e);
      }
      if (echo.rows > 0) d.a(i, j) += echo(i, j);
      mean += a(i, j) * d.a(i, j);
    }
    for (std::ptrdiff_t j = 0; j < a.cols; ++j) {
      if (!sees(i + past, j)) continue;
      const Scalar d_z = scale * a(i, j) * (d.a(i, j) - mean);
      for (std::ptrdiff_t e = 0; e < q.cols; ++e) {
        d.q(i, e) += d_z * k(j, e);
        d.k(j, e) += d_z * q(i, e);
      }
    }
  }
  return d;
}

}  // namespace reference
