// The recurrence of Mamba-1 by its definition: one sequence, number by number, and the gradient of its steps.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>
#include <vector>

namespace heed::reference {

template <class Scalar>
struct SelectiveScan {
  Matrix<Scalar> x;   // [T x C]
  Matrix<Scalar> dt;  // [T x C]
  Matrix<Scalar> a;   // [N x C]
  Matrix<Scalar> b;   // [T x groups N]
  Matrix<Scalar> c;   // [T x groups N]
  Matrix<Scalar> d;   // [1 x C]
  Index groups = 1;

  template <class Other>
  SelectiveScan<Other> as() const {
    return {x.template cast<Other>(),
            dt.template cast<Other>(),
            a.template cast<Other>(),
            b.template cast<Other>(),
            c.template cast<Other>(),
            d.template cast<Other>(),
            groups};
  }
  SelectiveScan row(Index t) const { return {x.row(t), dt.row(t), a, b.row(t), c.row(t), d, groups}; }
  // The column of b and c that state n of channel i reads.
  Index column(Index i, Index n) const { return i * groups / x.cols() * a.rows() + n; }
};

template <class Scalar>
struct SelectiveScanResult {
  Matrix<Scalar> y;      // [T x C]
  Matrix<Scalar> state;  // [N x C]
};

// h_tn = exp(dt_t a_n) h_{t-1,n} + dt_t x_t b_tn,   y_t = sum_n c_tn h_tn + d x_t
template <class Scalar>
SelectiveScanResult<Scalar> selective_scan(const SelectiveScan<Scalar>& in, Matrix<Scalar> h) {
  using std::exp;
  Matrix<Scalar> y(in.x.rows(), in.x.cols());
  for (Index t = 0; t < in.x.rows(); ++t)
    for (Index i = 0; i < in.x.cols(); ++i) {
      Scalar sum = in.d(0, i) * in.x(t, i);
      for (Index n = 0; n < in.a.rows(); ++n) {
        const Index column = in.column(i, n);
        h(n, i) = exp(in.dt(t, i) * in.a(n, i)) * h(n, i) + in.dt(t, i) * in.x(t, i) * in.b(t, column);
        sum += in.c(t, column) * h(n, i);
      }
      y(t, i) = sum;
    }
  return {y, h};
}

// From the zero state. d_h is the gradient of h_t.
template <class Scalar>
SelectiveScan<Scalar> selective_scan_backward(const SelectiveScan<Scalar>& in, const Matrix<Scalar>& d_y) {
  const Index T = in.x.rows(), C = in.x.cols(), N = in.a.rows();
  std::vector<Matrix<Scalar>> states = {Matrix<Scalar>::Zero(N, C)};
  for (Index t = 0; t < T; ++t) states.push_back(selective_scan(in.row(t), states.back()).state);

  SelectiveScan<Scalar> d = in;
  for (Matrix<Scalar>* gradient : {&d.x, &d.dt, &d.a, &d.b, &d.c, &d.d}) gradient->setZero();
  Matrix<Scalar> d_state = Matrix<Scalar>::Zero(N, C);
  for (Index t = T - 1; t >= 0; --t)
    for (Index i = 0; i < C; ++i) {
      const Scalar g = d_y(t, i), x = in.x(t, i), dt = in.dt(t, i);
      d.d(0, i) += g * x;
      d.x(t, i) += g * in.d(0, i);
      for (Index n = 0; n < N; ++n) {
        const Index column = in.column(i, n);
        const Scalar decay = std::exp(dt * in.a(n, i)), carried = decay * states[std::size_t(t)](n, i);
        const Scalar d_h = d_state(n, i) + g * in.c(t, column);
        d.c(t, column) += g * states[std::size_t(t) + 1](n, i);
        d.b(t, column) += d_h * dt * x;
        d.x(t, i) += d_h * dt * in.b(t, column);
        d.dt(t, i) += d_h * (in.a(n, i) * carried + in.b(t, column) * x);
        d.a(n, i) += d_h * dt * carried;
        d_state(n, i) = decay * d_h;
      }
    }
  return d;
}

}  // namespace heed::reference
