// What batches do to mixers beside the contract: sequences that wait, calls fed in slices, sequences that go back alone.
#include <gtest/gtest.h>

#include "../../examples/gated_value_attention.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "reference/bounds.hpp"
#include "testing/token_shift.hpp"

namespace heed {
namespace {

using reference::same_bits;

/// A layer of every kind, the user's among them; the scores of some are read above.
template <class Scalar>
const DynamicStack<Scalar>& model() {
  static const auto built = [] {
    const Mamba2::Config mamba = {.state_width = 3, .chunk = 4};
    auto made = DynamicStack<Scalar>::build(
        {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 6},
        {choose<StandardAttention>(), choose<app::TokenShift>(), choose<LearnedResidualValueAttention>(),
         choose<PartialScoreReuseAttention>({.second_kv_heads = 1}), choose<Mamba2>(mamba), choose<SharedValueAttention>(),
         choose<app::GatedValueAttention>(), choose<RecurrentMixAttention>({.second_kv_heads = 1, .second = mamba})});
    visit(
        [](std::string_view name, Role role, auto& tensor) {
          if (role == Role::matrix || role == Role::output)
            Random(1, name).normal(tensor, 1 / std::sqrt(static_cast<double>(tensor.rows())));
        },
        made.params());
    return made;
  }();
  return built;
}

Matrix<float> rows_of_input(Index rows, std::string_view name) {
  Matrix<float> x(rows, 8);
  Random(2, name).normal(x, 1);
  return x;
}

/// One sequence, fed alone, in these pieces.
Matrix<float> alone(const Matrix<float>& x, std::initializer_list<Index> pieces) {
  auto cache = model<float>().make_cache({.positions = x.rows(), .rows = x.rows()});
  Matrix<float> y(x.rows(), x.cols());
  Index done = 0;
  for (const Index rows : pieces) {
    y.middleRows(done, rows) = model<float>().forward(x.middleRows(done, rows), cache);
    done += rows;
  }
  return y;
}

Matrix<float> stacked(const Matrix<float>& a, const Matrix<float>& b) {
  Matrix<float> both(a.rows() + b.rows(), a.cols());
  both << a, b;
  return both;
}

/// found is as near the oracle in double as a whole pass in float is.
void expect_near_whole(const Matrix<float>& found, const Matrix<float>& x) {
  auto cache = model<double>().make_cache({.positions = x.rows(), .rows = x.rows()});
  const Matrix<double> exact = model<double>().forward(Matrix<double>(x.cast<double>()), cache);
  reference::expect_as_exact_as_naive(found, alone(x, {x.rows()}), exact, 16 * model<float>().layers());
}

TEST(Batches, ASequenceWaitsWhileAnotherGoesOn) {
  const Matrix<float> a = rows_of_input(7, "a");
  const Matrix<float> b = rows_of_input(6, "b");
  auto cache = model<float>().make_cache({.sequences = 2, .positions = 7, .rows = 7});
  Matrix<float> y_a(7, 8), y_b(6, 8);
  const Matrix<float> first = model<float>().forward(stacked(a.topRows(3), b.topRows(2)), {3, 2}, cache);
  y_a.topRows(3) = first.topRows(3);
  y_b.topRows(2) = first.bottomRows(2);
  y_b.middleRows(2, 1) = model<float>().forward(b.middleRows(2, 1), {0, 1}, cache);  // a waits
  y_a.middleRows(3, 2) = model<float>().forward(a.middleRows(3, 2), {2, 0}, cache);  // now b does
  y_b.middleRows(3, 1) = model<float>().forward(b.middleRows(3, 1), {0, 1}, cache);  // a waits
  y_b.middleRows(4, 2) = model<float>().forward(b.middleRows(4, 2), {0, 2}, cache);  // and waits
  y_a.bottomRows(2) = model<float>().forward(a.bottomRows(2), {2, 0}, cache);
  expect_near_whole(y_a, a);
  expect_near_whole(y_b, b);
}

TEST(Batches, ASequenceMayComeLaterThanTheOthers) {
  const Matrix<float> a = rows_of_input(4, "a");
  const Matrix<float> b = rows_of_input(3, "b");
  auto cache = model<float>().make_cache({.sequences = 2, .positions = 4, .rows = 4});
  const Matrix<float> y_a = model<float>().forward(a, {4, 0}, cache);
  const Matrix<float> y_b = model<float>().forward(b, {0, 3}, cache);
  expect_near_whole(y_a, a);
  expect_near_whole(y_b, b);
}

TEST(Batches, ACallFedInSlicesIsTheCall) {
  const Matrix<float> a = rows_of_input(5, "a");
  const Matrix<float> b = rows_of_input(6, "b");
  for (const Index score_bytes : {Index(1), Index(100)}) {  // one row at a time, a few
    auto cache = model<float>().make_cache({.sequences = 2, .positions = 9, .rows = 11, .score_bytes = score_bytes});
    Matrix<float> y_a(5, 8), y_b(6, 8);
    const Matrix<float> first = model<float>().forward(stacked(a.topRows(2), b.topRows(3)), {2, 3}, cache);
    const Matrix<float> second = model<float>().forward(stacked(a.bottomRows(3), b.bottomRows(3)), {3, 3}, cache);
    y_a << first.topRows(2), second.topRows(3);
    y_b << first.bottomRows(3), second.bottomRows(3);
    expect_near_whole(y_a, a);
    expect_near_whole(y_b, b);
  }
}

TEST(Batches, OneSequenceGoesBackAlone) {
  const Matrix<float> a = rows_of_input(6, "a");
  const Matrix<float> b = rows_of_input(6, "b");
  auto cache = model<float>().make_cache({.sequences = 2, .positions = 6, .rows = 8});
  static_cast<void>(model<float>().forward(stacked(a.topRows(2), b.topRows(2)), {2, 2}, cache));
  const Mark mark = cache.checkpoint();
  const Matrix<float> rejected = rows_of_input(3, "rejected");
  static_cast<void>(model<float>().forward(stacked(rejected, b.middleRows(2, 2)), {3, 2}, cache));
  ASSERT_TRUE(cache.rollback(mark, 0));
  const Matrix<float> last = model<float>().forward(stacked(a.bottomRows(4), b.bottomRows(2)), {4, 2}, cache);
  expect_near_whole(stacked(alone(a, {6}).topRows(2), last.topRows(4)), a);
  expect_near_whole(stacked(alone(b, {6}).topRows(4), last.bottomRows(2)), b);
}

TEST(Batches, ASequenceThatStartsAnewLeavesTheOthersAlone) {
  const Matrix<float> a = rows_of_input(4, "a");
  const Matrix<float> b = rows_of_input(6, "b");
  auto cache = model<float>().make_cache({.sequences = 2, .positions = 6, .rows = 8});
  static_cast<void>(model<float>().forward(stacked(rows_of_input(3, "old"), b.topRows(2)), {3, 2}, cache));
  ASSERT_TRUE(cache.truncate(0, 0));
  const Matrix<float> y = model<float>().forward(stacked(a, b.bottomRows(4)), {4, 4}, cache);
  expect_near_whole(y.topRows(4), a);
  expect_near_whole(stacked(alone(b, {6}).topRows(2), y.bottomRows(4)), b);
}

}  // namespace
}  // namespace heed
