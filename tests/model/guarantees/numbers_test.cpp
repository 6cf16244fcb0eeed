// Numbers stay finite, and stay where they belong: large scores, long sequences, NaN in somebody else's rows.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "heed/ops/attend.hpp"
#include "reference/bounds.hpp"

namespace heed::guarantees {
namespace {

using reference::random_matrix;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// As they come from a new model, rows of 100,000 positions through one layer would only be slow: heads of four are enough.
template <class... Layers>
Stack<float, Layers...> narrow() {
  return Stack<float, Layers...>({.width = 8, .heads = 2, .hidden = 8});
}

class ScoresUpTo1e30 : public testing::TestWithParam<Index> {};  // new rows: one, a few, and tiles of them

TEST_P(ScoresUpTo1e30, GiveOutputsBetweenTheSmallestAndTheLargestValue) {
  const Index T = GetParam(), S = 150;
  const Matrix<float> q = 1e15f * random_matrix<float>(T, 16, "q"), k = 1e15f * random_matrix<float>(S, 8, "k");
  const Matrix<float> v = random_matrix<float>(S, 8, "v");
  for (const Mask mask : {causal(), window(40), bidirectional(), streaming(3, 20)})
    for (const double soft_cap : {0.0, 30.0}) {
      const Matrix<float> y = attend(q, k, v, {.heads = 2, .kv_heads = 1, .mask = mask, .scale = 1, .soft_cap = soft_cap});
      EXPECT_TRUE(y.allFinite());
      // a convex combination, and the rounding of sums of S terms
      const float rounding = 2 * float(S) * std::numeric_limits<float>::epsilon() * v.cwiseAbs().maxCoeff();
      EXPECT_LE(y.maxCoeff(), v.maxCoeff() + rounding);
      EXPECT_GE(y.minCoeff(), v.minCoeff() - rounding);
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, ScoresUpTo1e30, testing::Values(1, 3, 70));

TEST(Numbers, EqualScoresGiveTheMeanOfWhatIsSeen) {
  const Matrix<float> q = Matrix<float>::Zero(33, 4), k = random_matrix<float>(33, 4, "k"),
                      v = random_matrix<float>(33, 4, "v");
  const Matrix<float> y = attend(q, k, v);
  for (Index i = 0; i < 33; ++i) {
    const Matrix<double> mean = v.topRows(i + 1).cast<double>().colwise().mean();
    const double rounding =
        2 * double(i + 1) * double(std::numeric_limits<float>::epsilon()) * double(v.cwiseAbs().maxCoeff());
    EXPECT_LE((y.row(i).cast<double>() - mean).cwiseAbs().maxCoeff(), rounding) << i;
  }
}

template <class Model>
void expect_sequences_apart(const Model& model) {
  const Sequences sequences({5, 7, 1});
  const Matrix<float> clean = random_matrix<float>(13, 8, "x"), d_h = random_matrix<float>(13, 8, "d_h");
  Matrix<float> spoiled = clean;
  spoiled.topRows(5).setConstant(nan);
  const auto run = [&](const Matrix<float>& x, Matrix<float>& d_x) {
    auto tape = model.make_tape(sequences);
    const Matrix<float> h = model.forward(x, tape);
    auto gradients = model.make_gradients();
    d_x = model.backward(d_h, tape, gradients);
    auto cache = model.make_cache({.sequences = 3, .positions = 8, .rows = 13});
    EXPECT_EQ(Matrix<float>(model.forward(x, sequences, cache).bottomRows(8)), Matrix<float>(h.bottomRows(8)));
    return h;
  };
  Matrix<float> d_x, d_x_beside_nan;
  const Matrix<float> h = run(clean, d_x), h_beside_nan = run(spoiled, d_x_beside_nan);
  EXPECT_EQ(Matrix<float>(h.bottomRows(8)), Matrix<float>(h_beside_nan.bottomRows(8)));
  EXPECT_EQ(Matrix<float>(d_x.bottomRows(8)), Matrix<float>(d_x_beside_nan.bottomRows(8)));
  EXPECT_TRUE(h_beside_nan.topRows(5).array().isNaN().all());
}

TEST(Numbers, NanOfOneSequenceReachesNoOther) {
  expect_sequences_apart(narrow<Block<StandardAttention>, Block<ReuseTransformer>, Block<SVFormer>>());
  expect_sequences_apart(narrow<Block<Mamba2>, Block<Mamba>>());
}

TEST(Numbers, NanOfOneChunkReachesNoOther) {
  using Model = Stack<float, Block<StandardAttention>>;
  Model::Config config{.width = 8, .heads = 2, .hidden = 8};
  config.layer<0>().mixer.scores.mask = chunked(6);
  const Model model(config);
  const Matrix<float> clean = random_matrix<float>(20, 8, "x"), d_h = random_matrix<float>(20, 8, "d_h");
  Matrix<float> spoiled = clean;
  spoiled.middleRows(6, 6).setConstant(nan);
  const auto run = [&](const Matrix<float>& x, Matrix<float>& d_x) {
    auto tape = model.make_tape(Sequences({20}));
    const Matrix<float> h = model.forward(x, tape);
    auto gradients = model.make_gradients();
    d_x = model.backward(d_h, tape, gradients);
    return h;
  };
  Matrix<float> d_x, d_x_beside_nan;
  const Matrix<float> h = run(clean, d_x), h_beside_nan = run(spoiled, d_x_beside_nan);
  for (const auto& [begin, count] : {std::pair<Index, Index>{0, 6}, {12, 8}}) {
    EXPECT_TRUE(h.middleRows(begin, count).isApprox(h_beside_nan.middleRows(begin, count), 0)) << begin;
    EXPECT_TRUE(d_x.middleRows(begin, count).isApprox(d_x_beside_nan.middleRows(begin, count), 0)) << begin;
  }
}

template <class Model>
void expect_finite(const Model& model, Index positions) {
  const Matrix<float> x = random_matrix<float>(positions, 8, "x");
  auto cache = model.make_cache({.positions = positions + 1, .rows = positions});
  EXPECT_TRUE(Matrix<float>(model.forward(x, cache)).allFinite());
  EXPECT_TRUE(Matrix<float>(model.forward(x.topRows(1), cache)).allFinite());
}

TEST(Numbers, AreFiniteAfter100000Positions) {
  using Windowed = Stack<float, Block<StandardAttention>>;
  Windowed::Config config{.width = 8, .heads = 2, .hidden = 8};
  config.layer<0>().mixer.scores.mask = window(64);
  expect_finite(Windowed(config), 100'000);
  expect_finite(narrow<Block<Mamba2>>(), 100'000);
  expect_finite(narrow<Block<Mamba>>(), 100'000);
}

TEST(Numbers, OfASequenceOfOnePositionAreFinite) {
  expect_finite(narrow<Block<StandardAttention>, Block<Mamba2>, Block<Mamba>>(), 1);
}

}  // namespace
}  // namespace heed::guarantees
