// A mixer from scratch, as a user would write one: no attention, no head, a cache of one row.
//
//   s_t = m * x_t + (1 - m) * x_{t-1},   x_{-1} = 0        y_t += s_t W
//
//   x, y, s [T x D]   m [1 x D]   W [D x D]
// Source: Peng et al. 2023 (arXiv 2305.13048), section 3.1.1.
#pragma once

#include <algorithm>
#include <heed/core/pieces.hpp>
#include <heed/mixers/mixer.hpp>
#include <heed/ops/linear.hpp>

namespace app {

using heed::Index;
using heed::Matrix;
using heed::MutableView;
using heed::View;

struct TokenShift {
  static constexpr std::string_view name = "token shift";
  using consumes = heed::signals<>;
  using publishes = heed::signals<>;

  struct Config {};

  template <class Scalar>
  struct Params {
    Matrix<Scalar> m;  // [1 x D]
    Matrix<Scalar> w;  // [D x D]

    Params() = default;
    Params(const heed::Shape& shape, const Config&)
        : m(Matrix<Scalar>::Constant(1, shape.width, Scalar(0.5))), w(shape.width, shape.width) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("m", heed::Role::coefficient, p.m...);
      f("w", heed::Role::output, p.w...);
    }
  };

  template <class Scalar>
  struct Cache {
    heed::CachedStates<Scalar> last;  // the last row of every sequence

    Cache(const heed::Shape& shape, const Config&, const heed::CacheSize& size) : last(size, shape.width) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("last", c.last...);
    }
  };
  static heed::CachePlan plan(const heed::Shape& shape, const Config&) { return {.per_state = shape.width}; }

  template <class Scalar>
  struct Record {
    const Scalar* before = nullptr;   // [T x D] x_{t-1}
    const Scalar* shifted = nullptr;  // [T x D] s
  };

  template <class Scalar>
  static void apply(const heed::Call<TokenShift, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const heed::Pass& pass = call.pass;
    const Index D = x.cols();
    MutableView<Scalar> before = pass.record().zeros<Scalar>(x.rows(), D);
    MutableView<Scalar> shifted = pass.record().matrix<Scalar>(x.rows(), D);
    heed::for_each_piece(pass, [&](const heed::Piece& piece) {
      for (Index b = 0; b < piece.sequences(); ++b) {
        const heed::StateSlots slots = piece.slots[static_cast<std::size_t>(b)];
        const Scalar* read = call.cache.last.at(b, slots.read);
        Scalar* write = call.cache.last.at(b, slots.write);
        const Index begin = piece.rows.begin(b);
        const Index rows = piece.rows.rows(b);
        const bool past = piece.past[static_cast<std::size_t>(b)] > 0;
        if (rows == 0) continue;
        if (past) std::copy(read, read + D, before.row(begin).data());
        for (Index t = 1; t < rows; ++t) before.row(begin + t) = x.row(begin + t - 1);
        std::copy(x.row(begin + rows - 1).data(), x.row(begin + rows - 1).data() + D, write);
      }
    });
    const auto m = call.params.m.row(0).array();
    for (Index t = 0; t < x.rows(); ++t) shifted.row(t) = m * x.row(t).array() + (1 - m) * before.row(t).array();
    heed::linear(shifted, call.params.w, y, pass.workers);
    call.record.before = before.data();
    call.record.shifted = shifted.data();
  }

  template <class Scalar>
  static void backward(const heed::Call<TokenShift, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const heed::Pass& pass = call.pass;
    const Index D = x.cols();
    const View<Scalar> before = heed::view_of(call.record.before, x.rows(), D, D);
    const View<Scalar> shifted = heed::view_of(call.record.shifted, x.rows(), D, D);
    MutableView<Scalar> d_s = pass.scratch.zeros<Scalar>(x.rows(), D);
    // y += s w   =>   d_s += d_y w^T,  d_w += s^T d_y
    heed::linear_backward(shifted, call.params.w, d_y, d_s, gradients.w, pass.workers);
    // s_t = m x_t + (1 - m) x_{t-1}   =>   d_x_t += m d_s_t,  d_x_{t-1} += (1 - m) d_s_t,  d_m += d_s_t (x_t - x_{t-1})
    const auto m = call.params.m.row(0).array();
    for (Index b = 0; b < pass.sequences(); ++b)
      for (Index t = 0; t < pass.rows.rows(b); ++t) {
        const Index row = pass.rows.begin(b) + t;
        gradients.m.row(0).array() += d_s.row(row).array() * (x.row(row) - before.row(row)).array();
        if (t > 0) d_x.row(row - 1).array() += (1 - m) * d_s.row(row).array();
        d_x.row(row).array() += m * d_s.row(row).array();
      }
  }
};

}  // namespace app
