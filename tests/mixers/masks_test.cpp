// Every mask in a layer: the laws of caches, and that a mask and the plain statement of it let the same keys through.
#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/testing/mixer_contract.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using testing::Layers;

const testing::ContractOptions small = {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4},
                                        .lengths = {4, 0, 1, 7}};

void expect_contract(const Mask& mask) {
  const auto report =
      testing::mixer_contract<StandardAttention, Layers<>, Layers<ScoreReuseAttention>>({.scores = {.mask = mask}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(Masks, StreamingHoldsTheContract) {
  expect_contract(streaming(1, 3));
}

TEST(Masks, ChunkedHoldsTheContract) {
  expect_contract(chunked(3));
}

TEST(Masks, AWindowInsideChunksHoldsTheContract) {
  expect_contract(chunked(4) & window(2));
}

TEST(Masks, APrefixHoldsTheContract) {
  expect_contract(prefix_lm(3));
}

// --------------------------------------------------------------------------------------------------------------------

const StandardAttention::Config masked(const Mask& mask) {
  return {.scores = {.mask = mask}};
}
/// Rows of a stack of two layers with this mask, fed in pieces of so many rows.
Matrix<float> rows_of(const Mask& mask, const Matrix<float>& x, Index piece) {
  auto model = DynamicStack<float>::build(
      small.sizes, {choose<StandardAttention>(masked(mask)), choose<StandardAttention>(masked(mask))});
  visit([](std::string_view name, Role, Matrix<float>& tensor) { Random(5, name).normal(tensor, 0.5); }, model.params());
  auto cache = model.make_cache({.positions = x.rows(), .rows = piece});
  Matrix<float> y(x.rows(), x.cols());
  for (Index begin = 0; begin < x.rows(); begin += piece) {
    const Index count = (std::min)(piece, x.rows() - begin);
    y.middleRows(begin, count) = model.forward(x.middleRows(begin, count), cache);
  }
  return y;
}

/// Rows of a stack that reuses scores below a prefix mask and keeps states above it, fed in calls of so many rows.
Matrix<float> prefix_rows(const Matrix<float>& x, const std::vector<Index>& calls, Index score_bytes) {
  auto model = DynamicStack<float>::build(
      small.sizes, {choose<StandardAttention>(masked(prefix_lm(4))), choose<ScoreReuseAttention>(), choose<Mamba2>()});
  auto cache = model.make_cache({.positions = x.rows(), .rows = 4, .score_bytes = score_bytes});
  const std::size_t blocks = cache.scratch_blocks();
  Matrix<float> y(x.rows(), x.cols());
  for (const Index rows : calls) {
    const Index begin = cache.length();
    y.middleRows(begin, rows) = model.forward(x.middleRows(begin, rows), cache);
  }
  EXPECT_TRUE(calls.front() != 4 || cache.scratch_blocks() == blocks);
  return y;
}

// A prefix that sees itself, and then a token at a time: nothing that a row behind the prefix reads is still to come.
TEST(Masks, APrefixDecodesRowByRowOnceItIsThere) {
  const auto x = random_matrix<float>(9, 6, "x");
  const Matrix<float> whole = prefix_rows(x, {9}, 1 << 24);
  const float bound = 40 * std::numeric_limits<float>::epsilon() * whole.cwiseAbs().maxCoeff();
  for (const Index score_bytes : {1, 300, 1 << 24})
    for (const std::vector<Index>& calls : {std::vector<Index>{4, 1, 1, 1, 1, 1}, {6, 1, 2}, {9}, {5, 4}})
      EXPECT_LE((prefix_rows(x, calls, score_bytes) - whole).cwiseAbs().maxCoeff(), bound) << score_bytes;
}

// Slices end before, or behind, the rows that see one another.
TEST(Masks, APrefixIsNotCutByASliceOfABatch) {
  auto model = DynamicStack<float>::build(small.sizes,
                                          {choose<StandardAttention>(masked(prefix_lm(4))), choose<ScoreReuseAttention>()});
  const Sequences sequences({6, 0, 3, 9, 5});
  const auto x = random_matrix<float>(sequences.rows(), 6, "x");
  for (const Index score_bytes : {1, 200, 500, 1000}) {
    auto cache = model.make_cache({.sequences = 5, .positions = 9, .rows = x.rows(), .score_bytes = score_bytes});
    const Matrix<float> y = model.forward(x, sequences, cache);
    for (Index b = 0; b < sequences.size(); ++b) {
      if (sequences.rows(b) == 0) continue;
      auto alone = model.make_cache({.positions = 9, .rows = 9});
      const Matrix<float> expected = model.forward(x.middleRows(sequences.begin(b), sequences.rows(b)), alone);
      EXPECT_LE((y.middleRows(sequences.begin(b), sequences.rows(b)) - expected).cwiseAbs().maxCoeff(),
                40 * std::numeric_limits<float>::epsilon() * expected.cwiseAbs().maxCoeff())
          << score_bytes << " bytes, sequence " << b;
    }
  }
}

TEST(Masks, APrefixThatIsNotYetWholeTakesNoMoreRows) {
  auto model = DynamicStack<float>::build(small.sizes, {choose<StandardAttention>(masked(prefix_lm(4)))});
  auto cache = model.make_cache({.positions = 9});
  const auto x = random_matrix<float>(9, 6, "x");
  static_cast<void>(model.forward(x.topRows(3), cache));
  EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(model.forward(x.row(3), cache)); }),
            "sequence 0: a mask that sees ahead needs the first 4 positions in one call, found 3 cached positions");
  EXPECT_TRUE(cache.truncate(0, 0));
  static_cast<void>(model.forward(x.topRows(4), cache));
  static_cast<void>(model.forward(x.row(4), cache));
  EXPECT_TRUE(cache.truncate(0, 3));
  EXPECT_THROW(static_cast<void>(model.forward(x.row(3), cache)), ShapeError);
}

TEST(Masks, ThatAreAsWideAsTheSequenceAreCausal) {
  const auto x = random_matrix<float>(9, 6, "x");
  const Matrix<float> causal_rows = rows_of(causal(), x, 9);
  for (const Mask& mask : {window(9), streaming(2, 9), streaming(9, 1), chunked(9), prefix_lm(0), prefix_lm(1)})
    EXPECT_TRUE(same_bits(rows_of(mask, x, 9), causal_rows));
}

TEST(Masks, ThatAreNarrowerThanTheSequenceAreNot) {
  const auto x = random_matrix<float>(9, 6, "x");
  const Matrix<float> causal_rows = rows_of(causal(), x, 9);
  for (const Mask& mask : {window(8), streaming(1, 7), chunked(8), prefix_lm(2)})
    EXPECT_FALSE(same_bits(rows_of(mask, x, 9), causal_rows));
}

// Chunk by chunk nothing is seen of what was before: every chunk is a sequence of its own, without positions.
TEST(Masks, ChunksAreSequencesOfTheirOwn) {
  const auto x = random_matrix<float>(9, 6, "x");
  auto model = DynamicStack<double>::build(
      small.sizes, {choose<StandardAttention>({.scores = {.mask = chunked(3), .positions = NoPositions{}}})});
  const Matrix<double> wide = x.cast<double>();
  auto whole = model.make_cache({.positions = 9, .rows = 9});
  auto apart = model.make_cache({.sequences = 3, .positions = 3, .rows = 9});
  const Matrix<double> y = model.forward(wide, whole);
  const Matrix<double> y_apart = model.forward(wide, {3, 3, 3}, apart);
  // a softmax over three keys, and sums of up to sixteen terms
  EXPECT_LE((y - y_apart).cwiseAbs().maxCoeff(), 16 * std::numeric_limits<double>::epsilon() * y.cwiseAbs().maxCoeff());
}

TEST(Masks, WithAPrefixNeedItInOneCall) {
  const auto x = random_matrix<float>(9, 6, "x");
  for (const Index piece : {3, 4, 9}) EXPECT_NO_THROW(rows_of(prefix_lm(3), x, piece));
  EXPECT_THROW(rows_of(prefix_lm(3), x, 2), ShapeError);
}

}  // namespace
}  // namespace heed
