// Where two variants are the same function, they give the same rows and the same gradients.
#include "heed/mixers/variants.hpp"

#include <gtest/gtest.h>

#include "mixers/pair.hpp"

namespace heed {
namespace {

using namespace heed::pair;

const Outcome& standard() {
  static const Outcome outcome = run<float, StandardAttention>();
  return outcome;
}
const Outcome& exact_standard() {
  static const Outcome outcome = run<double, StandardAttention>();
  return outcome;
}

TEST(Variants, ResFormerWithoutTheFirstValuesIsStandardAttention) {
  const Outcome found = run<float, ResidualValueAttention>({.values = {.coefficients = {.from_first = 0, .from_own = 1}}});
  expect_equal(found, standard(), exact_standard());
}

TEST(Variants, LearnedResFormerWithoutTheFirstValuesIsStandardAttention) {
  const Outcome found =
      run<float, LearnedResidualValueAttention>({.values = {.coefficients = {.from_first = 0, .from_own = 1}}});
  expect_equal(found, standard(), exact_standard());
}

TEST(Variants, ResFormerWithTheFirstValuesAloneIsSVFormer) {
  const ResidualValueAttention::Config config = {.values = {.coefficients = {.from_first = 1, .from_own = 0}}};
  const Outcome found = run<float, ResidualValueAttention>(config);
  EXPECT_TRUE((found.gradients.at("top.w_v").array() == 0).all());
  expect_equal(found, run<float, SharedValueAttention>(), run<double, SharedValueAttention>());
}

TEST(Variants, PartialReuseOfNoHeadIsStandardAttention) {
  expect_equal(run<float, PartialScoreReuseAttention>({.second_kv_heads = 0}), standard(), exact_standard());
}

TEST(Variants, PartialReuseOfAllHeadsIsScoreReuse) {
  expect_equal(run<float, PartialScoreReuseAttention>({.second_kv_heads = 2}), run<float, ScoreReuseAttention>(),
               run<double, ScoreReuseAttention>());
}

TEST(Variants, AMixWithoutRecurrentHeadsIsStandardAttention) {
  expect_equal(run<float, RecurrentMixAttention>({.second_kv_heads = 0}), standard(), exact_standard());
}

TEST(Variants, AMixOfRecurrentHeadsAloneIsMamba2) {
  const Mamba2::Config config = {.state_width = 3, .chunk = 4};
  expect_equal(run<float, RecurrentMixAttention>({.second_kv_heads = 2, .second = config}), run<float, Mamba2>(config),
               run<double, Mamba2>(config));
}

// The upper layer's queries and keys are those of the lower one, which is what reuse shares.
TEST(Variants, FullReuseIsStandardAttentionOfTheSameQueriesAndKeys) {
  const Change same_scores = [](const std::string& name, Matrix<double>& tensor) {
    if (name == "top.w_q" || name == "top.w_k")
      Random(7, "bottom" + name.substr(3)).normal(tensor, 1 / std::sqrt(static_cast<double>(tensor.rows())));
  };
  const Sequences rows = {5, 0, 9};
  const auto tied = [&](Outcome outcome) {  // what one tensor gets in one model, two get in the other
    for (const char* name : {"w_q", "w_k"}) {
      outcome.gradients.at(std::string("bottom.") + name) += outcome.gradients.at(std::string("top.") + name);
      outcome.gradients.erase(std::string("top.") + name);
    }
    return outcome;
  };
  const Outcome found = run<float, ScoreReuseAttention>({}, rows);
  const Outcome untied = run<float, StandardAttention>({}, rows, sizes, same_scores);
  const Outcome exact = run<double, StandardAttention>({}, rows, sizes, same_scores);
  EXPECT_GT(untied.gradients.at("top.w_q").cwiseAbs().maxCoeff(), 0);
  EXPECT_EQ(found.gradients.count("top.w_q"), 0u);
  expect_equal(found, tied(untied), tied(exact));
}

// The upper layer's keys are those of the lower one, which is what a group shares.
TEST(Variants, SharedKeysAreStandardAttentionOfTheSameKeys) {
  const Change same_keys = [](const std::string& name, Matrix<double>& tensor) {
    if (name == "top.w_k") Random(7, "bottom.w_k").normal(tensor, 1 / std::sqrt(static_cast<double>(tensor.rows())));
  };
  const auto tied = [&](Outcome outcome) {
    outcome.gradients.at("bottom.w_k") += outcome.gradients.at("top.w_k");
    outcome.gradients.erase("top.w_k");
    return outcome;
  };
  const Outcome untied = run<float, StandardAttention>({}, {5, 0, 9}, sizes, same_keys);
  EXPECT_GT(untied.gradients.at("top.w_k").cwiseAbs().maxCoeff(), 0);
  expect_equal(run<float, SharedKeyAttention>(), tied(untied),
               tied(run<double, StandardAttention>({}, {5, 0, 9}, sizes, same_keys)));
}

TEST(Variants, AWindowAsLongAsTheSequenceIsCausal) {
  for (const Index w : {9, 10, 1000}) {
    const StandardAttention::Config windowed = {.scores = {.mask = window(w)}};
    expect_equal(run<float, StandardAttention>(windowed, {5, 0, 9}, sizes, as_drawn, windowed), standard(),
                 exact_standard());
  }
}

TEST(Variants, AWindowShorterThanTheSequenceIsNot) {
  const StandardAttention::Config windowed = {.scores = {.mask = window(8)}};
  const Outcome found = run<float, StandardAttention>(windowed, {5, 0, 9}, sizes, as_drawn, windowed);
  EXPECT_GT(error_of(found.y, exact_standard().y), 1e3 * error_of(standard().y, exact_standard().y));
}

TEST(Variants, SinksOfMinusInfinityAreNone) {
  const StandardAttention::Config with_sinks = {.scores = {.sinks = true}};
  const Change off = [](const std::string& name, Matrix<double>& tensor) {
    if (name.ends_with(".sinks")) tensor.setConstant(-std::numeric_limits<double>::infinity());
  };
  const Outcome found = run<float, StandardAttention>(with_sinks, {5, 0, 9}, sizes, off, with_sinks);
  EXPECT_TRUE((found.gradients.at("top.sinks").array() == 0).all());
  expect_equal(found, standard(), exact_standard());
  const Outcome open = run<float, StandardAttention>(with_sinks, {5, 0, 9}, sizes, as_drawn, with_sinks);
  EXPECT_GT(error_of(open.y, exact_standard().y), 1e3 * error_of(standard().y, exact_standard().y));
}

TEST(Variants, BiasesOfZeroAreNone) {
  const StandardAttention::Config biased = {.scores = {.biases = true}, .values = {.biases = true}, .output_bias = true};
  expect_equal(run<float, StandardAttention>(biased, {5, 0, 9}, sizes, as_drawn, biased), standard(), exact_standard());
}

TEST(Variants, OneHeadIsNormedAsAWhole) {
  const Sizes one = {.width = width, .heads = 1, .head_width = 4};
  const auto normed = [](QueryKeyNorm norm) { return StandardAttention::Config{.scores = {.query_key_norm = norm}}; };
  const auto per_head = normed(QueryKeyNorm::per_head), whole = normed(QueryKeyNorm::whole);
  expect_equal(run<float, StandardAttention>(per_head, {5, 0, 9}, one, as_drawn, per_head),
               run<float, StandardAttention>(whole, {5, 0, 9}, one, as_drawn, whole),
               run<double, StandardAttention>(whole, {5, 0, 9}, one, as_drawn, whole), one);
}

TEST(Variants, GroupsOfOneQueryHeadAreMultiHeadAttention) {
  const Sizes grouped = {.width = width, .heads = 4, .kv_heads = 4, .head_width = 4};
  const Sizes multi_head = {.width = width, .heads = 4, .head_width = 4};
  expect_equal(run<float, StandardAttention>({}, {5, 0, 9}, grouped),
               run<float, StandardAttention>({}, {5, 0, 9}, multi_head),
               run<double, StandardAttention>({}, {5, 0, 9}, multi_head), grouped);
}

// Query head h reads kv head h / group: repeating each kv head `group` times gives every query head one of its own.
TEST(Variants, GroupedHeadsAreMultiHeadAttentionWithRepeatedKeysAndValues) {
  const Index head = 4, group = 2;
  const Sizes multi_head = {.width = width, .heads = 4, .head_width = head};
  const auto of_kv_heads = [](const std::string& name) { return name.ends_with(".w_k") || name.ends_with(".w_v"); };
  const Change repeat = [&](const std::string& name, Matrix<double>& tensor) {
    if (!of_kv_heads(name)) return;
    Matrix<double> once(tensor.rows(), tensor.cols() / group);
    Random(7, name).normal(once, 1 / std::sqrt(static_cast<double>(tensor.rows())));
    for (Index h = 0; h < 4; ++h) tensor.middleCols(h * head, head) = once.middleCols(h / group * head, head);
  };
  const auto folded = [&](Outcome outcome) {
    for (auto& [name, gradient] : outcome.gradients) {
      if (!of_kv_heads(name)) continue;
      Matrix<double> once = Matrix<double>::Zero(gradient.rows(), gradient.cols() / group);
      for (Index h = 0; h < 4; ++h) once.middleCols(h / group * head, head) += gradient.middleCols(h * head, head);
      gradient = once;
    }
    return outcome;
  };
  expect_equal(standard(), folded(run<float, StandardAttention>({}, {5, 0, 9}, multi_head, repeat)),
               folded(run<double, StandardAttention>({}, {5, 0, 9}, multi_head, repeat)));
}

// --------------------------------------------------------------------------------------------------------------------
// What a variant lacks is a fact of its type.
// --------------------------------------------------------------------------------------------------------------------

template <class Variant>
std::string tensors_of() {
  std::string names;
  const typename Variant::template Params<float> params(sizes.shape(), {});
  visit([&](std::string_view name, Role, const auto&) { names += (names.empty() ? "" : " ") + std::string(name); }, params);
  return names;
}

TEST(Variants, HaveTheWeightsOfTheirEquationsAndNoOthers) {
  EXPECT_EQ(tensors_of<StandardAttention>(), "w_q w_k w_v w_o");
  EXPECT_EQ(tensors_of<ResidualValueAttention>(), "w_q w_k w_v w_o");
  EXPECT_EQ(tensors_of<LearnedResidualValueAttention>(), "w_q w_k w_v from_first from_own w_o");
  EXPECT_EQ(tensors_of<SharedValueAttention>(), "w_q w_k w_o");
  EXPECT_EQ(tensors_of<ScoreReuseAttention>(), "w_v w_o");
  EXPECT_EQ(tensors_of<ScoreReuseResidualValueAttention>(), "w_v w_o");
  EXPECT_EQ(tensors_of<ScoreReuseSharedValueAttention>(), "w_o");
  EXPECT_EQ(tensors_of<SharedKeyAttention>(), "w_q w_v w_o");
  EXPECT_EQ(tensors_of<CrossLayerAttention>(), "w_q w_o");
  EXPECT_EQ(tensors_of<SharedKeyValueAttention>(), "w_q w_o");
}

TEST(Variants, CacheWhatTheirEquationsNeedAndNoMore) {
  const Shape shape = sizes.shape();
  const Index row = shape.v_width();
  EXPECT_EQ(StandardAttention::plan(shape, {}).per_position, 2 * row);
  EXPECT_EQ(ResidualValueAttention::plan(shape, {}).per_position, 2 * row);
  EXPECT_EQ(SharedValueAttention::plan(shape, {}).per_position, row);
  EXPECT_EQ(ScoreReuseAttention::plan(shape, {}).per_position, row);
  EXPECT_EQ(ScoreReuseResidualValueAttention::plan(shape, {}).per_position, row);
  EXPECT_EQ(ScoreReuseSharedValueAttention::plan(shape, {}).per_position, 0);
  EXPECT_EQ(SharedKeyAttention::plan(shape, {}).per_position, row);
  EXPECT_EQ(SharedKeyValueAttention::plan(shape, {}).per_position, 0);
  EXPECT_EQ(Mamba2::plan(shape, {}).per_position, 0);
}

static_assert(std::is_same_v<StandardAttention::consumes, signals<>>);
static_assert(std::is_same_v<ResidualValueAttention::consumes, signals<first<values>>>);
static_assert(std::is_same_v<SharedValueAttention::consumes, signals<first<values>>>);
static_assert(std::is_same_v<ScoreReuseAttention::consumes, signals<nearest<scores>>>);
static_assert(std::is_same_v<PartialScoreReuseAttention::consumes, signals<nearest<scores>>>);
static_assert(std::is_same_v<Mamba2::consumes, signals<>>);
static_assert(Mixer<StandardAttention> && Mixer<ResidualValueAttention> && Mixer<LearnedResidualValueAttention> &&
              Mixer<SharedValueAttention> && Mixer<ScoreReuseAttention> && Mixer<PartialScoreReuseAttention> &&
              Mixer<RecurrentMixAttention> && Mixer<Mamba2>);

}  // namespace
}  // namespace heed
