// Four layers that hand scores on, beside plain loops: what they give, and the differences of what the loops give.
//
//   layer 0   computes all H heads
//   layer 1   computes 2 heads, and takes heads 0 and 1 of layer 0: emits [new 0, new 1 | layer 0's 0, 1]
//   layer 2   takes all heads of layer 1
//   layer 3   computes 2 heads, and takes heads 0 and 1 of layer 2, which layer 1 computed: the freshest come first
// Source: Bhojanapalli et al. 2021 (arXiv 2110.06821), section 3, and the order of the heads in the authors' code.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/linear.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/model/mixer_layer.hpp"

namespace heed {
namespace {

using reference::random_matrix;

constexpr Index T = 5, D = 6, H = 4, G = 2, E = 2;
constexpr Sizes sizes = {.width = D, .heads = H, .kv_heads = G, .head_width = E};

template <class Scalar>
using Weights = std::map<std::string, Matrix<Scalar>>;  // "0.w_q", "1.first.w_q", ...

// ------------------------------------------------------------------------------------------------------- plain loops

template <class Scalar>
Matrix<Scalar> product(const Matrix<Scalar>& x, const Matrix<Scalar>& w) {
  return reference::multiply_add(x, w, Matrix<Scalar>(Matrix<Scalar>::Zero(x.rows(), w.cols())));
}

/// softmax(causal(q k^T / sqrt(E))) of one head; positions are left out.
template <class Scalar>
Matrix<Scalar> probabilities(const Matrix<Scalar>& q, const Matrix<Scalar>& k, Index q_head, Index k_head) {
  Matrix<Scalar> a = Matrix<Scalar>::Zero(T, T);
  for (Index t = 0; t < T; ++t) {
    Scalar sum = 0;
    for (Index s = 0; s <= t; ++s) {
      for (Index e = 0; e < E; ++e) a(t, s) += q(t, q_head * E + e) * k(s, k_head * E + e);
      sum += a(t, s) = std::exp(a(t, s) / std::sqrt(Scalar(E)));
    }
    for (Index s = 0; s <= t; ++s) a(t, s) /= sum;
  }
  return a;
}

/// How a part finds its values.
enum class Values { projected, residual, shared };

template <class Scalar>
struct Loops {
  const Weights<Scalar>& weights;
  Values values;

  std::vector<Matrix<Scalar>> scores = {};  // [T x T] of all heads of the layer below
  Matrix<Scalar> v_first = {};              // [T x G E] of layer 0

  /// x W_v of a part that owns kv heads [begin, begin + count), by the layer's way to find values.
  Matrix<Scalar> v_of(const std::string& part, const Matrix<Scalar>& x, Index begin, Index count, bool lowest) const {
    if (!lowest && values == Values::shared) return v_first.middleCols(begin * E, count * E);
    Matrix<Scalar> v = product(x, weights.at(part + "w_v"));
    if (!lowest && values == Values::residual) v = Scalar(0.5) * (v + v_first.middleCols(begin * E, count * E));
    return v;
  }
  /// y += sum of heads: a_h v_{h / 2} w_o
  void add(const std::string& part, const std::vector<Matrix<Scalar>>& a, const Matrix<Scalar>& v,
           Matrix<Scalar>& y) const {
    Matrix<Scalar> o(T, static_cast<Index>(a.size()) * E);
    for (std::size_t h = 0; h < a.size(); ++h) {
      const auto head = static_cast<Index>(h);
      o.middleCols(head * E, E) = product(a[h], Matrix<Scalar>(v.middleCols(head / 2 * E, E)));
    }
    y += product(o, weights.at(part + "w_o"));
  }
  std::vector<Matrix<Scalar>> computed(const std::string& part, const Matrix<Scalar>& x, Index heads) const {
    const Matrix<Scalar> q = product(x, weights.at(part + "w_q")), k = product(x, weights.at(part + "w_k"));
    std::vector<Matrix<Scalar>> a;
    for (Index h = 0; h < heads; ++h) a.push_back(probabilities(q, k, h, h / 2));
    return a;
  }
  void whole(const std::string& layer, Matrix<Scalar>& h) {
    const Matrix<Scalar> x = h;
    v_first = v_of(layer, x, 0, G, true);
    scores = computed(layer, x, H);
    add(layer, scores, v_first, h);
  }
  void partial(const std::string& layer, Matrix<Scalar>& h) {
    const Matrix<Scalar> x = h;
    const auto fresh = computed(layer + "first.", x, 2);
    const std::vector<Matrix<Scalar>> reused(scores.begin(), scores.begin() + 2);
    add(layer + "first.", fresh, v_of(layer + "first.", x, 0, 1, false), h);
    add(layer + "second.", reused, v_of(layer + "second.", x, 1, 1, false), h);
    scores = fresh;
    scores.insert(scores.end(), reused.begin(), reused.end());
  }
  void full(const std::string& layer, Matrix<Scalar>& h) {
    const Matrix<Scalar> x = h;
    add(layer, scores, v_of(layer, x, 0, G, false), h);
  }
  Matrix<Scalar> chain(const Matrix<Scalar>& x) {
    Matrix<Scalar> h = x;
    whole("0.", h);
    partial("1.", h);
    full("2.", h);
    partial("3.", h);
    return h;
  }
};

// ------------------------------------------------------------------------------------------------------------- layers

template <class Scalar>
Matrix<Scalar> drawn(const std::string& name, Index rows, Index cols) {
  return random_matrix<double>(rows, cols, name, 0.35).template cast<Scalar>();
}

template <class Layer>
struct mixer_of;
template <class Scalar, class Mixer>
struct mixer_of<MixerLayer<Scalar, Mixer>> {
  using type = Mixer;
};

/// The four layers, their rows, and after `unwind` all gradients by name.
template <class Scalar, class Partial, class Full>
class Layers {
 public:
  explicit Layers(typename Partial::Config partial) : one_(sizes, partial), three_(sizes, partial), zero_(sizes, whole()) {
    draw("0.", zero_.params);
    draw("1.", one_.params);
    draw("2.", two_.params);
    draw("3.", three_.params);
  }
  static StandardAttention::Config whole() { return {.scores = {.positions = NoPositions{}}}; }

  /// Returns the output; d_y [T x D] -> gradients of every weight and of "x".
  Matrix<Scalar> run(const Matrix<Scalar>& x, const Matrix<Scalar>& d_y) {
    Workspace work({.positions = T});
    auto s0 = zero_.template make_state<scores>(work);
    auto s1 = one_.template make_state<scores>(work);
    auto s2 = two_.template make_state<scores>(work);
    auto s3 = three_.make_state(work);
    const Pass pass = work.begin(Sequences{T}, Purpose::training);
    Matrix<Scalar> h1 = x;
    zero_.apply(pass, x, h1, s0);
    Matrix<Scalar> h2 = h1;
    above(s0, s0, one_, pass, h1, h2, s1);
    Matrix<Scalar> h3 = h2;
    above(s0, s1, two_, pass, h2, h3, s2);
    Matrix<Scalar> h4 = h3;
    above(s0, s2, three_, pass, h3, h4, s3);

    Matrix<Scalar> d_h = d_y;
    back("3.", s0, s2, three_, pass, h3, s3, d_h);
    back("2.", s0, s1, two_, pass, h2, s2, d_h);
    back("1.", s0, s0, one_, pass, h1, s1, d_h);
    const Matrix<Scalar> d_out = d_h;
    auto d_zero = zero_.make_gradients();
    zero_.backward(pass, x, d_out, d_h, d_zero, s0);
    keep("0.", d_zero);
    gradients["x"] = d_h;
    return h4;
  }

  Weights<Scalar> weights;
  Weights<Scalar> gradients;

 private:
  template <class Params>
  void draw(const std::string& layer, Params& params) {
    visit(
        [&](std::string_view name, Role, Matrix<Scalar>& tensor) {
          tensor = weights[layer + std::string(name)] =
              drawn<Scalar>(layer + std::string(name), tensor.rows(), tensor.cols());
        },
        params);
  }
  template <class Params>
  void keep(const std::string& layer, const Params& of_layer) {
    visit([&](std::string_view name, Role, const Matrix<Scalar>& tensor) { gradients[layer + std::string(name)] = tensor; },
          of_layer);
  }
  // The tap finds the scores of the layer below, and the values of the lowest.
  template <class Tap, class First, class Below>
  static auto fed(First& lowest, Below& below) {
    if constexpr (std::is_same_v<Tap, nearest<scores>>)
      return feed<Tap>(below.template published<scores>());
    else
      return feed<Tap>(lowest.template published<values>());
  }
  template <class First, class Below, class Layer, class State>
  static void above(First& lowest, Below& below, const Layer& layer, const Pass& pass, const Matrix<Scalar>& x,
                    Matrix<Scalar>& y, State& state) {
    const auto apply = [&]<class... Taps>(signals<Taps...>) {
      layer.apply(pass, x, y, state, fed<Taps>(lowest, below)...);
    };
    apply(typename mixer_of<Layer>::type::consumes());
  }
  template <class First, class Below, class Layer, class State>
  void back(const std::string& name, First& lowest, Below& below, const Layer& layer, const Pass& pass,
            const Matrix<Scalar>& x, State& state, Matrix<Scalar>& d_h) {
    auto d_layer = layer.make_gradients();
    const Matrix<Scalar> d_y = d_h;
    const auto backward = [&]<class... Taps>(signals<Taps...>) {
      layer.backward(pass, x, d_y, d_h, d_layer, state, fed<Taps>(lowest, below)...);
    };
    backward(typename mixer_of<Layer>::type::consumes());
    keep(name, d_layer);
  }

  MixerLayer<Scalar, Partial> one_, three_;
  MixerLayer<Scalar, StandardAttention> zero_;
  MixerLayer<Scalar, Full> two_{sizes};
};

template <class Partial, class Full>
void expect_chain(Values values) {
  typename Partial::Config partial;
  partial.first.scores.positions = NoPositions{};
  // the longest way of a number through four layers: products of D, E, T and H E terms each
  constexpr Index operations = 4 * (D + E + T + H * E + 4);

  Layers<float, Partial, Full> single(partial);
  Layers<double, Partial, Full> layers(partial);
  const auto x = drawn<float>("x", T, D), d_y = drawn<float>("d_y", T, D);
  Matrix<double> wide = x.cast<double>();
  const Matrix<double> wide_d_y = d_y.cast<double>();
  reference::expect_as_exact_as_naive(single.run(x, d_y), Loops<float>{single.weights, values}.chain(x),
                                      Loops<double>{layers.weights, values}.chain(wide), operations);

  static_cast<void>(layers.run(wide, wide_d_y));
  auto& weights = layers.weights;
  const auto loops = [&] { return reference::dot(Loops<double>{weights, values}.chain(wide), wide_d_y); };
  reference::expect_gradient(wide, layers.gradients.at("x"), operations, loops);
  for (auto& [name, weight] : weights) {
    SCOPED_TRACE(name);
    reference::expect_gradient(weight, layers.gradients.at(name), operations, loops);
  }
}

TEST(ScoreReuseChain, IsThePlainLoopsAndTheirDifferences) {
  expect_chain<PartialScoreReuseAttention, ScoreReuseAttention>(Values::projected);
}

TEST(ScoreReuseChain, IsThePlainLoopsAndTheirDifferencesWithResidualValues) {
  expect_chain<PartialScoreReuseResidualValueAttention, ScoreReuseResidualValueAttention>(Values::residual);
}

TEST(ScoreReuseChain, IsThePlainLoopsAndTheirDifferencesWithSharedValues) {
  expect_chain<PartialScoreReuseSharedValueAttention, ScoreReuseSharedValueAttention>(Values::shared);
}

}  // namespace
}  // namespace heed
