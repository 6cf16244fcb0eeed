// Scores that a layer above reads are kept whole; long inputs are then fed in slices, so that memory stays bounded.
#include <gtest/gtest.h>

#include <limits>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

template <class Scalar>
using Reusing =
    Stack<Scalar, Block<StandardAttention>, Block<ScoreReuseAttention>, Block<PartialScoreReuseAttention>, Block<Mamba2>>;
template <class Scalar>
typename Reusing<Scalar>::Config config() {
  typename Reusing<Scalar>::Config config{.width = 12, .heads = 4, .kv_heads = 2, .head_width = 6, .hidden = 10};
  config.template layer<3>().mixer.state_width = 5;
  return config;
}

/// What two calls, the second behind a past, give a batch with `score_bytes` for a slice.
template <class Scalar>
Matrix<Scalar> outputs(Index score_bytes) {
  const Reusing<Scalar> model(config<Scalar>());
  const Sequences first({9, 0, 1, 5}), second({19, 3, 30, 0});
  const Matrix<Scalar> x = random_matrix<float>(first.rows() + second.rows(), 12, "x").template cast<Scalar>();
  auto cache = model.make_cache({.sequences = 4, .positions = 31, .rows = 52, .score_bytes = score_bytes});
  Matrix<Scalar> y(x.rows(), x.cols());
  y.topRows(first.rows()) = model.forward(x.topRows(first.rows()), first, cache);
  y.bottomRows(second.rows()) = model.forward(x.bottomRows(second.rows()), second, cache);
  for (Index b = 0; b < 4; ++b) EXPECT_EQ(cache.length(b), first.rows(b) + second.rows(b));
  return y;
}

double error(const Matrix<float>& y, const Matrix<double>& oracle) {
  return (y.cast<double>() - oracle).cwiseAbs().maxCoeff() / oracle.cwiseAbs().maxCoeff();
}

// As near to the same weights in double as the whole pass is, by a factor of two at most:
//   error <= 2 max(error of the whole pass, eps n)       n: the longest sum that feeds a row, the 31 keys of a sequence
TEST(ScoreSlices, GiveWhatTheWholePassGives) {
  const Matrix<double> oracle = outputs<double>(Index(1) << 24);
  const double of_whole = error(outputs<float>(Index(1) << 24), oracle);
  const double floor = 31 * static_cast<double>(std::numeric_limits<float>::epsilon());
  for (const Index score_bytes : {1, 1000, 5000, 10000, 20000})
    EXPECT_LE(error(outputs<float>(score_bytes), oracle), 2 * (std::max)(of_whole, floor)) << score_bytes << " bytes";
}

TEST(ScoreSlices, AreNotMadeWhereNobodyReadsScores) {
  using Model = Stack<float, Block<StandardAttention>, Block<SharedValueAttention>>;
  const Model model({.width = 8, .heads = 2});
  const Matrix<float> x = random_matrix<float>(40, 8, "x");
  auto small = model.make_cache({.positions = 40, .rows = 40, .score_bytes = 1});
  auto large = model.make_cache({.positions = 40, .rows = 40});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, small)), Matrix<float>(model.forward(x, large))));
  EXPECT_EQ(small.scratch_bytes(), large.scratch_bytes());
}

TEST(ScoreSlices, AreNotMadeWhereAMaskSeesAhead) {
  using Model = Stack<float, Block<StandardAttention>, Block<ScoreReuseAttention>>;
  Model::Config bidirectional_config{.width = 8, .heads = 2};
  bidirectional_config.layer<0>().mixer.scores.mask = bidirectional();
  const Model model(bidirectional_config);
  const Matrix<float> x = random_matrix<float>(40, 8, "x");
  auto small = model.make_cache({.positions = 40, .rows = 40, .score_bytes = 1});
  auto large = model.make_cache({.positions = 40, .rows = 40});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, small)), Matrix<float>(model.forward(x, large))));
}

// Whole, the scores of two heads would take 8 GiB.
TEST(ScoreSlices, KeepTheMemoryOf32kPositionsBounded) {
  using Model = Stack<float, Block<StandardAttention>, Block<ScoreReuseAttention>>;
  const Index positions = Index(1) << 15, score_bytes = Index(1) << 22;
  Model::Config long_config{.width = 4, .heads = 2, .head_width = 2, .hidden = 4};
  long_config.layer<0>().mixer.scores.mask = window(200);  // for speed
  const Model model(long_config);
  auto cache = model.make_cache({.positions = positions, .rows = positions, .score_bytes = score_bytes});
  const std::size_t before = cache.scratch_bytes();
  const Matrix<float> y = model.forward(random_matrix<float>(positions, 4, "x"), cache);
  EXPECT_EQ(cache.scratch_bytes(), before);
  EXPECT_LT(before, std::size_t(1) << 26);
  EXPECT_TRUE(y.allFinite());
}

}  // namespace
}  // namespace heed
