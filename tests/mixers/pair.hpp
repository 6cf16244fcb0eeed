// Two layers on the same rows: standard attention below, a variant above that may read it. What comes out, by name.
//
//   y = bottom(x) + top(x)         x, y [T x D]; gradients of dot(y, d_y) for x and for every tensor
//
// Weights depend on their names alone, so two variants share what they have in common. `first.` and `second.` of two mixers
// side by side are not part of the name: at the ends of a split one of the two has no heads.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <heed/mixers/variants.hpp>
#include <heed/model/mixer_layer.hpp>
#include <map>

namespace heed::pair {

inline constexpr Index width = 10;
inline constexpr Sizes sizes = {.width = width, .heads = 4, .kv_heads = 2, .head_width = 4};

using Tensors = std::map<std::string, Matrix<double>>;
struct Outcome {
  Matrix<double> y;   // [T x D]
  Tensors gradients;  // "x", "bottom.w_q", "top.w_q", ...
};

/// Changes the weights of a pair before it runs.
using Change = std::function<void(const std::string& name, Matrix<double>& tensor)>;
inline void as_drawn(const std::string&, Matrix<double>&) {}

inline std::string shared_name(std::string_view layer, std::string_view name) {
  std::string all = std::string(layer) + "." + std::string(name);
  for (const std::string part : {".first.", ".second."})
    if (const auto at = all.find(part); at != std::string::npos) all.replace(at, part.size(), ".");
  return all;
}

/// N(0, 1 / in) for matrices of that name, N(0, 1/4) for what belongs to a recurrence; coefficients as the layer starts.
template <class Params>
void draw(std::string_view layer, Params& params, const Change& change) {
  visit(
      [&](std::string_view name, Role role, auto& tensor) {
        using Scalar = typename std::remove_cvref_t<decltype(tensor)>::Scalar;
        if (tensor.size() == 0) return;
        Matrix<double> drawn = tensor.template cast<double>();
        const std::string shared = shared_name(layer, name);
        if (role == Role::matrix || role == Role::output)
          Random(7, shared).normal(drawn, 1 / std::sqrt(static_cast<double>(tensor.rows())));
        if (role == Role::state) Random(7, shared).normal(drawn, 0.5);
        change(shared, drawn);
        tensor = drawn.template cast<Scalar>();
      },
      params);
}

template <class Scalar, class Top>
Outcome run(const typename Top::Config& config = {}, const Sequences& rows = {5, 0, 9}, const Sizes& of = sizes,
            const Change& change = as_drawn, const StandardAttention::Config& bottom_config = {}) {
  MixerLayer<Scalar, StandardAttention> bottom(of, bottom_config);
  MixerLayer<Scalar, Top> top(of, config);
  draw("bottom", bottom.params, change);
  draw("top", top.params, change);

  Workspace work({.sequences = rows.size(), .positions = rows.rows()});
  auto bottom_state = bottom.template make_state<scores>(work);
  auto top_state = top.make_state(work);
  Matrix<Scalar> x(rows.rows(), of.width), d_y(rows.rows(), of.width);
  Random(7, "x").normal(x, 1);
  Random(7, "d_y").normal(d_y, 1);
  Matrix<Scalar> y = Matrix<Scalar>::Zero(rows.rows(), of.width);
  Matrix<Scalar> d_x = Matrix<Scalar>::Zero(rows.rows(), of.width);
  auto d_bottom = bottom.make_gradients();
  auto d_top = top.make_gradients();

  const auto feed_one = [&](auto tap) {
    using Tap = decltype(tap);
    return feed<Tap>(bottom_state.template published<typename Tap::signal>());
  };
  const Pass pass = work.begin(rows, Purpose::training);
  bottom.apply(pass, x, y, bottom_state);
  const auto through = [&]<class... Taps>(signals<Taps...>) {
    top.apply(pass, x, y, top_state, feed_one(Taps())...);
    top.backward(pass, x, d_y, d_x, d_top, top_state, feed_one(Taps())...);
  };
  through(typename Top::consumes());
  bottom.backward(pass, x, d_y, d_x, d_bottom, bottom_state);

  Outcome outcome{y.template cast<double>(), {{"x", d_x.template cast<double>()}}};
  const auto keep = [&](std::string_view layer, const auto& gradients) {
    visit(
        [&](std::string_view name, Role, const auto& tensor) {
          if (tensor.size() > 0) outcome.gradients[shared_name(layer, name)] = tensor.template cast<double>();
        },
        gradients);
  };
  keep("bottom", d_bottom);
  keep("top", d_top);
  return outcome;
}

/// max |found - exact| / max |exact|
inline double error_of(const Matrix<double>& found, const Matrix<double>& exact) {
  const double scale = exact.cwiseAbs().maxCoeff();
  const double error = (found - exact).cwiseAbs().maxCoeff();
  return scale > 0 ? error / scale : error;
}

/// Equal up to rounding: with `exact` in double, the error of a float result is at most twice that of the other's, or twice
/// eps n with n the longest sum that feeds a tensor.
inline void expect_equal(const std::string& name, const Matrix<double>& found, const Matrix<double>& other,
                         const Matrix<double>& exact, Index longest_sum) {
  ASSERT_EQ(found.rows(), exact.rows()) << name;
  ASSERT_EQ(found.cols(), exact.cols()) << name;
  const double floor = static_cast<double>(std::numeric_limits<float>::epsilon()) * static_cast<double>(longest_sum);
  EXPECT_LE(error_of(found, exact), 2 * (std::max)(error_of(other, exact), floor)) << name;
}

/// The float outcome `found` equals the float outcome `other`, whose model in double gave `exact`: the rows, and every
/// gradient that both have.
inline void expect_equal(const Outcome& found, const Outcome& other, const Outcome& exact, const Sizes& of = sizes) {
  const Index longest = (std::max)({of.width, of.shape().q_width(), found.y.rows()});
  expect_equal("y", found.y, other.y, exact.y, longest);
  for (const auto& [name, gradient] : found.gradients)
    if (other.gradients.count(name) != 0)
      expect_equal(name, gradient, other.gradients.at(name), exact.gradients.at(name), longest);
}

}  // namespace heed::pair
