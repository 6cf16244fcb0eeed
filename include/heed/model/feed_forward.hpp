// y += (silu(x W_gate) * (x W_up)) W_down
//
//   x, y [T x D]   W_gate, W_up [D x F]   W_down [F x D]
// Source: Shazeer 2020 (arXiv 2002.05202), eq. 6 (SwiGLU).
#pragma once

#include "../core/pass.hpp"
#include "../core/visit.hpp"
#include "../mixers/shape.hpp"
#include "../ops/activation.hpp"
#include "../ops/linear.hpp"

namespace heed::inline HEED_ABI {

struct SwiGlu {
  struct Config {};

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w_gate;  // [D x F]
    Matrix<Scalar> w_up;    // [D x F]
    Matrix<Scalar> w_down;  // [F x D]

    Params() = default;
    Params(const Shape& shape, const Config&)
        : w_gate(shape.width, shape.hidden), w_up(shape.width, shape.hidden), w_down(shape.hidden, shape.width) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_gate", Role::matrix, p.w_gate...);
      f("w_up", Role::matrix, p.w_up...);
      f("w_down", Role::output, p.w_down...);
    }
  };

  template <class Scalar>
  struct Record {
    const Scalar* gate = nullptr;  // [T x F]
    const Scalar* up = nullptr;    // [T x F]
  };

  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>& params, Record<Scalar>& record, const Pass& pass,
                    const View<Scalar>& x, MutableView<Scalar> y) {
    const Index width = params.w_gate.cols();
    MutableView<Scalar> gate = pass.record().zeros<Scalar>(x.rows(), width);  // [T x F]
    MutableView<Scalar> up = pass.record().zeros<Scalar>(x.rows(), width);    // [T x F]
    linear(x, params.w_gate, gate, pass.workers);
    linear(x, params.w_up, up, pass.workers);
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> hidden = pass.scratch.matrix<Scalar>(x.rows(), width);  // [T x F]
    glu<Silu>(gate, up, hidden, pass.workers);
    linear(hidden, params.w_down, y, pass.workers);
    record = {gate.data(), up.data()};
  }

  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>& params, const Record<Scalar>& record, const Pass& pass,
                       const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const Index width = params.w_gate.cols();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> gate = view_of(record.gate, x.rows(), width, width);     // [T x F]
    const View<Scalar> up = view_of(record.up, x.rows(), width, width);         // [T x F]
    MutableView<Scalar> hidden = pass.scratch.matrix<Scalar>(x.rows(), width);  // [T x F]
    MutableView<Scalar> d_hidden = pass.scratch.zeros<Scalar>(x.rows(), width);
    MutableView<Scalar> d_gate = pass.scratch.zeros<Scalar>(x.rows(), width);
    MutableView<Scalar> d_up = pass.scratch.zeros<Scalar>(x.rows(), width);
    glu<Silu>(gate, up, hidden, pass.workers);
    // y += hidden w_down   =>   d_hidden += d_y w_down^T,  d_w_down += hidden^T d_y
    linear_backward(hidden, params.w_down, d_y, d_hidden, gradients.w_down, pass.workers);
    // hidden = silu(gate) * up
    glu_backward<Silu>(gate, up, d_hidden, d_gate, d_up, pass.workers);
    // up = x w_up
    linear_backward(x, params.w_up, d_up, d_x, gradients.w_up, pass.workers);
    // gate = x w_gate
    linear_backward(x, params.w_gate, d_gate, d_x, gradients.w_gate, pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
