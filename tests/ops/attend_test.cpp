#include <gtest/gtest.h>

#include <heed/ops/attend.hpp>
#include <limits>
#include <string>
#include <vector>

#include "attend_problem.hpp"

namespace {

using namespace attend_problem;

template <class Scalar>
class Attend : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Attend, Scalars);

TYPED_TEST(Attend, OfMatricesEqualsTheDefinition) {
  const Problem<TypeParam> p(Case{.heads = 8, .kv_heads = 2, .width = 4, .value_width = 3, .sequences = {{21, 30}}});
  const auto oracle = p.template expected<Wide<TypeParam>>();
  const auto naive = p.template expected<TypeParam>();
  const Matrix<TypeParam> y = heed::attend(p.q, p.k, p.v, {.heads = 8, .kv_heads = 2});
  expect_as_good_as_naive<TypeParam>("y", y, naive.o, oracle.o, p.longest_sum());
  Matrix<TypeParam> into = Matrix<TypeParam>::Constant(25, 24, TypeParam(5));
  heed::attend_into(p.q, p.k, p.v, {.heads = 8, .kv_heads = 2}, into.middleRows(2, 21));
  EXPECT_TRUE(same_bits<TypeParam>(into.middleRows(2, 21), y));
  EXPECT_EQ(into(1, 0), TypeParam(5));
  EXPECT_EQ(into(23, 0), TypeParam(5));
}

TYPED_TEST(Attend, OfMatricesTakesBlocksAndAScale) {
  Problem<TypeParam> p(
      Case{.heads = 1, .kv_heads = 1, .width = 4, .value_width = 4, .mask = heed::bidirectional(), .sequences = {{6, 6}}});
  Matrix<TypeParam> wide(6, 12);
  wide << p.q, p.k, p.v;
  const Matrix<TypeParam> y = heed::attend(p.q, p.k, p.v, {.mask = heed::bidirectional(), .scale = 0.25});
  const Matrix<TypeParam> of_blocks = heed::attend(wide.leftCols(4), wide.middleCols(4, 4), wide.rightCols(4),
                                                   {.mask = heed::bidirectional(), .scale = 0.25});
  EXPECT_TRUE(same_bits(y, of_blocks));
  p.scale = TypeParam(0.25);
  expect_as_good_as_naive<TypeParam>("y", y, p.template expected<TypeParam>().o, p.template expected<Wide<TypeParam>>().o,
                                     p.longest_sum());
}

/// The options of a free call that say what a problem of one sequence says.
template <class Scalar>
heed::AttendOptions options_of(const Problem<Scalar>& p, const Matrix<Scalar>& sinks, const Matrix<Scalar>& bias,
                               const Matrix<bool>& shown) {
  heed::AttendOptions options{.heads = p.c.heads, .kv_heads = p.c.kv_heads, .mask = p.c.mask, .soft_cap = p.c.soft_cap};
  if (p.c.offset != 0) options.offset = p.offsets[0];
  if (p.c.slopes) options.slopes = p.slopes;
  if (p.c.sinks) options.sinks = sinks;
  if (p.c.added) options.bias = bias;
  if (p.c.shown) options.shown = shown;
  return options;
}

TYPED_TEST(Attend, OfMatricesTakesEveryOptionForwardAndBackward) {
  for (const Mask& mask : {heed::causal(), heed::bidirectional()})
    for (const Case& c :
         with_options({.heads = 4, .kv_heads = 2, .width = 3, .value_width = 2, .mask = mask, .sequences = {{11, 14}}})) {
      SCOPED_TRACE(testing::Message() << c);
      Problem<TypeParam> p(c);
      Matrix<TypeParam> sinks(1, 4), bias(44, 14);
      Matrix<bool> shown(44, 14);
      for (Index h = 0; h < 4; ++h) {
        if (c.sinks) sinks(0, h) = p.sinks[std::size_t(h)];
        if (c.added) bias.middleRows(h * 11, 11) = p.added[std::size_t(h)];
        if (c.shown) shown.middleRows(h * 11, 11) = p.shown[std::size_t(h)];
      }
      const heed::AttendOptions options = options_of(p, sinks, bias, shown);
      heed::Attended<TypeParam> out;
      heed::attend_into(p.q, p.k, p.v, options, out);
      const auto d = heed::attend_backward(p.q, p.k, p.v, options, out, p.d_o);
      const auto oracle = p.template expected<Wide<TypeParam>>();
      const auto naive = p.template expected<TypeParam>();
      const Index n = p.longest_sum();
      EXPECT_TRUE(same_bits(heed::attend(p.q, p.k, p.v, options), out.y));
      expect_as_good_as_naive<TypeParam>("y", out.y, naive.o, oracle.o, n);
      expect_as_good_as_naive<TypeParam>("log_sum_exp", out.log_sum_exp, naive.log_sum_exp, oracle.log_sum_exp, n);
      expect_as_good_as_naive<TypeParam>("d_q", d.q, naive.d_q, oracle.d_q, n);
      expect_as_good_as_naive<TypeParam>("d_k", d.k, naive.d_k, oracle.d_k, n);
      expect_as_good_as_naive<TypeParam>("d_v", d.v, naive.d_v, oracle.d_v, n);
      if (c.sinks) expect_as_good_as_naive<TypeParam>("d_sinks", d.sinks, naive.d_sinks, oracle.d_sinks, n + 11);
      for (Index h = 0; c.added && h < 4; ++h)
        expect_as_good_as_naive<TypeParam>("d_bias", Matrix<TypeParam>(d.bias.middleRows(h * 11, 11)),
                                           RowsAsMatrix<TypeParam>{naive.d_bias[std::size_t(h)]},
                                           RowsAsMatrix<Wide<TypeParam>>{oracle.d_bias[std::size_t(h)]}, n);
    }
}

TYPED_TEST(Attend, OfMatricesBroadcastsBiases) {
  const Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{5, 6}}, .added = true, .shown = true});
  const Matrix<TypeParam> row = p.added[0].topRows(1);
  const Matrix<bool> row_shown = p.shown[0].topRows(1);
  const Matrix<TypeParam> by_row = row.replicate(5, 1), by_head = row.replicate(10, 1);
  const Matrix<bool> row_shown_by_row = row_shown.replicate(5, 1), row_shown_by_head = row_shown.replicate(10, 1);
  const auto y = [&](const Matrix<TypeParam>& bias, const Matrix<bool>& shown) {
    return heed::attend(p.q, p.k, p.v, {.heads = 2, .kv_heads = 1, .bias = bias, .shown = shown});
  };
  EXPECT_TRUE(same_bits(y(row, row_shown), y(by_head, row_shown_by_head)));
  EXPECT_TRUE(same_bits(y(by_row, row_shown_by_row), y(by_head, row_shown_by_head)));

  heed::Attended<TypeParam> out;
  const heed::AttendOptions options{.heads = 2, .kv_heads = 1, .bias = row},
      whole{.heads = 2, .kv_heads = 1, .bias = by_head};
  heed::attend_into(p.q, p.k, p.v, options, out);
  const auto d_row = heed::attend_backward(p.q, p.k, p.v, options, out, p.d_o).bias;
  const auto d_all = heed::attend_backward(p.q, p.k, p.v, whole, out, p.d_o).bias;
  ASSERT_EQ(d_row.rows(), 1);
  EXPECT_LE((d_row - d_all.colwise().sum()).cwiseAbs().maxCoeff(),
            10 * std::numeric_limits<TypeParam>::epsilon() * d_all.cwiseAbs().sum());
}

TYPED_TEST(Attend, OfMatricesCrossesSequences) {
  const Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .mask = heed::bidirectional(), .sequences = {{9, 4}}});
  const Matrix<TypeParam> y = heed::attend(p.q, p.k, p.v, {.heads = 2, .kv_heads = 1, .mask = heed::bidirectional()});
  expect_as_good_as_naive<TypeParam>("y", y, p.template expected<TypeParam>().o, p.template expected<Wide<TypeParam>>().o,
                                     p.longest_sum());
}

std::string error_of_call(const Matrix<float>& q, const Matrix<float>& k, const Matrix<float>& v,
                          heed::AttendOptions options) {
  try {
    heed::attend(q, k, v, options);
  } catch (const heed::ShapeError& error) {
    return error.what();
  }
  return "no error";
}

TEST(AttendErrors, NameWhatWasExpectedAndFound) {
  const auto zeros = [](Index rows, Index cols) -> Matrix<float> { return Matrix<float>::Zero(rows, cols); };
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 0}),
            "attend: heads: expected 1 or more, found 0");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 4, .kv_heads = 3}),
            "attend: kv_heads: expected a divisor of 4 heads, found 3");
  EXPECT_EQ(error_of_call(zeros(2, 9), zeros(3, 8), zeros(3, 8), {.heads = 4}),
            "attend: q: expected the columns of 4 heads of equal width, found 9");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 4, .kv_heads = 2}),
            "attend: k: expected [3 x 4], found [3 x 8]");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 4), zeros(3, 5), {.heads = 4, .kv_heads = 2}),
            "attend: v: expected the columns of 2 kv heads of equal width, found 5");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 4), zeros(4, 4), {.heads = 4, .kv_heads = 2}),
            "attend: v: expected [3 x 4], found [4 x 4]");
  EXPECT_EQ(error_of_call(zeros(0, 8), zeros(0, 4), zeros(0, 4), {.heads = 4, .kv_heads = 2}), "no error");
  const Matrix<float> q = zeros(2, 8), k = zeros(3, 8), row = zeros(1, 3), bias = zeros(3, 3);
  const Matrix<double> wide = Matrix<double>::Zero(2, 3);
  const Matrix<bool> shown = Matrix<bool>::Constant(2, 4, true);
  const std::vector<float> three(3);
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .soft_cap = -1}),
            "attend: soft_cap: expected 0 (none) or more, found -1.000000");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .mask = {.chunk = -3}}),
            "attend: mask: chunk: expected 0 or more, up to unbounded, found -3");
  EXPECT_NE(error_of_call(q, k, k, {.heads = 4, .scale = std::numeric_limits<double>::quiet_NaN()}), "no error");
  EXPECT_NE(error_of_call(q, k, k, {.heads = 4, .soft_cap = std::numeric_limits<double>::infinity()}), "no error");
  EXPECT_NE(error_of_call(q, k, k, {.heads = 4, .offset = (std::numeric_limits<Index>::max)() - 2}), "no error");
  EXPECT_NE(error_of_call(q, k, k, {.heads = 4, .offset = (std::numeric_limits<Index>::min)() + 2}), "no error");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .sinks = three}), "attend: sinks: expected 4 numbers, found [1 x 3]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .slopes = row}), "attend: slopes: expected 4 numbers, found [1 x 3]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .bias = bias}),
            "attend: bias: expected [2 x 3], one row of it, or one for each of 4 heads, found [3 x 3]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .shown = shown}),
            "attend: shown: expected [2 x 3], one row of it, or one for each of 4 heads, found [2 x 4]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .bias = wide}), "attend: bias: expected the scalar of q, found another");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .bias = row}), "no error");

  heed::Attended<float> forward;
  heed::attend_into(q, k, k, {.heads = 4}, forward);
  heed::Workers workers;
  heed::AttendGradients<float> gradients{zeros(2, 8), zeros(3, 8), zeros(2, 8), {}, {}};
  try {
    heed::attend_backward_into(q, k, k, {.heads = 4}, forward, q, gradients, workers);
    FAIL();
  } catch (const heed::ShapeError& error) {
    EXPECT_STREQ(error.what(), "attend_backward: gradient of v: expected [3 x 8], found [2 x 8]");
  }
  EXPECT_TRUE(gradients.q.isZero(0));
  Matrix<float> y = Matrix<float>::Constant(2, 7, 5.0f);
  EXPECT_THROW(heed::attend_into(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 4}, y), heed::ShapeError);
  EXPECT_TRUE((y.array() == 5.0f).all());
}

}  // namespace
