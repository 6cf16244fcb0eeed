#include "heed/model/layered.hpp"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using Standard = Block<StandardAttention>;

// Keys, values, scores that are read above, and recurrent states.
using Model = Stack<float, Standard, Block<ScoreReuseAttention>, Block<RecurrentMixAttention>>;
const Model::Config config{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};

Matrix<float> rows(Index count, std::string_view name = "x") {
  return random_matrix<float>(count, 8, name);
}
template <class AnyModel>
Matrix<float> feed(const AnyModel& model, typename AnyModel::Cache& cache, std::initializer_list<Index> sequences,
                   std::string_view name) {
  const Sequences division(sequences);
  return model.forward(rows(division.rows(), name), division, cache);
}

// ---- parameters

template <class AnyModel>
std::map<std::string, Matrix<float>> tensors(const AnyModel& model) {
  std::map<std::string, Matrix<float>> all;
  visit([&](std::string_view name, Role, const auto& tensor) { all.emplace(name, tensor); }, model.params());
  return all;
}

TEST(LayeredParams, OfTwoVariantsStartEqualWhereTheyShareAName) {
  const auto standard = tensors(Stack<float, Standard, Standard>({.width = 8, .heads = 2}));
  const auto residual = tensors(Stack<float, Standard, Block<LearnedResidualValueAttention>>({.width = 8, .heads = 2}));
  EXPECT_EQ(residual.size(), standard.size() + 2);
  for (const auto& [name, tensor] : standard) EXPECT_TRUE(same_bits(residual.at(name), tensor)) << name;
}

TEST(LayeredParams, DependOnTheSeedAndOnThePrefix) {
  Model model(config);
  const auto first = tensors(model);
  model.initialise(1);
  const auto second = tensors(model);
  model.initialise(0, "stack.");
  const auto third = tensors(model);
  model.initialise(0);
  const auto again = tensors(model);
  for (const auto& [name, tensor] : first) {
    EXPECT_TRUE(same_bits(again.at(name), tensor)) << name;
    const bool drawn = name.find(".w_") != std::string::npos;
    EXPECT_EQ(same_bits(second.at(name), tensor), !drawn && same_bits(third.at(name), tensor)) << name;
    EXPECT_TRUE(!drawn || !same_bits(third.at(name), tensor)) << name;
  }
}

TEST(LayeredParams, StartAnewWhateverTheyHaveBecome) {
  StandardAttention::Config with_sinks;
  with_sinks.scores.sinks = true;
  auto model = DynamicStack<float>::build(
      {.width = 8, .heads = 2},
      {choose<StandardAttention>(with_sinks), choose<LearnedResidualValueAttention>(), choose<Mamba2>({.state_width = 3})});
  const auto first = tensors(model);
  visit([](std::string_view, Role, Matrix<float>& tensor) { tensor.setConstant(42); }, model.params());
  model.initialise(0);
  const auto again = tensors(model);
  for (const auto& [name, tensor] : first) EXPECT_TRUE(same_bits(again.at(name), tensor)) << name;
}

TEST(LayeredParams, GradientsAreZerosOfTheirShapes) {
  const Model model(config);
  Index elements = 0;
  visit(
      [&](std::string_view name, Role, const auto& weight, const auto& gradient) {
        EXPECT_EQ(gradient.rows(), weight.rows()) << name;
        EXPECT_EQ(gradient.cols(), weight.cols()) << name;
        EXPECT_TRUE(gradient.isZero(0)) << name;
        elements += weight.size();
      },
      model.params(), model.make_gradients());
  EXPECT_EQ(model.parameters(0) + model.parameters(1) + model.parameters(2), elements);
}

TEST(LayeredParams, OfModelsThatAreNotAlikeAreNotVisitedTogether) {
  const auto error = [](const auto& first, const auto& second) {
    int calls = 0;
    const std::string text = error_text<ShapeError>([&] {
      visit([&](std::string_view, Role, const auto&, const auto&) { ++calls; }, first.params(), second.params());
    });
    EXPECT_EQ(calls > 0, text == "no error");
    return text;
  };
  Model::Config wide = config;
  wide.hidden = 13;
  EXPECT_EQ(error(Model(config), Model(config)), "no error");
  EXPECT_EQ(error(Model(config), Model(wide)), "params: layers.0.feed_forward.w_gate: expected [8 x 12], found [8 x 13]");
  using Dynamic = DynamicStack<float>;
  const auto build = [](const std::vector<Dynamic::Layer>& layers) {
    return Dynamic::build({.width = 8, .heads = 2}, layers);
  };
  const Dynamic two = build({choose<StandardAttention>(), choose<StandardAttention>()});
  EXPECT_EQ(error(two, build({choose<StandardAttention>()})),
            "params: expected those of models with the same kinds of layers, found another model's");
  EXPECT_EQ(error(two, build({choose<StandardAttention>(), choose<SharedValueAttention>()})),
            "params: expected 4 tensors as the first has, found 3");
}

// ---- forward

TEST(LayeredForward, TakesRowsThatLieApart) {
  const Model model(config);
  Matrix<float> wide = random_matrix<float>(5, 11, "wide");
  const Matrix<float> x = wide.middleCols(2, 8);
  auto cache = model.make_cache({.positions = 5}), expected = model.make_cache({.positions = 5});
  EXPECT_TRUE(
      same_bits(Matrix<float>(model.forward(wide.middleCols(2, 8), cache)), Matrix<float>(model.forward(x, expected))));
}

TEST(LayeredForward, TakesWhatItReturnedBefore) {
  const Model model(config);
  auto cache = model.make_cache({.positions = 20, .rows = 5}), expected = model.make_cache({.positions = 20, .rows = 5});
  View<float> y = model.forward(rows(5), cache);
  Matrix<float> z = model.forward(rows(5), expected);
  new (&y) View<float>(model.forward(y, cache));
  z = Matrix<float>(model.forward(z, expected));
  EXPECT_TRUE(same_bits(y, z));
  new (&y) View<float>(model.forward(y.bottomRows(2), cache));
  z = Matrix<float>(model.forward(z.bottomRows(2), expected));
  EXPECT_TRUE(same_bits(y, z));
}

TEST(LayeredForward, OnATapeStartsAnewEveryTime) {
  const Model model(config);
  auto tape = model.make_tape(Sequences({3, 0, 2}));
  const Matrix<float> y = model.forward(rows(5), tape);
  static_cast<void>(model.forward(rows(5, "other"), tape));
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(rows(5), tape)), y));
}

// 1 + g has the roundings of g and one more: |found - (1 + g)| <= n eps max(1, |g|), n the longest sum, q_width = 16.
TEST(LayeredBackward, AddsToTheGradients) {
  const Model model(config);
  auto tape = model.make_tape(Sequences({3, 0, 2}));
  auto from_zero = model.make_gradients(), from_one = model.make_gradients();
  visit([](std::string_view, Role, auto& gradient) { gradient.setOnes(); }, from_one);
  for (auto* gradients : {&from_zero, &from_one}) {
    static_cast<void>(model.forward(rows(5), tape));
    static_cast<void>(model.backward(rows(5, "d_out"), tape, *gradients));
  }
  visit(
      [](std::string_view name, Role, const auto& found, const auto& g) {
        const float largest = (std::max)(1.0f, g.cwiseAbs().maxCoeff());
        EXPECT_LE(((found - g).array() - 1).abs().maxCoeff(), 16 * std::numeric_limits<float>::epsilon() * largest) << name;
      },
      from_one, from_zero);
}

// ---- the laws of caches

TEST(LayeredCache, OneSequenceRollsBackAndTheOthersGoOn) {
  const Model model(config);
  auto cache = model.make_cache({.sequences = 2, .positions = 9, .rows = 5});
  static_cast<void>(feed(model, cache, {3, 2}, "first"));
  const Mark mark = cache.checkpoint();
  static_cast<void>(feed(model, cache, {0, 1}, "kept"));
  static_cast<void>(feed(model, cache, {2, 0}, "rejected"));
  ASSERT_TRUE(cache.rollback(mark, 0));
  EXPECT_EQ(cache.length(0), 3);
  EXPECT_EQ(cache.length(1), 3);
  const Matrix<float> after = feed(model, cache, {1, 1}, "last");

  auto replay = model.make_cache({.sequences = 2, .positions = 9, .rows = 5});
  static_cast<void>(feed(model, replay, {3, 2}, "first"));
  static_cast<void>(feed(model, replay, {0, 1}, "kept"));
  EXPECT_TRUE(same_bits(after, feed(model, replay, {1, 1}, "last")));
}

TEST(LayeredCache, OneSequenceStartsAnewAndTheOthersGoOn) {
  const Model model(config);
  auto cache = model.make_cache({.sequences = 2, .positions = 9, .rows = 5});
  static_cast<void>(feed(model, cache, {3, 2}, "first"));
  ASSERT_TRUE(cache.truncate(0, 0));
  const Matrix<float> after = feed(model, cache, {1, 1}, "last");

  auto replay = model.make_cache({.sequences = 2, .positions = 9, .rows = 5});
  const Matrix<float> first = rows(5, "first");
  static_cast<void>(model.forward(first.bottomRows(2), Sequences({0, 2}), replay));
  EXPECT_TRUE(same_bits(after, feed(model, replay, {1, 1}, "last")));
}

TEST(LayeredCache, AForkGoesItsOwnWay) {
  const Model model(config);
  auto origin = model.make_cache({.positions = 9, .rows = 4, .checkpoints = 2});
  static_cast<void>(feed(model, origin, {4}, "first"));
  const Mark mark = origin.checkpoint();
  auto fork = origin.fork();
  EXPECT_EQ(fork.length(), 4);
  EXPECT_EQ(fork.bytes(), origin.bytes());
  const Matrix<float> in_fork = feed(model, fork, {2}, "other");
  const Matrix<float> in_origin = feed(model, origin, {2}, "next");
  // The mark was taken before, so it is good for both.
  EXPECT_TRUE(fork.rollback(mark) && origin.rollback(mark));
  EXPECT_TRUE(same_bits(feed(model, fork, {2}, "next"), in_origin));
  EXPECT_TRUE(same_bits(feed(model, origin, {2}, "other"), in_fork));
  // A mark of the one after the fork is none of the other's.
  const Mark of_fork = fork.checkpoint();
  EXPECT_FALSE(origin.rollback(of_fork));
  EXPECT_EQ(origin.length(), 6);
}

TEST(LayeredCache, AForkOutlivesItsOrigin) {
  const Model model(config);
  auto fork = [&] {
    auto origin = model.make_cache({.positions = 9, .rows = 4});
    static_cast<void>(feed(model, origin, {4}, "first"));
    return origin.fork();
  }();
  auto replay = model.make_cache({.positions = 9, .rows = 4});
  static_cast<void>(feed(model, replay, {4}, "first"));
  EXPECT_TRUE(same_bits(feed(model, fork, {2}, "next"), feed(model, replay, {2}, "next")));
}

TEST(LayeredCache, IsAssignedByValue) {
  const Model model(config);
  auto origin = model.make_cache({.positions = 9, .rows = 4}), other = model.make_cache({.positions = 5});
  static_cast<void>(feed(model, origin, {4}, "first"));
  static_cast<void>(feed(model, other, {2}, "unlike"));
  other = origin;
  EXPECT_EQ(other.capacity(), 9);
  EXPECT_TRUE(same_bits(feed(model, other, {2}, "next"), feed(model, origin, {2}, "next")));
}

TEST(LayeredCache, RefusesTheMarkOfAnotherCache) {
  const Model model(config);
  auto cache = model.make_cache({.positions = 9, .rows = 4}), other = model.make_cache({.positions = 9, .rows = 4});
  static_cast<void>(feed(model, cache, {4}, "first"));
  static_cast<void>(feed(model, other, {2}, "first"));
  static_cast<void>(cache.checkpoint());
  const Mark mark = other.checkpoint();
  EXPECT_FALSE(cache.can_rollback(mark));
  EXPECT_FALSE(cache.rollback(mark));
  EXPECT_FALSE(cache.rollback(mark, 0));
  EXPECT_EQ(cache.length(), 4);
}

TEST(LayeredCache, RefusesAStaleMark) {
  const Model model(config);
  auto cache = model.make_cache({.positions = 9, .rows = 4});  // one checkpoint at a time
  static_cast<void>(feed(model, cache, {4}, "first"));
  const Mark stale = cache.checkpoint();
  static_cast<void>(feed(model, cache, {1}, "second"));
  const Mark fresh = cache.checkpoint();
  static_cast<void>(feed(model, cache, {1}, "third"));
  EXPECT_FALSE(cache.can_rollback(stale));
  EXPECT_FALSE(cache.rollback(stale));
  EXPECT_EQ(cache.length(), 6);
  EXPECT_TRUE(cache.rollback(fresh));
  EXPECT_EQ(cache.length(), 5);
}

TEST(LayeredCache, WithStatesIsCutOnlyWhereACheckpointWasTaken) {
  const Model model(config);
  auto cache = model.make_cache({.positions = 9, .rows = 4, .checkpoints = 2});
  static_cast<void>(feed(model, cache, {4}, "first"));
  static_cast<void>(cache.checkpoint());
  static_cast<void>(feed(model, cache, {3}, "rejected"));
  for (Index length = 0; length <= 8; ++length)
    EXPECT_EQ(cache.can_truncate(0, length), length == 0 || length == 4 || length == 7) << length;
  EXPECT_FALSE(cache.truncate(0, 5));
  EXPECT_EQ(cache.length(), 7);
  ASSERT_TRUE(cache.truncate(0, 4));
  const Matrix<float> after = feed(model, cache, {2}, "next");
  auto replay = model.make_cache({.positions = 9, .rows = 4});
  static_cast<void>(feed(model, replay, {4}, "first"));
  EXPECT_TRUE(same_bits(after, feed(model, replay, {2}, "next")));
}

TEST(LayeredCache, WithoutStatesIsCutAnywhere) {
  const Stack<float, Standard, Block<ScoreReuseAttention>> model({.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4});
  auto cache = model.make_cache({.positions = 9, .rows = 5, .checkpoints = 0});
  static_cast<void>(feed(model, cache, {2}, "first"));
  static_cast<void>(feed(model, cache, {5}, "rejected"));
  EXPECT_FALSE(cache.can_truncate(0, 8));
  ASSERT_TRUE(cache.truncate(0, 2));
  const Matrix<float> after = feed(model, cache, {3}, "next");
  auto replay = model.make_cache({.positions = 9, .rows = 5});
  static_cast<void>(feed(model, replay, {2}, "first"));
  EXPECT_TRUE(same_bits(after, feed(model, replay, {3}, "next")));
}

// A long walk of calls, checkpoints, rollbacks, cuts and forks; after every step the cache stands where a new one stands
// that was fed the accepted calls alone.
TEST(LayeredCache, IsAlwaysWhatItsAcceptedCallsMadeIt) {
  const Model model(config);
  const CacheOptions options{.positions = 40, .rows = 3, .checkpoints = 3};
  struct Call {
    Index rows;
    std::string name;
  };
  struct Remembered {
    Mark mark;
    std::vector<Call> calls;
  };
  auto cache = model.make_cache(options);
  std::vector<Call> calls;
  std::vector<Remembered> marks;
  Random random(3, "walk");
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random.next() % n); };
  int rollbacks = 0;
  for (int step = 0; step < 150; ++step) {
    switch (pick(7)) {
      case 0:
        marks.push_back({cache.checkpoint(), calls});
        break;
      case 1:
        if (!marks.empty()) {
          const Remembered& to = marks[marks.size() - 1 - pick((std::min)(marks.size(), std::size_t(4)))];
          const bool good = cache.can_rollback(to.mark);
          EXPECT_EQ(cache.rollback(to.mark), good);
          if (good) calls = to.calls;
          rollbacks += good;
        }
        break;
      case 2:
        cache = cache.fork();
        break;
      case 3:
        if (pick(4) == 0) {
          EXPECT_TRUE(cache.truncate(0, 0));
          calls.clear();
        }
        break;
      default:
        const Index count = 1 + static_cast<Index>(pick(3));
        if (cache.length() + count <= 40) {
          calls.push_back({count, "call " + std::to_string(step)});
          static_cast<void>(feed(model, cache, {count}, calls.back().name));
        }
    }
    auto replay = model.make_cache(options);
    for (const Call& call : calls) static_cast<void>(feed(model, replay, {call.rows}, call.name));
    ASSERT_EQ(cache.length(), replay.length()) << "step " << step;
    if (cache.length() < 40) {
      auto probe = cache.fork();
      ASSERT_TRUE(same_bits(feed(model, probe, {1}, "probe"), feed(model, replay, {1}, "probe"))) << "step " << step;
    }
  }
  EXPECT_GT(rollbacks, 5);
}

// ---- errors in the middle

struct Unlucky : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A mixer of a user's that fails when its luck has run out.
struct Throwing : Stateless {
  static constexpr std::string_view name = "throwing";
  using consumes = signals<>;
  using publishes = signals<>;

  struct Config {
    int* calls_left = nullptr;
  };
  template <class Scalar>
  static void apply(const Call<Throwing, Scalar>& call, const View<Scalar>&, MutableView<Scalar>) {
    if ((*call.config.calls_left)-- == 0) throw Unlucky("no luck");
  }
  template <class Scalar>
  static void backward(const Call<Throwing, Scalar>& call, const View<Scalar>&, const View<Scalar>&, MutableView<Scalar>,
                       Params<Scalar>&) {
    if ((*call.config.calls_left)-- == 0) throw Unlucky("no luck");
  }
};

// Above keys, values and states that the call has written by then.
using Failing =
    Stack<float, Standard, Block<ScoreReuseAttention>, Block<RecurrentMixAttention>, Block<Throwing>, Block<Mamba2>>;
Failing make_failing(int& calls_left) {
  Failing::Config options{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};
  options.layer<3>().mixer.calls_left = &calls_left;
  return Failing(options);
}

TEST(LayeredError, InTheMiddleOfACallChangesNothing) {
  int calls_left = 1000;
  const Failing model = make_failing(calls_left);
  for (const Index score_bytes : {Index(1) << 20, Index(2 * 10 * 16)}) {  // a single slice; slices of two rows
    const auto make = [&] {
      calls_left = 1000;
      auto cache = model.make_cache({.sequences = 2, .positions = 10, .rows = 8, .score_bytes = score_bytes});
      static_cast<void>(feed(model, cache, {3, 1}, "first"));
      return cache;
    };
    auto cache = make(), untouched = make();
    const Mark mark = cache.checkpoint();
    static_cast<void>(untouched.checkpoint());
    for (const int lucky : {0, score_bytes > 1000 ? 0 : 2}) {
      calls_left = lucky;
      EXPECT_THROW(static_cast<void>(feed(model, cache, {5, 3}, "second")), Unlucky);
      EXPECT_LT(calls_left, 0);
      EXPECT_EQ(cache.length(0), 3);
      EXPECT_EQ(cache.length(1), 1);
    }
    calls_left = 1000;
    EXPECT_TRUE(same_bits(feed(model, cache, {7, 3}, "third"), feed(model, untouched, {7, 3}, "third")));
    EXPECT_TRUE(cache.rollback(mark));
    EXPECT_TRUE(same_bits(feed(model, cache, {2, 2}, "fourth"), [&] {
      auto fresh = make();
      return feed(model, fresh, {2, 2}, "fourth");
    }()));
  }
}

TEST(LayeredError, InAForkOfACallThatFailedChangesNothing) {
  int calls_left = 1000;
  const Failing model = make_failing(calls_left);
  auto cache = model.make_cache({.positions = 10, .rows = 8});
  static_cast<void>(feed(model, cache, {3}, "first"));
  auto untouched = cache.fork();
  calls_left = 0;
  EXPECT_THROW(static_cast<void>(feed(model, cache, {2}, "second")), Unlucky);
  auto fork = cache.fork();
  calls_left = 1000;
  EXPECT_TRUE(same_bits(feed(model, fork, {2}, "third"), feed(model, untouched, {2}, "third")));
}

TEST(LayeredError, LeavesATapeThatMustBeRecordedAgain) {
  int calls_left = 0;
  const Failing model = make_failing(calls_left);
  auto tape = model.make_tape(Sequences({3, 2}));
  auto gradients = model.make_gradients();
  EXPECT_THROW(static_cast<void>(model.forward(rows(5), tape)), Unlucky);
  EXPECT_THROW(static_cast<void>(model.backward(rows(5), tape, gradients)), ShapeError);
  calls_left = 1000;
  static_cast<void>(model.forward(rows(5), tape));
  EXPECT_NO_THROW(static_cast<void>(model.backward(rows(5), tape, gradients)));
}

}  // namespace
}  // namespace heed
