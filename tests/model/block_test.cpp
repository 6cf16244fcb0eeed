#include "heed/model/block.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

// Components of a user's that scale by whole numbers, so that results are exact.

/// y += factor x
struct ScalingMixer {
  static constexpr std::string_view name = "scaling";
  using consumes = signals<>;
  using publishes = signals<>;

  struct Config {
    double factor = 3;
  };
  template <class Scalar>
  struct Params {
    Matrix<Scalar> scale;  // [1 x 1]

    Params() = default;
    Params(const Shape&, const Config& config) : scale(Matrix<Scalar>::Constant(1, 1, Scalar(config.factor))) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("scale", Role::coefficient, p.scale...);
    }
  };
  template <class Scalar>
  using Cache = NoCache;
  template <class Scalar>
  using Record = NoRecord;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  template <class Scalar>
  static void apply(const Call<ScalingMixer, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    y += call.params.scale(0, 0) * x;
  }
  template <class Scalar>
  static void backward(const Call<ScalingMixer, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    // y += scale x
    d_x += call.params.scale(0, 0) * d_y;
    gradients.scale(0, 0) += (d_y.array() * x.array()).sum();
  }
};

/// y += 5 x
struct ScalingFeedForward {
  struct Config {};
  template <class Scalar>
  struct Params : NoParams {
    Params() = default;
    Params(const Shape&, const Config&) {}
  };
  template <class Scalar>
  using Record = NoRecord;

  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>&, Record<Scalar>&, const Pass&, const View<Scalar>& x,
                    MutableView<Scalar> y) {
    y += Scalar(5) * x;
  }
  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>&, const Record<Scalar>&, const Pass&, const View<Scalar>&,
                       const View<Scalar>& d_y, MutableView<Scalar> d_x, Params<Scalar>&) {
    d_x += Scalar(5) * d_y;
  }
};

/// y = 2 x
struct Doubling {
  struct Config {};
  template <class Scalar>
  struct Params : NoParams {
    Params() = default;
    Params(const Shape&, const Config&) {}
  };
  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>&, const Pass&, const View<Scalar>& x, MutableView<Scalar> y) {
    y = Scalar(2) * x;
  }
  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>&, const Pass&, const View<Scalar>&, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>&) {
    d_x += Scalar(2) * d_y;
  }
};

using Exact = Stack<float, Block<ScalingMixer, ScalingFeedForward, Doubling>>;

// h_1 = h + 3 (2 h) = 7 h,   h_2 = h_1 + 5 (2 h_1) = 77 h
TEST(Block, AddsItsMixerAndThenItsFeedForwardToTheStream) {
  const Exact model({.width = 4, .heads = 1});
  const Matrix<float> x = random_matrix<float>(3, 4, "x").unaryExpr([](float v) { return std::round(8 * v); });
  auto cache = model.make_cache({.positions = 3});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, cache)), Matrix<float>(77 * x)));
}

// d_h = 7 * 11 d_out;   d_scale = dot(11 d_out, 2 h)
TEST(Block, SendsTheGradientThroughBothBranches) {
  const Exact model({.width = 4, .heads = 1});
  const auto whole_numbers = [](const char* name) {
    return Matrix<float>(random_matrix<float>(3, 4, name).unaryExpr([](float v) { return std::round(8 * v); }));
  };
  const Matrix<float> x = whole_numbers("x"), d_out = whole_numbers("d_out");
  auto tape = model.make_tape(Sequences({2, 1}));
  auto gradients = model.make_gradients();
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, tape)), Matrix<float>(77 * x)));
  EXPECT_TRUE(same_bits(Matrix<float>(model.backward(d_out, tape, gradients)), Matrix<float>(77 * d_out)));
  visit([&](std::string_view, Role, const auto& d_scale) { EXPECT_EQ(d_scale(0, 0), 22 * d_out.cwiseProduct(x).sum()); },
        gradients);
}

TEST(Block, HandsItsMixerTheConfigOfItsMixer) {
  Exact::Config config{.width = 4, .heads = 1};
  config.layer<0>().mixer.factor = 0;
  const Exact model(config);
  const Matrix<float> x = Matrix<float>::Ones(3, 4);
  auto cache = model.make_cache({.positions = 3});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, cache)), Matrix<float>(11 * x)));
}

TEST(Block, NamesItsTensorsByTheirPart) {
  const Shape shape = Sizes{.width = 8, .heads = 2}.shape();
  const Block<StandardAttention>::Params<float> params(shape, {});
  std::vector<std::string> names;
  visit([&](std::string_view name, Role, const auto&) { names.emplace_back(name); }, params);
  EXPECT_EQ(names, (std::vector<std::string>{"norm.weight", "mixer.w_q", "mixer.w_k", "mixer.w_v", "mixer.w_o",
                                             "feed_forward_norm.weight", "feed_forward.w_gate", "feed_forward.w_up",
                                             "feed_forward.w_down"}));
}

TEST(Block, CachesWhatItsMixerCaches) {
  const Shape shape = Sizes{.width = 8, .heads = 4, .kv_heads = 2}.shape();
  const CacheSize size{{3, 5}, 2};
  const auto same = [&]<class Mixer>(signals<Mixer>) {
    const typename Block<Mixer>::Config config{};
    const CachePlan plan = Block<Mixer>::plan(shape, config), of_mixer = Mixer::plan(shape, config.mixer);
    EXPECT_EQ(plan.per_position, of_mixer.per_position);
    EXPECT_EQ(plan.per_state, of_mixer.per_state);
    const typename Block<Mixer>::template Cache<float> cache(shape, config, size);
    EXPECT_EQ(cache_bytes(cache), 4 * (8 * plan.per_position + 2 * 2 * plan.per_state));
  };
  same(signals<StandardAttention>());
  same(signals<ScoreReuseAttention>());
  same(signals<RecurrentMixAttention>());
}

}  // namespace
}  // namespace heed
