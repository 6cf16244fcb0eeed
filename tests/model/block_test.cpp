#include "heed/model/block.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"
#include "reference/central_difference.hpp"
#include "reference/executors.hpp"
#include "support/allocations.hpp"

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
  using Params = NoParams;
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
  using Params = NoParams;
  template <class Scalar>
  static void apply(const Config&, const Params<Scalar>&, const View<Scalar>& x, MutableView<Scalar> y, Workers&) {
    y = Scalar(2) * x;
  }
  template <class Scalar>
  static void backward(const Config&, const Params<Scalar>&, const View<Scalar>&, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>&, Arena&, Workers&) {
    d_x += Scalar(2) * d_y;
  }
};

template <class Form, class FeedForwardType = ScalingFeedForward>
using ExactIn = Stack<float, Block<ScalingMixer, FeedForwardType, Doubling, Form>>;
using Exact = ExactIn<PreNorm>;

Matrix<float> whole_numbers(const char* name) {
  return random_matrix<float>(3, 4, name).unaryExpr([](float v) { return std::round(8 * v); });
}

// The stream comes out `factor` times as large, its gradient too, and scale has slope dot(d_out, x).
template <class Model>
void expect_factor(float factor, float slope) {
  const Model model({.width = 4, .heads = 1});
  const Matrix<float> x = whole_numbers("x"), d_out = whole_numbers("d_out");
  auto cache = model.make_cache({.positions = 3});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, cache)), Matrix<float>(factor * x)));
  auto tape = model.make_tape(Sequences({2, 1}));
  auto gradients = model.make_gradients();
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, tape)), Matrix<float>(factor * x)));
  EXPECT_TRUE(same_bits(Matrix<float>(model.backward(d_out, tape, gradients)), Matrix<float>(factor * d_out)));
  visit([&](std::string_view, Role, const auto& d_scale) { EXPECT_EQ(d_scale(0, 0), slope * d_out.cwiseProduct(x).sum()); },
        gradients);
}

// h_1 = h + 3 (2 h) = 7 h,   h_2 = h_1 + 5 (2 h_1) = 77 h;   d_scale = 11 (2 h) . d_out
TEST(BlockForms, PreNormAddsItsMixerAndThenItsFeedForwardToTheStream) {
  expect_factor<ExactIn<PreNorm>>(77, 22);
}

// h_1 = 2 (h + 3 h) = 8 h,   h_2 = 2 (h_1 + 5 h_1) = 96 h;   d_scale = 12 (2 h) . d_out
TEST(BlockForms, PostNormNormalisesTheSum) {
  expect_factor<ExactIn<PostNorm>>(96, 24);
}

// h_1 = h + 3 (2 h) + 5 (2 h) = 17 h;   d_scale = 2 h . d_out
TEST(BlockForms, ParallelFormFeedsBothBranchesTheSameRows) {
  expect_factor<ExactIn<ParallelForm>>(17, 2);
}

// h_1 = h + 2 (3 (2 h)) = 13 h,   h_2 = h_1 + 2 (5 (2 h_1)) = 273 h;   d_scale = 21 (2 (2 h)) . d_out
TEST(BlockForms, SandwichNormalisesBeforeAndBehindABranch) {
  expect_factor<ExactIn<Sandwich>>(273, 84);
}

TEST(BlockForms, WithoutAFeedForwardAreTheMixersBranchAlone) {
  expect_factor<ExactIn<PreNorm, NoFeedForward>>(7, 2);
  expect_factor<ExactIn<PostNorm, NoFeedForward>>(8, 2);
  expect_factor<ExactIn<ParallelForm, NoFeedForward>>(7, 2);
  expect_factor<ExactIn<Sandwich, NoFeedForward>>(13, 4);
}

TEST(Block, HandsItsMixerTheConfigOfItsMixer) {
  Exact::Config config{.width = 4, .heads = 1};
  config.layer<0>().mixer.factor = 0;
  const Exact model(config);
  const Matrix<float> x = Matrix<float>::Ones(3, 4);
  auto cache = model.make_cache({.positions = 3});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, cache)), Matrix<float>(11 * x)));
}

template <class AnyBlock>
std::vector<std::string> names() {
  const typename AnyBlock::template Params<float> params(Sizes{.width = 8, .heads = 2}.shape(), {});
  std::vector<std::string> names;
  visit([&](std::string_view name, Role, const auto&) { names.emplace_back(name); }, params);
  return names;
}
using Names = std::vector<std::string>;

TEST(Block, NamesItsTensorsByTheirPart) {
  EXPECT_EQ(names<Block<StandardAttention>>(),
            (Names{"norm.weight", "mixer.w_q", "mixer.w_k", "mixer.w_v", "mixer.w_o", "feed_forward_norm.weight",
                   "feed_forward.w_gate", "feed_forward.w_up", "feed_forward.w_down"}));
}

TEST(Block, HasTheNormsOfItsFormAndOfItsParts) {
  EXPECT_EQ((names<Block<ScalingMixer, ScalingFeedForward, RmsNorm, PostNorm>>()),
            (Names{"norm.weight", "mixer.scale", "feed_forward_norm.weight"}));
  EXPECT_EQ((names<Block<ScalingMixer, ScalingFeedForward, RmsNorm, ParallelForm>>()),
            (Names{"norm.weight", "mixer.scale"}));
  EXPECT_EQ((names<Block<ScalingMixer, ScalingFeedForward, RmsNorm, Sandwich>>()),
            (Names{"norm.weight", "mixer.scale", "mixer_out_norm.weight", "feed_forward_norm.weight",
                   "feed_forward_out_norm.weight"}));
  EXPECT_EQ((names<Block<ScalingMixer, NoFeedForward>>()), (Names{"norm.weight", "mixer.scale"}));
  EXPECT_EQ((names<Block<ScalingMixer, NoFeedForward, RmsNorm, Sandwich>>()),
            (Names{"norm.weight", "mixer.scale", "mixer_out_norm.weight"}));
  EXPECT_EQ((names<Block<ScalingMixer, NoFeedForward, NoNorm>>()), (Names{"mixer.scale"}));
  EXPECT_EQ((names<Block<ScalingMixer, ScalingFeedForward, LayerNorm>>()),
            (Names{"norm.weight", "norm.bias", "mixer.scale", "feed_forward_norm.weight", "feed_forward_norm.bias"}));
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

// What any block has to hold, for every form: two layers, the upper one reading values of the lower one.
template <class Form>
struct EveryForm : testing::Test {
  template <class Scalar>
  using Model = Stack<Scalar, Block<StandardAttention, FeedForward<Gelu>, LayerNorm, Form>,
                      Block<ResidualValueAttention, SwiGlu, RmsNorm, Form>>;

  template <class Scalar>
  static Model<Scalar> model() {
    typename Model<Scalar>::Config config{.width = 6, .heads = 2, .kv_heads = 1, .head_width = 4, .hidden = 5};
    config.template layer<0>().feed_forward.biases = true;
    Model<Scalar> model(config);
    visit([](std::string_view name, Role, auto& tensor) { Random(5, name).normal(tensor, 0.5); }, model.params());
    return model;
  }
};
using Forms = testing::Types<PreNorm, PostNorm, ParallelForm, Sandwich>;
TYPED_TEST_SUITE(EveryForm, Forms);

// Of an element: two layers with the products of a block (6, 8, 5 terms), two norms each (6 + 10), softmax over 3.
constexpr Index operations = 2 * (4 * 8 + 2 * 16 + 2 * 5 + 20);

TYPED_TEST(EveryForm, BackwardIsTheGradientOfForward) {
  auto model = TestFixture::template model<double>();
  Matrix<double> x = random_matrix<double>(5, 6, "x");
  const auto d_y = random_matrix<double>(5, 6, "d_y");
  auto tape = model.make_tape(Sequences({2, 0, 3}));
  auto gradients = model.make_gradients();
  const auto f = [&] { return reference::dot(Matrix<double>(model.forward(x, tape)), d_y); };
  f();
  const Matrix<double> d_x = model.backward(d_y, tape, gradients);
  reference::expect_gradient(x, d_x, operations, f);
  visit(
      [&](std::string_view name, Role, auto& weight, const auto& gradient) {
        const testing::ScopedTrace trace(__FILE__, __LINE__, std::string(name));
        reference::expect_gradient(weight, gradient, operations, f);
      },
      model.params(), gradients);
}

TYPED_TEST(EveryForm, RowsFedInChunksAreThoseFedAtOnce) {
  const auto model = TestFixture::template model<float>();
  auto exact_model = TestFixture::template model<double>();
  std::vector<Matrix<double>> weights;
  visit([&](std::string_view, Role, const auto& tensor) { weights.push_back(tensor.template cast<double>()); },
        model.params());
  std::size_t next = 0;
  visit([&](std::string_view, Role, auto& tensor) { tensor = weights[next++]; }, exact_model.params());

  const Matrix<float> x = random_matrix<float>(9, 6, "x");
  auto exact_cache = exact_model.make_cache({.positions = 9, .rows = 9});
  auto whole_cache = model.make_cache({.positions = 9, .rows = 9}), cache = model.make_cache({.positions = 9, .rows = 4});
  const Matrix<double> exact = exact_model.forward(Matrix<double>(x.cast<double>()), exact_cache);
  const Matrix<float> whole = model.forward(x, whole_cache);
  Matrix<float> chunks(9, 6);
  Index done = 0;
  for (const Index count : {4, 1, 1, 3}) {
    chunks.middleRows(done, count) = model.forward(x.middleRows(done, count), cache);
    done += count;
  }
  reference::expect_as_exact_as_naive(chunks, whole, exact, 9);
  auto tape = model.make_tape(Sequences({9}));
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, tape)), whole)) << "in training";
}

TYPED_TEST(EveryForm, DecodingAllocatesNothing) {
  const auto model = TestFixture::template model<float>();
  auto cache = model.make_cache({.positions = 9, .rows = 4});
  const Matrix<float> x = random_matrix<float>(4, 6, "x");
  const std::size_t before = allocations_so_far();
  static_cast<void>(model.forward(x, cache));
  for (int step = 0; step < 4; ++step) static_cast<void>(model.forward(x.row(step), cache));
  EXPECT_EQ(allocations_so_far(), before);
}

TYPED_TEST(EveryForm, HasTheSameBitsForAnyNumberOfWorkers) {
  const auto model = TestFixture::template model<float>();
  const Matrix<float> x = random_matrix<float>(9, 6, "x");
  const auto run = [&](Executor* executor) {
    auto tape = model.make_tape(Sequences({5, 4}), {.executor = executor});
    auto gradients = model.make_gradients();
    std::vector<Matrix<float>> all = {model.forward(x, tape)};
    all.push_back(model.backward(x, tape, gradients));
    visit([&](std::string_view, Role, const auto& tensor) { all.push_back(tensor); }, gradients);
    return all;
  };
  reference::Backwards backwards(3);
  const auto alone = run(nullptr), together = run(&backwards);
  for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same_bits(alone[i], together[i])) << "result " << i;
}

}  // namespace
}  // namespace heed
