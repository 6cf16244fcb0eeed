#include <gtest/gtest.h>

#include <heed/ops/attend.hpp>
#include <heed/ops/merge.hpp>
#include <string>
#include <vector>

#include "../reference/attention.hpp"
#include "../reference/bounds.hpp"
#include "../reference/executors.hpp"

namespace heed {
namespace {

using reference::error_of;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

constexpr Index heads = 4, kv_heads = 2, width = 3, value_width = 5;

template <class Scalar>
struct Problem {
  Index rows, keys;
  Matrix<Scalar> q = random_matrix<Scalar>(rows, heads* width, "q");
  Matrix<Scalar> k = random_matrix<Scalar>(keys, kv_heads* width, "k");
  Matrix<Scalar> v = random_matrix<Scalar>(keys, kv_heads* value_width, "v");
  Matrix<Scalar> d_y = random_matrix<Scalar>(rows, heads* value_width, "d_y");

  AttendOptions options(Index first_key) const {
    return {.heads = heads, .kv_heads = kv_heads, .offset = keys - rows - first_key};
  }
  Attended<Scalar> part(Index from, Index to) const {
    Attended<Scalar> out;
    attend_into(q, k.middleRows(from, to - from), v.middleRows(from, to - from), options(from), out);
    return out;
  }

  template <class To>
  ::reference::Rows<To> head(const Matrix<Scalar>& x, Index h, Index w) const {
    ::reference::Rows<To> of(x.rows(), w);
    for (Index i = 0; i < x.rows(); ++i)
      for (Index e = 0; e < w; ++e) of(i, e) = static_cast<To>(x(i, h * w + e));
    return of;
  }
  /// The definition, in another scalar: y, and the gradients of dot(y, d_y).
  template <class To>
  struct Definition {
    Matrix<To> y, d_q, d_k, d_v;
  };
  template <class To>
  Definition<To> definition() const {
    const auto zeros = [](const Matrix<Scalar>& x) -> Matrix<To> { return Matrix<To>::Zero(x.rows(), x.cols()); };
    Definition<To> all{zeros(d_y), zeros(q), zeros(k), zeros(v)};
    for (Index h = 0; h < heads; ++h) {
      ::reference::Logits<To> logits;
      logits.sees = [](Index p, Index j) { return j <= p; };
      logits.offset = keys - rows;
      logits.scale = static_cast<To>(static_cast<Scalar>(1 / std::sqrt(3.0)));
      const auto q_h = head<To>(q, h, width), k_h = head<To>(k, h / 2, width), v_h = head<To>(v, h / 2, value_width);
      const auto forward = ::reference::attention(q_h, k_h, v_h, logits);
      const auto d = ::reference::attention_backward(q_h, k_h, v_h, logits, forward, head<To>(d_y, h, value_width), {});
      const auto add = [](Matrix<To>& to, const ::reference::Rows<To>& x, Index at) {
        for (Index i = 0; i < x.rows; ++i)
          for (Index e = 0; e < x.cols; ++e) to(i, at * x.cols + e) += x(i, e);
      };
      add(all.y, forward.o, h);
      add(all.d_q, d.q, h);
      add(all.d_k, d.k, h / 2);
      add(all.d_v, d.v, h / 2);
    }
    return all;
  }
};

template <class Scalar>
Attended<Scalar> merged(Attended<Scalar> a, const Attended<Scalar>& b) {
  merge_into(a, b);
  return a;
}

template <class Scalar>
struct Merge : testing::Test {
  /// Merging adds a product and a sum to each number.
  template <class Found, class Naive, class Exact>
  static void expect_near(const Found& found, const Naive& naive, const Exact& exact, Index terms) {
    reference::expect_as_exact_as_naive(found, naive, exact, terms);
  }
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Merge, Scalars);

TYPED_TEST(Merge, OfAnySplitOfTheKeysIsTheWhole) {
  for (const Problem<TypeParam>& p : {Problem<TypeParam>{7, 9}, Problem<TypeParam>{1, 40}, Problem<TypeParam>{20, 12}}) {
    const auto exact = p.template definition<Wide<TypeParam>>().y;
    const auto naive = p.template definition<TypeParam>().y;
    const auto whole = p.part(0, p.keys);
    for (Index cut = 0; cut <= p.keys; ++cut) {
      const auto of_two = merged(p.part(0, cut), p.part(cut, p.keys));
      this->expect_near(of_two.y, naive, exact, p.keys + width);
      for (Index i = 0; i < p.rows; ++i)
        for (Index h = 0; h < heads; ++h) {
          if (whole.log_sum_exp(i, h) == of_two.log_sum_exp(i, h)) continue;  // -inf among them
          const double size = std::abs(static_cast<double>(whole.log_sum_exp(i, h))) + 1;
          EXPECT_LE(std::abs(static_cast<double>(whole.log_sum_exp(i, h) - of_two.log_sum_exp(i, h))),
                    static_cast<double>(std::numeric_limits<TypeParam>::epsilon() * TypeParam(p.keys + width)) * size);
        }
    }
  }
}

TYPED_TEST(Merge, IsAssociativeAndCommutativeUpToRounding) {
  const Problem<TypeParam> p{6, 30};
  const auto exact = p.template definition<Wide<TypeParam>>().y;
  const auto naive = p.template definition<TypeParam>().y;
  const auto a = p.part(0, 11), b = p.part(11, 13), c = p.part(13, 30);
  for (const auto& each :
       {merged(merged(a, b), c), merged(a, merged(b, c)), merged(c, merged(a, b)), merged(merged(c, b), a)})
    this->expect_near(each.y, naive, exact, p.keys + width);
}

TYPED_TEST(Merge, WithWhatSawNothingChangesNothing) {
  const Problem<TypeParam> p{3, 8};
  const auto whole = p.part(0, 8);
  Attended<TypeParam> nothing = p.part(0, 0);
  nothing.y.setConstant(std::numeric_limits<TypeParam>::quiet_NaN());  // not looked at
  for (const auto& each : {merged(whole, nothing), merged(nothing, whole)}) {
    EXPECT_TRUE(same_bits(each.y, whole.y));
    EXPECT_TRUE(same_bits(each.log_sum_exp, whole.log_sum_exp));
  }
  const auto still_nothing = merged(p.part(0, 0), p.part(0, 0));
  EXPECT_TRUE(still_nothing.y.isZero(0));
  EXPECT_TRUE((still_nothing.log_sum_exp.array() == -std::numeric_limits<TypeParam>::infinity()).all());
}

TYPED_TEST(Merge, WithALogitAndNoValueIsASink) {
  const Problem<TypeParam> p{5, 8};
  Matrix<TypeParam> sinks(1, heads);
  sinks << TypeParam(0), TypeParam(-3), TypeParam(2), -std::numeric_limits<TypeParam>::infinity();
  AttendOptions options = p.options(0);
  options.sinks = sinks;
  Attended<TypeParam> with_sinks;
  attend_into(p.q, p.k, p.v, options, with_sinks);
  Attended<TypeParam> sink{Matrix<TypeParam>::Zero(5, heads * value_width), sinks.replicate(5, 1)};
  const auto found = merged(p.part(0, 8), sink);
  const double eps = static_cast<double>(std::numeric_limits<TypeParam>::epsilon());
  EXPECT_LE(error_of(found.y, with_sinks.y), 8 * eps * reference::largest(with_sinks.y));
  EXPECT_LE(error_of(found.log_sum_exp, with_sinks.log_sum_exp), 8 * eps * reference::largest(with_sinks.log_sum_exp));
}

// Parts a, b and c: a and b are merged first, so that the gradient of a merged log-sum-exp is needed too.
TYPED_TEST(Merge, BackwardOfASplitIsThatOfTheWhole) {
  const Problem<TypeParam> p{6, 20};
  const auto exact = p.template definition<Wide<TypeParam>>();
  const auto naive = p.template definition<TypeParam>();
  const Index cuts[] = {0, 7, 16, 20};
  const Attended<TypeParam> parts[] = {p.part(0, 7), p.part(7, 16), p.part(16, 20)};
  const auto ab = merged(parts[0], parts[1]), whole = merged(ab, parts[2]);
  const auto zero_like = [](const Attended<TypeParam>& x) {
    return Attended<TypeParam>{Matrix<TypeParam>::Zero(x.y.rows(), x.y.cols()),
                               Matrix<TypeParam>::Zero(x.log_sum_exp.rows(), x.log_sum_exp.cols())};
  };
  auto d_ab = zero_like(ab);
  Attended<TypeParam> d_parts[] = {zero_like(ab), zero_like(ab), zero_like(ab)};
  const Attended<TypeParam> d_whole{p.d_y, {}};
  merge_backward_into(ab, whole, d_whole, d_ab);
  merge_backward_into(parts[2], whole, d_whole, d_parts[2]);
  merge_backward_into(parts[0], ab, d_ab, d_parts[0]);
  merge_backward_into(parts[1], ab, d_ab, d_parts[1]);

  Matrix<TypeParam> d_q = Matrix<TypeParam>::Zero(6, heads * width), d_k(20, kv_heads * width),
                    d_v(20, kv_heads * value_width);
  Workers workers;
  for (int i = 0; i < 3; ++i) {
    const Index from = cuts[i], n = cuts[i + 1] - from;
    AttendGradients<TypeParam> d{
        d_q, Matrix<TypeParam>::Zero(n, d_k.cols()), Matrix<TypeParam>::Zero(n, d_v.cols()), {}, {}};
    attend_backward_into(p.q, p.k.middleRows(from, n), p.v.middleRows(from, n), p.options(from), parts[i], d_parts[i], d,
                         workers);
    d_q = d.q;
    d_k.middleRows(from, n) = d.k;
    d_v.middleRows(from, n) = d.v;
  }
  const Index terms = 20 + 6 * heads + width + value_width;
  this->expect_near(d_q, naive.d_q, exact.d_q, terms);
  this->expect_near(d_k, naive.d_k, exact.d_k, terms);
  this->expect_near(d_v, naive.d_v, exact.d_v, terms);
}

TYPED_TEST(Merge, BackwardAddsNothingToWhatSawNothing) {
  const Problem<TypeParam> p{3, 8};
  const auto nothing = p.part(0, 0), whole = merged(nothing, p.part(0, 8));
  Attended<TypeParam> d{Matrix<TypeParam>::Zero(3, heads * value_width), Matrix<TypeParam>::Zero(3, heads)};
  merge_backward_into(nothing, whole, Attended<TypeParam>{p.d_y, {}}, d);
  merge_backward_into(nothing, nothing, Attended<TypeParam>{p.d_y, {}}, d);
  EXPECT_TRUE(d.y.isZero(0));
  EXPECT_TRUE(d.log_sum_exp.isZero(0));
}

TEST(MergeErrors, NameWhatWasExpectedAndFound) {
  const auto zeros = [](Index rows, Index y, Index l) {
    return Attended<float>{Matrix<float>::Zero(rows, y), Matrix<float>::Zero(rows, l)};
  };
  const auto error = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const ShapeError& e) {
      return e.what();
    }
    return "no error";
  };
  auto whole = zeros(2, 6, 3);
  EXPECT_EQ(error([&] { merge_into(whole, zeros(2, 6, 2)); }),
            "merge: log_sum_exp of the part: expected [2 x 3], found [2 x 2]");
  EXPECT_EQ(error([&] { merge_into(whole, zeros(1, 6, 3)); }), "merge: y of the part: expected [2 x 6], found [1 x 6]");
  auto odd = zeros(2, 7, 3);
  EXPECT_EQ(error([&] { merge_into(odd, zeros(2, 7, 3)); }),
            "merge: expected y of the rows and heads of log_sum_exp [2 x 3], found [2 x 7]");
  auto d = zeros(2, 6, 3);
  EXPECT_EQ(error([&] { merge_backward_into(whole, whole, zeros(2, 5, 3), d); }),
            "merge_backward: d_y: expected [2 x 6], found [2 x 5]");
  auto empty = zeros(0, 0, 0);
  EXPECT_EQ(error([&] { merge_into(empty, zeros(0, 0, 0)); }), "no error");
}

}  // namespace
}  // namespace heed
