// What a block does to every row alone: two linear maps with an activation between them, gated or not.
//
//   GatedFeedForward<f>   y += (f(x W_gate + b_gate) * (x W_up + b_up)) W_down + b_down       SwiGlu, GeGlu, ReGlu
//   FeedForward<f>        y += f(x W_up + b_up) W_down + b_down                               f = Relu, Gelu, Silu, ...
//   NoFeedForward         y is as it was
//
//   x, y [T x D]   W_gate, W_up [D x F]   W_down [F x D]   b_gate, b_up [1 x F]   b_down [1 x D], if there are biases
// Sources: Vaswani et al. 2017 (arXiv 1706.03762), eq. 2; Shazeer 2020 (arXiv 2002.05202), eqs. 5 and 6.
#pragma once

#include <concepts>
#include <string_view>

#include "../core/visit.hpp"
#include "../mixers/shape.hpp"
#include "../ops/activation.hpp"
#include "../ops/affine.hpp"

namespace heed::inline HEED_ABI {

struct FeedForwardConfig {
  bool biases = false;

  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("biases", config.biases);
  }
};

namespace detail {

/// [1 x n], or absent.
template <class Scalar>
Matrix<Scalar> bias_of(const FeedForwardConfig& config, Index n) {
  return Matrix<Scalar>(config.biases ? 1 : 0, n);
}

}  // namespace detail

template <Activation Function>
struct GatedFeedForward {
  using Config = FeedForwardConfig;

  template <class Scalar>
  struct Params {
    Weight<Scalar> w_gate;  // [D x F]
    Weight<Scalar> w_up;    // [D x F]
    Weight<Scalar> w_down;  // [F x D]
    Matrix<Scalar> b_gate;  // [1 x F]
    Matrix<Scalar> b_up;    // [1 x F]
    Matrix<Scalar> b_down;  // [1 x D]

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : w_gate(shape.width, shape.hidden),
          w_up(shape.width, shape.hidden),
          w_down(shape.hidden, shape.width),
          b_gate(detail::bias_of<Scalar>(config, shape.hidden)),
          b_up(detail::bias_of<Scalar>(config, shape.hidden)),
          b_down(detail::bias_of<Scalar>(config, shape.width)) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_gate", Role::matrix, p.w_gate...);
      f("w_up", Role::matrix, p.w_up...);
      f("w_down", Role::output, p.w_down...);
      visit_if_present(f, "b_gate", Role::bias, p.b_gate...);
      visit_if_present(f, "b_up", Role::bias, p.b_up...);
      visit_if_present(f, "b_down", Role::bias, p.b_down...);
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
    affine(x, params.w_gate, params.b_gate, gate, pass.workers);
    affine(x, params.w_up, params.b_up, up, pass.workers);
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> hidden = pass.scratch.matrix<Scalar>(x.rows(), width);  // [T x F]
    glu<Function>(gate, up, hidden, pass.workers);
    affine(hidden, params.w_down, params.b_down, y, pass.workers);
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
    glu<Function>(gate, up, hidden, pass.workers);
    // y += hidden w_down + b_down
    affine_backward(hidden, params.w_down, d_y, d_hidden, gradients.w_down, gradients.b_down, pass);
    // hidden = f(gate) * up
    glu_backward<Function>(gate, up, d_hidden, d_gate, d_up, pass.workers);
    // up = x w_up + b_up
    affine_backward(x, params.w_up, d_up, d_x, gradients.w_up, gradients.b_up, pass);
    // gate = x w_gate + b_gate
    affine_backward(x, params.w_gate, d_gate, d_x, gradients.w_gate, gradients.b_gate, pass);
  }
};

using SwiGlu = GatedFeedForward<Silu>;
using GeGlu = GatedFeedForward<Gelu>;
using ReGlu = GatedFeedForward<Relu>;

template <Activation Function>
struct FeedForward {
  using Config = FeedForwardConfig;

  template <class Scalar>
  struct Params {
    Weight<Scalar> w_up;    // [D x F]
    Weight<Scalar> w_down;  // [F x D]
    Matrix<Scalar> b_up;    // [1 x F]
    Matrix<Scalar> b_down;  // [1 x D]

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : w_up(shape.width, shape.hidden),
          w_down(shape.hidden, shape.width),
          b_up(detail::bias_of<Scalar>(config, shape.hidden)),
          b_down(detail::bias_of<Scalar>(config, shape.width)) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_up", Role::matrix, p.w_up...);
      f("w_down", Role::output, p.w_down...);
      visit_if_present(f, "b_up", Role::bias, p.b_up...);
      visit_if_present(f, "b_down", Role::bias, p.b_down...);
    }
  };

  template <class Scalar>
  struct Record {
    const Scalar* up = nullptr;  // [T x F]
  };

  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>& params, Record<Scalar>& record, const Pass& pass,
                    const View<Scalar>& x, MutableView<Scalar> y) {
    const Index width = params.w_up.cols();
    MutableView<Scalar> up = pass.record().zeros<Scalar>(x.rows(), width);  // [T x F]
    affine(x, params.w_up, params.b_up, up, pass.workers);
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> hidden = pass.scratch.matrix<Scalar>(x.rows(), width);  // [T x F]
    activate<Function>(up, hidden, pass.workers);
    affine(hidden, params.w_down, params.b_down, y, pass.workers);
    record = {up.data()};
  }

  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>& params, const Record<Scalar>& record, const Pass& pass,
                       const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const Index width = params.w_up.cols();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> up = view_of(record.up, x.rows(), width, width);         // [T x F]
    MutableView<Scalar> hidden = pass.scratch.matrix<Scalar>(x.rows(), width);  // [T x F]
    MutableView<Scalar> d_hidden = pass.scratch.zeros<Scalar>(x.rows(), width);
    MutableView<Scalar> d_up = pass.scratch.zeros<Scalar>(x.rows(), width);
    activate<Function>(up, hidden, pass.workers);
    // y += hidden w_down + b_down
    affine_backward(hidden, params.w_down, d_y, d_hidden, gradients.w_down, gradients.b_down, pass);
    // hidden = f(up)
    activate_backward<Function>(up, d_hidden, d_up, pass.workers);
    // up = x w_up + b_up
    affine_backward(x, params.w_up, d_up, d_x, gradients.w_up, gradients.b_up, pass);
  }
};

/// For a block that is its mixer alone: a Mamba layer, or one that only holds parameters.
struct NoFeedForward {
  struct Config {};

  template <class Scalar>
  using Params = NoParams;
  template <class Scalar>
  struct Record {};

  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>&, Record<Scalar>&, const Pass&, const View<Scalar>&,
                    MutableView<Scalar>) {}
  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>&, const Record<Scalar>&, const Pass&, const View<Scalar>&,
                       const View<Scalar>&, MutableView<Scalar>, Params<Scalar>&) {}
};

/// Whether there is nothing: known from the type, or from the config of a feed-forward chosen at run time.
template <class FeedForwardType>
bool is_absent([[maybe_unused]] const typename FeedForwardType::Config& config) {
  if constexpr (requires { FeedForwardType::is_absent(config); })
    return FeedForwardType::is_absent(config);
  else
    return std::same_as<FeedForwardType, NoFeedForward>;
}

/// What maps rows of Scalar one by one: y += feed_forward(x); backward adds to d_x and to the gradients.
template <class M, class Scalar>
concept FeedForwardOf = std::default_initializable<typename M::Config> &&
    requires(const typename M::Config& config, const typename M::template Params<Scalar>& params,
             typename M::template Record<Scalar>& record, const Pass& pass, const View<Scalar>& x, MutableView<Scalar> y,
             typename M::template Params<Scalar>& gradients) {
  requires std::copyable<typename M::template Params<Scalar>>;
  M::template apply<Scalar>(config, params, record, pass, x, y);
  M::template backward<Scalar>(config, params, record, pass, x, x, y, gradients);
};

}  // namespace heed::inline HEED_ABI
