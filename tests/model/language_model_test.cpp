#include "heed/model/language_model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "../reference/linear.hpp"
#include "../reference/rms_norm.hpp"
#include "heed/threads/pool.hpp"
#include "small_models.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

using namespace small_models;
using reference::same_bits;
using testing::HasSubstr;

template <class Params>
auto tensors_of(const Params& params) {
  std::map<std::string, Matrix<double>, std::less<>> tensors;
  visit([&](std::string_view name, Role, const auto& tensor) { tensors.emplace(name, tensor.template cast<double>()); },
        params);
  return tensors;
}

// -- parameters -----------------------------------------------------------------------------------------------------

TEST(LanguageModel, NamesItsTensorsFromTheEmbeddingToTheHead) {
  const auto names = [](const auto& model) {
    std::vector<std::string> found;
    visit([&](std::string_view name, Role, const auto&) { found.emplace_back(name); }, model.params());
    return found;
  };
  const auto tied = names(Tied<float>(V, small<float>()));
  const auto untied = names(Untied<float>(V, small<float>()));
  EXPECT_EQ(tied.front(), "embedding.weight");
  EXPECT_EQ(tied[1], "layers.0.norm.weight");
  EXPECT_EQ(tied.back(), "norm.weight");
  EXPECT_EQ(untied.back(), "head.weight");
  EXPECT_EQ(untied.size(), tied.size() + 1);
}

TEST(LanguageModel, InitialisesEveryTensorByItsSeedAndItsName) {
  const auto first = tensors_of(Untied<float>(V, small<float>(), 1).params());
  const auto second = tensors_of(Untied<float>(V, small<float>(), 2).params());
  Matrix<float> embedding(V, 8);
  Random(1, "embedding.weight").normal(embedding, Initialiser::deviation);
  EXPECT_TRUE(same_bits(first.at("embedding.weight"), embedding.cast<double>().eval()));
  for (const char* name : {"embedding.weight", "layers.0.mixer.w_q", "head.weight"}) {
    ASSERT_EQ(first.count(name), 1u) << name;
    EXPECT_FALSE(same_bits(first.at(name), second.at(name))) << name;
  }
  EXPECT_TRUE(first.at("norm.weight").isOnes(0));
}

TEST(LanguageModel, StartsEqualToAnotherVariantWhereTheyShareATensor) {
  using Standard = Stack<float, Repeat<2, StandardBlock>>;
  const auto standard =
      tensors_of(LanguageModel(V, Standard({.width = 8, .heads = 2, .kv_heads = 1, .hidden = 12}), 4).params());
  const auto sharing = tensors_of(Tied<float>(V, small<float>(), 4).params());
  EXPECT_EQ(sharing.size() + 1, standard.size());  // the upper layer has no w_v
  for (const auto& [name, tensor] : sharing) EXPECT_TRUE(same_bits(tensor, standard.at(name))) << name;
}

// zeros_like would copy the references, and zero the model.
template <class Params>
concept HasZeros = requires(const Params& params) {
  zeros_like(params);
};
static_assert(HasZeros<Tied<float>::Params> && !HasZeros<Tied<float>::Weights> && !HasZeros<Tied<float>::ConstWeights>);

TEST(LanguageModel, CopiesByValue) {
  const Tied<float> model(V, small<float>(), 1);
  Tied<float> copy = model;
  copy.initialise(2);
  expect_same_tensors(model.params(), Tied<float>(V, small<float>(), 1).params());
  expect_same_tensors(copy.params(), Tied<float>(V, small<float>(), 2).params());
}

/// A norm and a head of a user's, each with a coefficient that starts where its constructor puts it.
struct ScaledRows : NoNorm {
  template <class Scalar>
  struct Params {
    Matrix<Scalar> scale;

    Params() = default;
    Params(const Shape&, const Config&) : scale(Matrix<Scalar>::Constant(1, 1, Scalar(3))) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("scale", Role::coefficient, p.scale...);
    }
  };
};
struct ScaledHead : TiedHead {
  template <class Scalar>
  struct Params {
    Matrix<Scalar> scale;

    Params() = default;
    Params(const Shape&, const Config& config) : scale(Matrix<Scalar>::Constant(1, config.vocabulary, Scalar(4))) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("scale", Role::coefficient, p.scale...);
    }
  };
};

TEST(LanguageModel, StartsEveryTensorAnewWhateverItHasBecome) {
  LanguageModel<Layers<float>, ScaledHead, ScaledRows> model(V, small<float>(), 1);
  const auto first = tensors_of(model.params());
  EXPECT_TRUE(first.at("norm.scale").isConstant(3, 0));
  EXPECT_TRUE(first.at("head.scale").isConstant(4, 0));
  visit([](std::string_view, Role, auto& tensor) { tensor.setConstant(42); }, model.params());
  model.initialise(1);
  const auto again = tensors_of(model.params());
  for (const auto& [name, tensor] : first) EXPECT_TRUE(same_bits(again.at(name), tensor)) << name;
}

TEST(LanguageModel, RefusesAnEmptyVocabulary) {
  EXPECT_THROW(Tied<float>(0, small<float>()), ConfigError);
}

// -- inference ------------------------------------------------------------------------------------------------------

template <class Model>
struct AnyModel : testing::Test {};
using Models = testing::Types<Tied<float>, Untied<float>>;
TYPED_TEST_SUITE(AnyModel, Models);

template <class Scalar>
Matrix<Scalar> head_of_norm(const Matrix<Scalar>& h, const Matrix<Scalar>& norm, const Matrix<Scalar>& head) {
  return reference::multiply_add(reference::rms_norm(h, norm, RmsNorm::Config().epsilon), head,
                                 Matrix<Scalar>(Matrix<Scalar>::Zero(h.rows(), head.cols())));
}

TYPED_TEST(AnyModel, TurnsTokensIntoLogits) {
  TypeParam model(V, small<float>());
  enlarge(model);
  const Sequences sequences{3, 0, 4};
  const auto tokens = some_tokens(7, V);
  const auto tensors = tensors_of(model.params());
  const auto embedding = tensors.at("embedding.weight");
  Matrix<float> x(7, 8);
  for (Index t = 0; t < 7; ++t) x.row(t) = embedding.row(tokens[static_cast<std::size_t>(t)]).template cast<float>();
  auto stack_cache = model.stack().make_cache({.sequences = 3, .positions = 4, .rows = 7});
  const Matrix<float> h = model.stack().forward(x, sequences, stack_cache);

  const Matrix<double> norm = tensors.at("norm.weight");
  const Matrix<double> head = tensors.count("head.weight") ? tensors.at("head.weight") : reference::transposed(embedding);
  const Matrix<float> naive = head_of_norm<float>(h, norm.cast<float>(), head.cast<float>());
  const Matrix<double> exact = head_of_norm<double>(h.cast<double>(), norm, head);
  constexpr Index operations = 2 * 8 + 7;  // the squares and the product of a row, and 7 roundings of its norm

  auto cache = model.make_cache({.sequences = 3, .positions = 4, .rows = 7});
  const Matrix<float> logits = model.logits(tokens, sequences, cache);
  reference::expect_as_exact_as_naive(logits, naive, exact, operations);

  auto next_cache = model.make_cache({.sequences = 3, .positions = 4, .rows = 7});
  const Matrix<float> next = model.next_logits(tokens, sequences, next_cache);
  Matrix<float> naive_next = Matrix<float>::Zero(3, V);
  Matrix<double> exact_next = Matrix<double>::Zero(3, V);
  for (const auto& [sequence, row] : {std::pair<Index, Index>(0, 2), std::pair<Index, Index>(2, 6)}) {
    naive_next.row(sequence) = naive.row(row);
    exact_next.row(sequence) = exact.row(row);
  }
  reference::expect_as_exact_as_naive(next, naive_next, exact_next, operations);
  EXPECT_TRUE(next.row(1).isZero(0));
}

// Layers that end with a norm, and a head that needs none; or the norm that was chosen.
TEST(LanguageModel, NormalisesAsChosenBeforeTheHead) {
  using Post = Stack<float, Block<Attention<>, FeedForward<Gelu>, LayerNorm, PostNorm>>;
  const Post stack({.width = 8, .heads = 2, .hidden = 12});
  const auto logits = [&]<class Norm>(Norm, typename Norm::Config config) {
    LanguageModel<Post, UntiedHead, Norm> model(V, stack, 3, config);
    visit([](std::string_view name, Role, auto& tensor) { Random(5, name).normal(tensor, 0.5); }, model.params());
    auto cache = model.make_cache({.positions = 4, .rows = 4});
    auto stack_cache = model.stack().make_cache({.positions = 4, .rows = 4});
    const auto tokens = some_tokens(4, V);
    Matrix<float> h(4, 8);
    const auto tensors = tensors_of(model.params());
    for (Index t = 0; t < 4; ++t)
      h.row(t) = tensors.at("embedding.weight").row(tokens[static_cast<std::size_t>(t)]).template cast<float>();
    h = Matrix<float>(model.stack().forward(h, stack_cache));
    Workers workers;
    Norm::template apply<float>(config, model.params().norm, view_of(h), mutable_view_of(h), workers);
    Matrix<float> expected = Matrix<float>::Zero(4, V);
    linear(h, model.params().head.weight, expected, workers);
    EXPECT_TRUE(same_bits(Matrix<float>(model.logits(tokens, cache)), expected)) << Norm::name;

    auto tape = model.make_tape({4});
    auto gradients = model.make_gradients();
    EXPECT_TRUE(std::isfinite(model.loss(tokens, tokens, tape)));
    EXPECT_NO_THROW(model.backward(tape, gradients));
    return expected;
  };
  const auto rms = logits(RmsNorm(), {}), none = logits(NoNorm(), {});
  EXPECT_FALSE(same_bits(rms, none));
  EXPECT_FALSE(same_bits(logits(LayerNorm(), {}), none));
  EXPECT_FALSE(same_bits(logits(RmsNorm(), {.epsilon = 0.5}), rms));
}

TEST(LanguageModel, DecodesWhatOnePassComputes) {
  // Against a model of the same weights in double: chunks are at most twice as wrong as the whole.
  Tied<float> model(V, small<float>());
  enlarge(model);
  Tied<double> exact_model(V, small<double>());
  const auto tensors = tensors_of(model.params());
  visit([&](std::string_view name, Role, auto& tensor) { tensor = tensors.find(name)->second; }, exact_model.params());

  const auto tokens = some_tokens(20, V);
  const std::span<const int> text(tokens);
  const auto whole = [&](const auto& any) {
    auto cache = any.make_cache({.positions = 20, .rows = 20});
    return Matrix<double>(any.logits(text, cache).template cast<double>());
  };
  const Matrix<double> exact = whole(exact_model), naive = whole(model);
  Matrix<double> chunked(20, V), next(20, V);
  auto cache = model.make_cache({.positions = 20, .rows = 7});
  chunked.topRows(7) = model.logits(text.first(7), cache).template cast<double>();
  for (Index t = 7; t < 20; ++t)
    chunked.row(t) = model.logits(text.subspan(static_cast<std::size_t>(t), 1), cache).template cast<double>();
  auto next_cache = model.make_cache({.positions = 20, .rows = 7});
  next.topRows(7) = chunked.topRows(7);
  next.row(6) = model.next_logits(text.first(7), next_cache).template cast<double>();
  for (Index t = 7; t < 20; ++t)
    next.row(t) = model.next_logits(text.subspan(static_cast<std::size_t>(t), 1), next_cache).template cast<double>();

  // Both layers, their norms and the head: products of 8, 12 and 20 terms.
  const double floor = static_cast<double>(std::numeric_limits<float>::epsilon()) * (2 * (5 * 8 + 12 + 20) + 2 * 8) *
                       reference::largest(exact);
  EXPECT_LE(reference::error_of(chunked, exact), 2 * reference::error_of(naive, exact) + floor);
  EXPECT_LE(reference::error_of(next, exact), 2 * reference::error_of(naive, exact) + floor);
}

TEST(LanguageModel, BringsItsLayersAMemoryWithTheFirstTokens) {
  Reader<float> model = reader<float>();
  enlarge(model);
  const auto tokens = some_tokens(6, V);
  const std::span<const int> text(tokens);
  const Matrix<float> m = reference::random_matrix<float>(6, 8, "m");
  const Sequences sequences{3, 1}, memories{4, 2}, again{2, 0};
  const CacheOptions options{.sequences = 2, .positions = 5, .rows = 4};

  // What the stack makes of the embedded tokens and the same memory goes through the same head.
  auto cache = model.make_cache(options), next_cache = model.make_cache(options);
  const Matrix<float> logits = model.logits(text.first(4), sequences, MemoryRows(m, memories), cache);
  const Matrix<float> next = model.next_logits(text.first(4), sequences, MemoryRows(m, memories), next_cache);
  EXPECT_TRUE(same_bits(next.row(0), logits.row(2)));
  EXPECT_TRUE(same_bits(next.row(1), logits.row(3)));
  // Later calls need none.
  const Matrix<float> later = model.logits(text.last(2), again, cache);
  EXPECT_TRUE(same_bits(model.next_logits(text.last(2), again, next_cache).row(0), later.row(1)));

  // Each sequence has its own, alone too.
  for (const Index b : {0, 1}) {
    const auto of_sequence = text.subspan(std::size_t(sequences.begin(b)), std::size_t(sequences.rows(b)));
    const MemoryRows memory(m.middleRows(memories.begin(b), memories.rows(b)));
    auto alone = model.make_cache({.positions = 5, .rows = 4}), alone_next = model.make_cache({.positions = 5, .rows = 4});
    EXPECT_TRUE(same_bits(model.logits(of_sequence, memory, alone),
                          Matrix<float>(logits.middleRows(sequences.begin(b), sequences.rows(b)))));
    EXPECT_TRUE(same_bits(model.next_logits(of_sequence, memory, alone_next), Matrix<float>(next.row(b))));
  }
  auto untouched = model.make_cache({.positions = 5, .rows = 4});
  EXPECT_THAT(shape_error([&] { model.logits(text.first(2), untouched); }), HasSubstr("expected its memory"));
  EXPECT_EQ(untouched.length(), 0);
}

TEST(LanguageModelCache, ReplaysAfterRollbackForkAndTruncate) {
  Tied<float> model(V, small<float>());
  enlarge(model);
  const auto tokens = some_tokens(12, V);
  const std::span<const int> text(tokens);
  auto cache = model.make_cache({.positions = 12, .rows = 5});
  model.logits(text.first(5), cache);
  const Mark mark = cache.checkpoint();
  const auto decode = [&](auto& on) {
    Matrix<float> logits(3, V);
    for (Index t = 0; t < 3; ++t) logits.row(t) = model.logits(text.subspan(5 + static_cast<std::size_t>(t), 1), on);
    return logits;
  };
  auto fork = cache.fork();
  const Matrix<float> first = decode(cache);
  EXPECT_EQ(cache.length(), 8);
  EXPECT_EQ(fork.length(), 5);
  EXPECT_TRUE(same_bits(decode(fork), first));
  ASSERT_TRUE(cache.can_rollback(mark));
  ASSERT_TRUE(cache.rollback(mark));
  EXPECT_TRUE(same_bits(decode(cache), first));
  ASSERT_TRUE(cache.can_truncate(0, 5));
  ASSERT_TRUE(cache.truncate(0, 5));
  EXPECT_TRUE(same_bits(decode(cache), first));
  EXPECT_FALSE(cache.truncate(0, 9));
}

TEST(LanguageModelCache, CountsTheBytesOfItsStack) {
  const Tied<float> model(V, small<float>());
  const CacheOptions options{.sequences = 2, .positions = 9};
  const auto cache = model.make_cache(options);
  EXPECT_EQ(cache.bytes(), model.stack().make_cache(options).bytes());
  EXPECT_EQ(cache.sequences(), 2);
  EXPECT_EQ(cache.capacity(1), 9);
}

TEST(LanguageModel, AllocatesNothingInADecodeStep) {
  const Tied<float> model(70, medium<float>());
  const auto tokens = some_tokens(40, 70);
  const std::span<const int> text(tokens);
  for (const Index B : {1, 4})
    for (const int workers : {1, 3}) {
      Pool pool(workers);
      auto cache = model.make_cache({.sequences = B, .positions = 20, .rows = 10 * B, .executor = &pool});
      const Sequences prompt = Sequences::each(B, 10), step = Sequences::each(B, 1);
      const auto n = static_cast<std::size_t>(B);
      const std::size_t before = allocations_so_far(), blocks = cache.scratch_blocks();
      static_cast<void>(model.next_logits(text.first(10 * n), prompt, cache));
      static_cast<void>(model.logits(text.first(n), step, cache));
      const Mark mark = cache.checkpoint();
      static_cast<void>(model.next_logits(text.first(n), step, cache));
      static_cast<void>(cache.rollback(mark));
      static_cast<void>(model.next_logits(text.first(n), step, cache));
      if (B == 1) static_cast<void>(model.next_logits(text.first(1), cache));
      EXPECT_EQ(allocations_so_far(), before) << B << " sequences, " << workers << " workers";
      EXPECT_EQ(cache.scratch_blocks(), blocks);
    }
}

TEST(LanguageModel, RefusesTokensThatDoNotFitAndChangesNothing) {
  const Tied<float> model(V, small<float>());
  auto cache = model.make_cache({.positions = 4, .rows = 4});
  auto pair = model.make_cache({.sequences = 2, .positions = 4, .rows = 4});
  const View<float> logits = model.logits(std::vector<int>{1, 2}, cache);
  const Matrix<float> before = logits;
  const auto refused = [&](std::vector<int> tokens) { return shape_error([&] { model.logits(tokens, cache); }); };
  EXPECT_THAT(refused({1, 11}), HasSubstr("tokens: expected numbers in [0, 11), found 11 at 1"));
  EXPECT_THAT(refused({-1}), HasSubstr("tokens: expected numbers in [0, 11), found -1 at 0"));
  EXPECT_THAT(refused({}), HasSubstr("tokens: expected at least one, found none"));
  EXPECT_THAT(refused({1, 2, 3}), HasSubstr("expected at most 4 positions, found 2 cached + 3 new"));
  EXPECT_THAT(shape_error([&] { model.next_logits(std::vector<int>{}, cache); }),
              HasSubstr("expected at least one, found none"));
  EXPECT_THAT(shape_error([&] {
                model.logits(std::vector<int>{1, 2}, Sequences{1, 2}, pair);
              }),
              HasSubstr("tokens: expected 3, found 2"));
  EXPECT_THAT(shape_error([&] {
                model.logits(std::vector<int>{1, 2}, Sequences{2}, pair);
              }),
              HasSubstr("2 sequences, found 1"));
  EXPECT_THAT(shape_error([&] {
                model.logits(std::vector<int>{1, 2}, pair);
              }),
              HasSubstr("a cache of one sequence, found 2"));
  EXPECT_EQ(cache.length(), 2);
  EXPECT_EQ(pair.length(), 0);
  EXPECT_TRUE(same_bits(logits, before));
}

}  // namespace
}  // namespace heed
