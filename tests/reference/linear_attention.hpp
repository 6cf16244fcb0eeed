// Linear attention by its definition: one head of one sequence, number by number.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>

namespace heed::reference {

template <class Scalar>
struct LinearAttentionHead {
  Matrix<Scalar> q;     // [T x N]
  Matrix<Scalar> k;     // [T x N]
  Matrix<Scalar> v;     // [T x P]
  Matrix<Scalar> g;     // [T x N], [T x 1] or [T x 0]
  Matrix<Scalar> beta;  // [T x 1] or [T x 0]
  Scalar scale;

  template <class Other>
  LinearAttentionHead<Other> as() const {
    return {q.template cast<Other>(), k.template cast<Other>(),    v.template cast<Other>(),
            g.template cast<Other>(), beta.template cast<Other>(), Other(scale)};
  }
};

template <class Scalar>
struct LinearAttentionResult {
  Matrix<Scalar> y;      // [T x P]
  Matrix<Scalar> state;  // [N x P]
};

// S' = diag(exp(g)) S,   u = v or beta (v - k S'),   S = S' + k^T u,   y = scale q S
template <class Scalar>
LinearAttentionResult<Scalar> linear_attention(const LinearAttentionHead<Scalar>& in, Matrix<Scalar> state) {
  using std::exp;
  const Index T = in.q.rows(), N = in.q.cols(), P = in.v.cols();
  Matrix<Scalar> y(T, P);
  for (Index t = 0; t < T; ++t) {
    if (in.g.cols() > 0)
      for (Index n = 0; n < N; ++n)
        for (Index p = 0; p < P; ++p) state(n, p) *= exp(in.g(t, in.g.cols() == 1 ? 0 : n));
    Matrix<Scalar> u = in.v.row(t);
    if (in.beta.cols() > 0)
      for (Index p = 0; p < P; ++p) {
        for (Index n = 0; n < N; ++n) u(0, p) -= in.k(t, n) * state(n, p);
        u(0, p) *= in.beta(t, 0);
      }
    for (Index p = 0; p < P; ++p) {
      Scalar sum = 0;
      for (Index n = 0; n < N; ++n) {
        state(n, p) += in.k(t, n) * u(0, p);
        sum += in.q(t, n) * state(n, p);
      }
      y(t, p) = in.scale * sum;
    }
  }
  return {y, state};
}

}  // namespace heed::reference
