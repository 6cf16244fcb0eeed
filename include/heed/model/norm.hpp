// What normalises rows in a block, or before a head. Three types, one interface.
//
//   RmsNorm     y = x w / sqrt(mean(x^2) + epsilon)
//   LayerNorm   y = (x - mean) w / sqrt(mean((x - mean)^2) + epsilon) + b
//   NoNorm      y = x
//
//   x, y [T x D]   w, b [1 x D]
// Sources: Zhang and Sennrich 2019 (arXiv 1910.07467), eq. 4; Ba, Kiros, Hinton 2016 (arXiv 1607.06450), eq. 3.
#pragma once

#include <concepts>
#include <string_view>

#include "../core/config_numbers.hpp"
#include "../core/visit.hpp"
#include "../mixers/shape.hpp"
#include "../ops/add.hpp"
#include "../ops/layer_norm.hpp"
#include "../ops/rms_norm.hpp"

namespace heed::inline HEED_ABI {

struct NormConfig {
  double epsilon = 1e-5;

  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("epsilon", config.epsilon);
  }
  void check(std::string_view layer) const { detail::expects_epsilon(layer, "norm: epsilon", epsilon); }
};

struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  using Config = NormConfig;

  template <class Scalar>
  struct Params {
    Matrix<Scalar> weight;  // [1 x D]

    Params() = default;
    Params(const Shape& shape, const Config&) : weight(1, shape.width) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("weight", Role::norm, p.weight...);
    }
  };

  static void check(const Shape&, const Config& config, std::string_view layer) { config.check(layer); }

  template <class Scalar>
  static void apply(const Config& config, const Params<Scalar>& params, const View<Scalar>& x, MutableView<Scalar> y,
                    Workers& workers) {
    rms_norm(x, params.weight, config.epsilon, y, workers);
  }

  template <class Scalar>
  static void backward(const Config& config, const Params<Scalar>& params, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients, Arena& scratch, Workers& workers) {
    rms_norm_backward(x, params.weight, config.epsilon, d_y, d_x, gradients.weight, scratch, workers);
  }
};

struct LayerNorm {
  static constexpr std::string_view name = "layer_norm";
  using Config = NormConfig;

  template <class Scalar>
  struct Params {
    Matrix<Scalar> weight;  // [1 x D]
    Matrix<Scalar> bias;    // [1 x D]

    Params() = default;
    Params(const Shape& shape, const Config&) : weight(1, shape.width), bias(1, shape.width) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("weight", Role::norm, p.weight...);
      f("bias", Role::bias, p.bias...);
    }
  };

  static void check(const Shape&, const Config& config, std::string_view layer) { config.check(layer); }

  template <class Scalar>
  static void apply(const Config& config, const Params<Scalar>& params, const View<Scalar>& x, MutableView<Scalar> y,
                    Workers& workers) {
    layer_norm(inputs(config, params, x), y, workers);
  }

  template <class Scalar>
  static void backward(const Config& config, const Params<Scalar>& params, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients, Arena& scratch, Workers& workers) {
    layer_norm_backward(inputs(config, params, x), d_y,
                        LayerNormGradients<Scalar>{d_x, mutable_view_of(gradients.weight), mutable_view_of(gradients.bias)},
                        scratch, workers);
  }

 private:
  template <class Scalar>
  static LayerNormInputs<Scalar> inputs(const Config& config, const Params<Scalar>& params, const View<Scalar>& x) {
    return {x, view_of(params.weight), view_of(params.bias), config.epsilon};
  }
};

/// Rows stay as they are, and nothing is learned.
struct NoNorm {
  static constexpr std::string_view name = "none";
  struct Config {};

  template <class Scalar>
  using Params = NoParams;

  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>&, const View<Scalar>& x, MutableView<Scalar> y, Workers&) {
    if (y.data() != x.data()) y = x;
  }

  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>&, const View<Scalar>&, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>&, Arena&, Workers& workers) {
    // y = x   =>   d_x += d_y
    add(d_y, d_x, workers);
  }
};

/// What normalises rows of Scalar: y = norm(x), where y may be x; backward adds to d_x and to the gradients.
template <class N, class Scalar>
concept NormOf = std::default_initializable<typename N::Config> &&
    requires(const typename N::Config& config, const typename N::template Params<Scalar>& params, const View<Scalar>& x,
             MutableView<Scalar> y, typename N::template Params<Scalar>& gradients, Arena& scratch, Workers& workers) {
  requires std::copyable<typename N::template Params<Scalar>>;
  N::template apply<Scalar>(config, params, x, y, workers);
  N::template backward<Scalar>(config, params, x, x, y, gradients, scratch, workers);
};

}  // namespace heed::inline HEED_ABI
