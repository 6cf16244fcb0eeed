#include "heed/mixers/cross_attention.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/linear.hpp"
#include "heed/mixers/side_by_side.hpp"
#include "heed/model/inspect.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/testing/memory_source.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using testing::Layers;
using testing::MemorySource;

const testing::ContractOptions small = {
    .sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4},
    .lengths = {4, 0, 1, 5}};

TEST(CrossAttention, HoldsTheContract) {
  const auto report = testing::mixer_contract<CrossAttention, Layers<MemorySource>>({.memory_positions = 7}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(CrossAttention, HoldsTheContractWithBiasesAndANormOfEveryHead) {
  const auto report = testing::mixer_contract<CrossAttention, Layers<MemorySource>>(
      {.memory_positions = 9, .biases = true, .query_key_norm = QueryKeyNorm::per_head, .norm_epsilon = 0.01}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(CrossAttention, HoldsTheContractWithANormOfAllHeadsAScaleAndASoftCap) {
  const auto report = testing::mixer_contract<CrossAttention, Layers<MemorySource>>(
      {.memory_positions = 7, .query_key_norm = QueryKeyNorm::whole, .norm_epsilon = 0.01, .scale = 0.4, .soft_cap = 1.5},
      small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(CrossAttention, HoldsTheContractWithSinks) {
  const auto report =
      testing::mixer_contract<CrossAttention, Layers<MemorySource>>({.memory_positions = 7, .sinks = true}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

// ------------------------------------------------------------------------------------------------- beside plain loops

constexpr Sizes sizes = {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .value_width = 3};
constexpr Index memory_width = 5;

// Heads of 4 features, of 3 value features, two query heads a kv head.
template <class Scalar>
Matrix<Scalar> naive(const CrossAttention::Params<Scalar>& params, const Matrix<Scalar>& x, const Matrix<Scalar>& m) {
  const auto project = [](const Matrix<Scalar>& rows, const Matrix<Scalar>& w) {
    return reference::multiply_add(rows, w, Matrix<Scalar>(Matrix<Scalar>::Zero(rows.rows(), w.cols())));
  };
  const Matrix<Scalar> q = project(x, params.q.w), k = project(m, params.k.w), v = project(m, params.v.w);
  Matrix<Scalar> o = Matrix<Scalar>::Zero(x.rows(), 4 * 3);
  for (Index h = 0; h < 4; ++h)
    for (Index t = 0; t < x.rows(); ++t) {
      std::vector<Scalar> a(static_cast<std::size_t>(m.rows()), 0);
      Scalar sum = params.sinks.size() > 0 ? std::exp(params.sinks(0, h)) : 0;
      for (Index s = 0; s < m.rows(); ++s) {
        for (Index e = 0; e < 4; ++e) a[static_cast<std::size_t>(s)] += q(t, h * 4 + e) * k(s, h / 2 * 4 + e);
        sum += a[static_cast<std::size_t>(s)] = std::exp(Scalar(0.5) * a[static_cast<std::size_t>(s)]);
      }
      for (Index s = 0; s < m.rows(); ++s)
        for (Index e = 0; e < 3; ++e) o(t, h * 3 + e) += a[static_cast<std::size_t>(s)] / sum * v(s, h / 2 * 3 + e);
    }
  return project(o, params.w_o);
}

template <class Scalar>
CrossAttention::Params<Scalar> drawn(const CrossAttention::Params<Scalar>& like) {
  auto params = like;
  visit(
      [](std::string_view name, Role, Matrix<Scalar>& tensor) {
        tensor = random_matrix<double>(tensor.rows(), tensor.cols(), name, 0.4).template cast<Scalar>();
      },
      params);
  return params;
}

void expect_plain_loops(const CrossAttention::Config& config) {
  MixerLayer<float, CrossAttention> layer(sizes, config);
  layer.params = drawn(layer.params);
  const auto exact = drawn(CrossAttention::Params<double>(layer.shape(), config));
  const Sequences sequences = {3, 2, 0, 1}, memories = {6, 1, 4, 0};
  const auto x = random_matrix<float>(sequences.rows(), 8, "x"),
             m = random_matrix<float>(memories.rows(), memory_width, "m");

  Workspace work({.sequences = 4, .positions = 8});
  auto state = layer.make_state(work);
  Matrix<float> y = Matrix<float>::Zero(x.rows(), 8);
  const Pass pass = work.begin(sequences);
  layer.apply(pass, x, y, state, feed_memory(pass, MemoryRows(m, memories)));
  for (Index b = 0; b < sequences.size(); ++b) {
    const Matrix<float> x_b = x.middleRows(sequences.begin(b), sequences.rows(b));
    const Matrix<float> m_b = m.middleRows(memories.begin(b), memories.rows(b));
    const Matrix<float> found = y.middleRows(sequences.begin(b), sequences.rows(b));
    reference::expect_as_exact_as_naive(found, naive(layer.params, x_b, m_b),
                                        naive<double>(exact, x_b.cast<double>(), m_b.cast<double>()), 8 + 6 + 12);
  }
}

TEST(CrossAttention, ComparesTheRowsOfASequenceWithItsOwnMemory) {
  expect_plain_loops({.memory_positions = 6, .memory_width = memory_width});
}

TEST(CrossAttention, WithSinksLeavesAShareToThem) {
  expect_plain_loops({.memory_positions = 6, .memory_width = memory_width, .sinks = true});
}

TEST(CrossAttention, WithSinksSwitchedOffIsWithout) {
  const CrossAttention::Config with{.memory_positions = 6, .sinks = true}, without{.memory_positions = 6};
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(6, 8, "m");
  const auto y_of = [&](const CrossAttention::Config& config, float sink) {
    MixerLayer<float, CrossAttention> layer(sizes, config);
    layer.params = drawn(layer.params);
    layer.params.sinks.setConstant(sink);
    Workspace work({.positions = 8});
    auto state = layer.make_state(work);
    Matrix<float> y = Matrix<float>::Zero(3, 8);
    const Pass pass = work.begin({3});
    layer.apply(pass, x, y, state, feed_memory(pass, MemoryRows(m)));
    return y;
  };
  EXPECT_TRUE(same_bits(y_of(with, -std::numeric_limits<float>::infinity()), y_of(without, 0)));
  EXPECT_FALSE(same_bits(y_of(with, 0), y_of(without, 0)));
}

// --------------------------------------------------------------------------------------- memory from outside of stacks

using Decoder = Stack<float, Block<Attention<>>, Block<CrossAttention>>;
Decoder::Config decoder_config() {
  Decoder::Config config{.width = 8, .heads = 4, .kv_heads = 2, .hidden = 12};
  config.layer<1>().mixer.memory_positions = 6;
  return config;
}
const Decoder& decoder() {
  static const Decoder model = [] {
    Decoder made(decoder_config());
    visit([](std::string_view name, Role, Matrix<float>& tensor) { Random(5, name).normal(tensor, 0.5); }, made.params());
    return made;
  }();
  return model;
}
Matrix<float> first_call(const Matrix<float>& x, const Matrix<float>& m) {
  auto cache = decoder().make_cache({.positions = 8, .rows = 8});
  return decoder().forward(x, MemoryRows(m), cache);
}

TEST(CrossAttention, ReadsMemoryFromOutsideTheStack) {
  EXPECT_EQ((Decoder::source<1, first<memory>>), nowhere);
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(6, 8, "m");
  EXPECT_FALSE(same_bits(first_call(x, m), first_call(x, Matrix<float>(2 * m))));
  EXPECT_FALSE(same_bits(first_call(x, m), first_call(x, Matrix<float>(m.topRows(5)))));
}

TEST(CrossAttention, ReadsMemoryInTheFirstCallAndTheCacheInLaterOnes) {
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(6, 8, "m"),
             other = random_matrix<float>(2, 8, "o");
  const auto second_call = [&](const auto& memory_of_it) {
    auto cache = decoder().make_cache({.positions = 8, .rows = 8});
    static_cast<void>(decoder().forward(x.topRows(2), MemoryRows(m), cache));
    return Matrix<float>(decoder().forward(x.bottomRows(1), memory_of_it, cache));
  };
  const Matrix<float> same = second_call(MemoryRows(m));
  EXPECT_TRUE(same_bits(second_call(MemoryRows<float>()), same)) << "it needs none";
  EXPECT_TRUE(same_bits(second_call(MemoryRows(other)), same)) << "it reads none";
}

TEST(CrossAttention, TakesTheMemoryOfANewConversation) {
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(6, 8, "m"),
             other = random_matrix<float>(2, 8, "o");
  auto cache = decoder().make_cache({.positions = 8, .rows = 8});
  static_cast<void>(decoder().forward(x, MemoryRows(m), cache));
  ASSERT_TRUE(cache.truncate(0, 0));
  EXPECT_TRUE(same_bits(decoder().forward(x, MemoryRows(other), cache), first_call(x, other)));
}

TEST(CrossAttention, GivesSequencesThatJoinLaterTheirOwnMemory) {
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(6, 8, "m"),
             other = random_matrix<float>(2, 8, "o");
  auto cache = decoder().make_cache({.sequences = 2, .positions = 8, .rows = 8});
  static_cast<void>(decoder().forward(x, {3, 0}, MemoryRows(m, Sequences({6, 0})), cache));
  const auto y = decoder().forward(x, {0, 3}, MemoryRows(other, Sequences({0, 2})), cache);
  EXPECT_TRUE(same_bits(y, first_call(x, other)));
}

TEST(CrossAttention, TakesMemoriesAlongWhenSequencesChangePlaces) {
  const auto x = random_matrix<float>(2, 8, "x"), m = random_matrix<float>(6, 8, "m"),
             next = random_matrix<float>(1, 8, "n");
  const Sequences memories = {5, 1};
  auto cache = decoder().make_cache({.sequences = 2, .positions = 8, .rows = 8});
  static_cast<void>(decoder().forward(x, {1, 1}, MemoryRows(m, memories), cache));
  auto straight = cache.fork();
  ASSERT_TRUE(cache.reorder({1, 1}));
  const Matrix<float> of_1 = decoder().forward(next, {0, 1}, straight);
  EXPECT_TRUE(same_bits(decoder().forward(next, {1, 0}, cache), of_1));
  EXPECT_TRUE(same_bits(decoder().forward(next, {0, 1}, cache), of_1));
}

TEST(CrossAttention, SavesAndLoadsItsMemories) {
  const auto x = random_matrix<float>(2, 8, "x"), m = random_matrix<float>(6, 8, "m"),
             next = random_matrix<float>(1, 8, "n");
  const Sequences memories = {5, 1};
  const CacheOptions options = {.sequences = 2, .positions = 8, .rows = 8};
  auto cache = decoder().make_cache(options), loaded = decoder().make_cache(options);
  static_cast<void>(decoder().forward(x, {1, 1}, MemoryRows(m, memories), cache));
  loaded.load(cache.save());
  for (const Sequences& one : {Sequences{1, 0}, Sequences{0, 1}}) {
    const Matrix<float> expected = decoder().forward(next, one, cache);
    EXPECT_TRUE(same_bits(decoder().forward(next, one, loaded), expected));
  }
}

TEST(CrossAttention, StandsBesideHeadsThatAttendToTheirOwnSequence) {
  using Both = SideBySide<Attention<>, CrossAttention>;
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(6, 8, "m");
  const auto rows_of = [&](Index second_kv_heads, const Matrix<float>& memory_rows) {
    Stack<float, Block<Both>>::Config config{.width = 8, .heads = 4, .kv_heads = 2, .hidden = 12};
    config.layer<0>().mixer = {.second_kv_heads = second_kv_heads, .second = {.memory_positions = 6}};
    const Stack<float, Block<Both>> model(config);
    auto cache = model.make_cache({.positions = 8, .rows = 8});
    return Matrix<float>(model.forward(x, MemoryRows(memory_rows), cache));
  };
  const Matrix<float> other = 2 * m;
  EXPECT_TRUE(same_bits(rows_of(0, m), rows_of(0, other)));
  EXPECT_FALSE(same_bits(rows_of(1, m), rows_of(1, other)));
  EXPECT_FALSE(same_bits(rows_of(2, m), rows_of(2, other)));
}

TEST(CrossAttention, AllocatesNothingAfterItsCacheIsMade) {
  const auto x = random_matrix<float>(1, 8, "x"), m = random_matrix<float>(6, 8, "m");
  auto cache = decoder().make_cache({.positions = 8, .rows = 1});
  const std::size_t blocks = cache.scratch_blocks();
  static_cast<void>(decoder().forward(x, MemoryRows(m), cache));
  static_cast<void>(decoder().forward(x, cache));
  EXPECT_EQ(cache.scratch_blocks(), blocks);
}

TEST(CrossAttention, AddsToTheGradientOfTheMemory) {
  auto model = DynamicStack<double>::build(
      sizes,
      {choose<Attention<>>(),
       choose<CrossAttention>(
           {.memory_positions = 4, .memory_width = memory_width, .biases = true, .query_key_norm = QueryKeyNorm::per_head}),
       choose<CrossAttention>({.memory_positions = 4, .memory_width = memory_width})});
  visit([](std::string_view name, Role, Matrix<double>& tensor) { Random(5, name).normal(tensor, 0.5); }, model.params());
  const Sequences sequences = {2, 0, 1}, memories = {4, 2, 3};
  auto x = random_matrix<double>(3, 8, "x"), m = random_matrix<double>(9, memory_width, "m");
  const auto d_y = random_matrix<double>(3, 8, "d_y"), start = random_matrix<double>(9, memory_width, "start");
  Matrix<double> d_m = start;

  auto tape = model.make_tape(sequences);
  auto gradients = model.make_gradients();
  static_cast<void>(model.forward(x, MemoryRows(m, memories, d_m), tape));
  static_cast<void>(model.backward(d_y, tape, gradients));
  EXPECT_TRUE(same_bits(d_m.middleRows(4, 2), start.middleRows(4, 2))) << "a sequence without rows read nothing";
  reference::expect_gradient(m, Matrix<double>(d_m - start), 200,
                             [&] { return reference::dot(model.forward(x, MemoryRows(m, memories), tape), d_y); });
}

// ------------------------------------------------------------------------------------------------ what it is, and not

TEST(CrossAttention, CachesAMemoryAndNothingForItsPositions) {
  const Shape shape = sizes.shape();
  const CrossAttention::Config config{.memory_positions = 10};
  EXPECT_EQ(CrossAttention::plan(shape, config).per_position, 0);
  EXPECT_EQ(CrossAttention::plan(shape, config).per_sequence, 10 * 2 * (4 + 3));
  EXPECT_EQ(cache_bytes(CrossAttention::Cache<float>(shape, config, {{5, 50}})), 2 * 10 * 2 * (4 + 3) * 4);
}

TEST(CrossAttention, WorksOnTheWholeMemoryForEveryToken) {
  const auto model =
      DynamicStack<float>::build({.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .value_width = 3, .hidden = 12},
                                 {DynamicStack<float>::Layer(choose<CrossAttention>({.memory_positions = 10}))});
  const Index projections = 8 * 16 + 12 * 8, feed_forward = 3 * 8 * 12;
  EXPECT_EQ(flops_per_token(model, 5), 2 * (projections + feed_forward) + 2 * 10 * (16 + 12));
}

template <class Error, class F>
std::string text_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(CrossAttention, RefusesMemoryThatDoesNotFit) {
  const auto x = random_matrix<float>(3, 8, "x"), m = random_matrix<float>(7, 9, "m");
  auto cache = decoder().make_cache({.positions = 8, .rows = 8});
  const auto error = [&](const MemoryRows<float>& rows) {
    return text_of<ShapeError>([&] { static_cast<void>(decoder().forward(x, rows, cache)); });
  };
  EXPECT_EQ(error({}), "memory: sequence 0: expected its memory in the call that brings its first rows, found none");
  EXPECT_EQ(error(MemoryRows(m)), "memory: sequence 0: expected 8 columns, found 9");
  EXPECT_EQ(error(MemoryRows(m.leftCols(8))), "memory: sequence 0: expected at most 6 rows, found 7");
  const Sequences two = {3, 4}, eight = {8};
  EXPECT_EQ(error(MemoryRows(m, two)), "memory: expected that of 1 sequences, found that of 2");
  EXPECT_EQ(error(MemoryRows(m, eight)), "memory: expected [8 x 9], found [7 x 9]");
  EXPECT_EQ(cache.length(), 0);
}

TEST(CrossAttention, RefusesAMemoryOfNoPositions) {
  EXPECT_EQ(text_of<ConfigError>([] { CrossAttention::check(sizes.shape(), {}, "layer 2"); }),
            "layer 2: memory_positions: expected 1 or more (how many rows a memory may have), found 0");
}

}  // namespace
}  // namespace heed
