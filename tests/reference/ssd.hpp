// The recurrence of Mamba-2 by its definition: one head of one sequence, step by step; as one masked attention; and the
// gradient of the step recurrence.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>
#include <vector>

namespace heed::reference {

template <class Scalar>
struct SsdHead {
  Matrix<Scalar> x;   // [T x P]
  Matrix<Scalar> dt;  // [T x 1]
  Matrix<Scalar> b;   // [T x N]
  Matrix<Scalar> c;   // [T x N]
  Scalar a, d;

  template <class Other>
  SsdHead<Other> as() const {
    return {x.template cast<Other>(),
            dt.template cast<Other>(),
            b.template cast<Other>(),
            c.template cast<Other>(),
            Other(a),
            Other(d)};
  }
};

template <class Scalar>
struct SsdResult {
  Matrix<Scalar> y;      // [T x P]
  Matrix<Scalar> state;  // [N x P]
};

// S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T x_t,  y_t = c_t S_t + d x_t
template <class Scalar>
SsdResult<Scalar> ssd_recurrent(const SsdHead<Scalar>& in, Matrix<Scalar> state) {
  using std::exp;  // and that of dual numbers
  const Index T = in.x.rows(), P = in.x.cols(), N = in.b.cols();
  Matrix<Scalar> y(T, P);
  for (Index t = 0; t < T; ++t) {
    const Scalar decay = exp(in.dt(t, 0) * in.a);
    for (Index p = 0; p < P; ++p) {
      Scalar sum = in.d * in.x(t, p);
      for (Index n = 0; n < N; ++n) {
        state(n, p) = decay * state(n, p) + in.dt(t, 0) * in.b(t, n) * in.x(t, p);
        sum += in.c(t, n) * state(n, p);
      }
      y(t, p) = sum;
    }
  }
  return {y, state};
}

// y = (M o c b^T) (dt o x) + d x,  M_ts = exp(dt_{s+1} a + ... + dt_t a) for s <= t; from the zero state.
template <class Scalar>
Matrix<Scalar> ssd_quadratic(const SsdHead<Scalar>& in) {
  const Index T = in.x.rows(), P = in.x.cols(), N = in.b.cols();
  Matrix<Scalar> y(T, P);
  for (Index t = 0; t < T; ++t) {
    for (Index p = 0; p < P; ++p) y(t, p) = in.d * in.x(t, p);
    Scalar sum = 0;
    for (Index s = t; s >= 0; --s) {
      Scalar score = 0;
      for (Index n = 0; n < N; ++n) score += in.c(t, n) * in.b(s, n);
      for (Index p = 0; p < P; ++p) y(t, p) += std::exp(sum) * score * in.dt(s, 0) * in.x(s, p);
      sum += in.dt(s, 0) * in.a;
    }
  }
  return y;
}

template <class Scalar>
struct SsdHeadGradient {
  Matrix<Scalar> x, dt, b, c;
  Scalar a, d;
};

// From the zero state. L_t is the gradient of S_t.
template <class Scalar>
SsdHeadGradient<Scalar> ssd_backward(const SsdHead<Scalar>& in, const Matrix<Scalar>& d_y) {
  const Index T = in.x.rows(), P = in.x.cols(), N = in.b.cols();
  std::vector<Matrix<Scalar>> states = {Matrix<Scalar>::Zero(N, P)};
  for (Index t = 0; t < T; ++t) {
    const SsdHead<Scalar> step{in.x.row(t), in.dt.row(t), in.b.row(t), in.c.row(t), in.a, in.d};
    states.push_back(ssd_recurrent(step, states.back()).state);
  }
  SsdHeadGradient<Scalar> d{Matrix<Scalar>::Zero(T, P),
                            Matrix<Scalar>::Zero(T, 1),
                            Matrix<Scalar>::Zero(T, N),
                            Matrix<Scalar>::Zero(T, N),
                            Scalar(0),
                            Scalar(0)};
  Matrix<Scalar> d_state = Matrix<Scalar>::Zero(N, P);
  for (Index t = T - 1; t >= 0; --t) {
    const Scalar dt = in.dt(t, 0), decay = std::exp(dt * in.a);
    const Matrix<Scalar>& before = states[std::size_t(t)];
    const Matrix<Scalar>& after = states[std::size_t(t) + 1];
    Scalar through_decay = 0;
    for (Index p = 0; p < P; ++p) {
      d.d += d_y(t, p) * in.x(t, p);
      d.x(t, p) += in.d * d_y(t, p);
    }
    for (Index n = 0; n < N; ++n)
      for (Index p = 0; p < P; ++p) {
        const Scalar g = d_state(n, p) + in.c(t, n) * d_y(t, p);
        d.c(t, n) += after(n, p) * d_y(t, p);
        d.b(t, n) += dt * g * in.x(t, p);
        d.x(t, p) += dt * g * in.b(t, n);
        d.dt(t, 0) += in.b(t, n) * g * in.x(t, p);
        through_decay += g * decay * before(n, p);
        d_state(n, p) = decay * g;
      }
    d.a += dt * through_decay;
    d.dt(t, 0) += in.a * through_decay;
  }
  return d;
}

}  // namespace heed::reference
