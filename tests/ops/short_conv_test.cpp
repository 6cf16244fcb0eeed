#include "heed/ops/short_conv.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/short_conv.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

template <class Scalar>
struct Case {
  Matrix<Scalar> x, weight, bias;

  Case(Index T, Index C, Index k)
      : x(random_matrix<Scalar>(T, C, "x")),
        weight(random_matrix<Scalar>(k, C, "weight")),
        bias(random_matrix<Scalar>(1, C, "bias")) {}
  ShortConvInputs<Scalar> inputs() const { return {view_of(x), view_of(weight), view_of(bias)}; }
  ShortConvInputs<Scalar> inputs(Index begin, Index count) const {
    return {rows_of(view_of(x), begin, count), view_of(weight), view_of(bias)};
  }
  Index operations() const { return weight.rows() + 8; }  // the taps, and those of x / (1 + e^-x)
};

// One history [(k-1) x C] for each of B sequences, and tables of them.
template <class Scalar>
struct Histories {
  std::vector<Matrix<Scalar>> rows;
  std::vector<const Scalar*> read;
  std::vector<Scalar*> written;

  Histories(Index B, Index k, Index C, const std::string& name) {
    for (Index b = 0; b < B; ++b) rows.push_back(random_matrix<Scalar>(k - 1, C, name + std::to_string(b)));
    for (Matrix<Scalar>& history : rows) {
      read.push_back(history.data());
      written.push_back(history.data());
    }
  }
  HeadTable<const Scalar*> before() { return {read.data(), Index(read.size()), 1}; }
  HeadTable<Scalar*> after() { return {written.data(), Index(written.size()), 1}; }
};

template <class Scalar>
Matrix<Scalar> forward(const Case<Scalar>& at, Division rows, const ShortConvHistory<Scalar>& history = {}) {
  Serial serial;
  Workers workers(serial);
  Matrix<Scalar> y = Matrix<Scalar>::Constant(at.x.rows(), at.x.cols(), Scalar(7));
  short_conv(at.inputs(), rows, history, mutable_view_of(y), workers);
  return y;
}

// What is in the gradients before backward adds to them.
template <class Scalar>
reference::ShortConvGradient<Scalar> start(const Case<Scalar>& at) {
  return {random_matrix<Scalar>(at.x.rows(), at.x.cols(), "d_x"),
          random_matrix<Scalar>(at.weight.rows(), at.x.cols(), "d_weight"),
          random_matrix<Scalar>(1, at.x.cols(), "d_bias")};
}

template <class Scalar>
reference::ShortConvGradient<Scalar> backward(const Case<Scalar>& at, Division rows, const Matrix<Scalar>& d_y,
                                              Executor& executor, reference::ShortConvGradient<Scalar> d) {
  Workers workers(executor);
  short_conv_backward(at.inputs(), rows, view_of(d_y),
                      {mutable_view_of(d.x), mutable_view_of(d.weight), mutable_view_of(d.bias)}, workers);
  return d;
}

template <class Scalar>
class ShortConv : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(ShortConv, Scalars);

TYPED_TEST(ShortConv, EqualsItsDefinitionAndAddsItsGradient) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  for (const Index C : {1, 7, 33, 129})
    for (const Index T : {1, 2, 4, 5, 33, 66})
      for (const Index k : {1, 2, 4}) {
        const Case<Scalar> at(T, C, k);
        const Matrix<W> x = at.x.template cast<W>(), weight = at.weight.template cast<W>(),
                        bias = at.bias.template cast<W>();
        Histories<Scalar> before(1, k, C, "before");
        const Matrix<W> history = before.rows[0].template cast<W>();
        expect_as_exact_as_naive(forward(at, Sequences({T}), {.before = before.before()}),
                                 reference::short_conv(at.x, at.weight, at.bias, before.rows[0]),
                                 reference::short_conv(x, weight, bias, history), at.operations());

        const Matrix<Scalar> d_y = random_matrix<Scalar>(T, C, "d_y");
        Serial serial;
        const auto from = start(at);
        const auto d = backward(at, Sequences({T}), d_y, serial, from);
        const auto naive = reference::short_conv_backward(at.x, at.weight, at.bias, d_y);
        const auto exact = reference::short_conv_backward<W>(x, weight, bias, d_y.template cast<W>());
        const auto expect_added = [](const auto& found, const auto& before_it, const auto& added, const auto& exactly,
                                     Index operations) {
          expect_as_exact_as_naive(found, Matrix<Scalar>(before_it + added),
                                   Matrix<W>(before_it.template cast<W>() + exactly), operations);
        };
        expect_added(d.x, from.x, naive.x, exact.x, at.operations() + k);
        expect_added(d.weight, from.weight, naive.weight, exact.weight, at.operations() + T);
        expect_added(d.bias, from.bias, naive.bias, exact.bias, at.operations() + T);
      }
}

TYPED_TEST(ShortConv, OfAnyNumbersOfRowsAndTapsEqualsItsDefinition) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const auto wide = [](const Matrix<Scalar>& of) -> Matrix<W> { return of.template cast<W>(); };
  for (const Index C : {16, 37, 79})
    for (const Index T : {7, 8, 9, 11, 15, 16, 17})
      for (const Index k : {1, 2, 3, 4, 5, 7, 11}) {
        const Case<Scalar> at(T, C, k);
        Histories<Scalar> before(1, k, C, "before");
        expect_as_exact_as_naive(forward(at, Sequences({T}), {.before = before.before()}),
                                 reference::short_conv(at.x, at.weight, at.bias, before.rows[0]),
                                 reference::short_conv<W>(wide(at.x), wide(at.weight), wide(at.bias), wide(before.rows[0])),
                                 at.operations());

        const Matrix<Scalar> d_y = random_matrix<Scalar>(T, C, "d_y");
        Serial serial;
        const auto d =
            backward<Scalar>(at, Sequences({T}), d_y, serial,
                             {Matrix<Scalar>::Zero(T, C), Matrix<Scalar>::Zero(k, C), Matrix<Scalar>::Zero(1, C)});
        const auto naive = reference::short_conv_backward(at.x, at.weight, at.bias, d_y);
        const auto exact = reference::short_conv_backward<W>(wide(at.x), wide(at.weight), wide(at.bias), wide(d_y));
        expect_as_exact_as_naive(d.x, naive.x, exact.x, at.operations() + k);
        expect_as_exact_as_naive(d.weight, naive.weight, exact.weight, at.operations() + T);
        expect_as_exact_as_naive(d.bias, naive.bias, exact.bias, at.operations() + T);
      }
}

TYPED_TEST(ShortConv, OfManyChannelsOrManyTapsEqualsItsDefinitionInPlace) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  struct Sizes {
    Index T, C, k;
  };
  for (const Sizes s : {Sizes{5, 2053, 4}, Sizes{131, 5, 67}, Sizes{65, 3, 66}, Sizes{64, 17, 65}}) {
    const Case<Scalar> at(s.T, s.C, s.k);
    const Matrix<W> x = at.x.template cast<W>(), weight = at.weight.template cast<W>(), bias = at.bias.template cast<W>();
    Histories<Scalar> history(1, s.k, s.C, "before");
    Matrix<Scalar> all(s.k - 1 + s.T, s.C);
    all << history.rows[0], at.x;
    const Matrix<Scalar> naive = reference::short_conv(at.x, at.weight, at.bias, history.rows[0]);
    const Matrix<W> exact = reference::short_conv<W>(x, weight, bias, history.rows[0].template cast<W>());
    expect_as_exact_as_naive(forward(at, Sequences({s.T}), {.before = history.before(), .after = history.after()}), naive,
                             exact, at.operations());
    EXPECT_TRUE(same_bits(history.rows[0], all.bottomRows(s.k - 1)));
  }
}

TYPED_TEST(ShortConv, WithoutAnActivationIsItsSums) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const Index T = 9, C = 37, k = 4;
  const Case<Scalar> at(T, C, k);
  const Matrix<W> x = at.x.template cast<W>(), weight = at.weight.template cast<W>(), bias = at.bias.template cast<W>();
  const Matrix<Scalar> zeros = Matrix<Scalar>::Zero(k - 1, C), d_y = random_matrix<Scalar>(T, C, "d_y");
  Serial serial;
  Workers workers(serial);
  Matrix<Scalar> y(T, C);
  short_conv<Identity>(at.inputs(), Sequences({T}), {}, mutable_view_of(y), workers);
  expect_as_exact_as_naive(y, reference::short_conv_sums(at.x, at.weight, at.bias, zeros),
                           reference::short_conv_sums<W>(x, weight, bias, Matrix<W>::Zero(k - 1, C)), k + 1);

  reference::ShortConvGradient<Scalar> d{Matrix<Scalar>::Zero(T, C), Matrix<Scalar>::Zero(k, C),
                                         Matrix<Scalar>::Zero(1, C)};
  short_conv_backward<Identity>(at.inputs(), Sequences({T}), view_of(d_y),
                                {mutable_view_of(d.x), mutable_view_of(d.weight), mutable_view_of(d.bias)}, workers);
  const auto naive = reference::short_conv_backward(at.x, at.weight, at.bias, d_y, false);
  const auto exact = reference::short_conv_backward<W>(x, weight, bias, d_y.template cast<W>(), false);
  expect_as_exact_as_naive(d.x, naive.x, exact.x, k);
  expect_as_exact_as_naive(d.weight, naive.weight, exact.weight, T);
  expect_as_exact_as_naive(d.bias, naive.bias, exact.bias, T);
}

TYPED_TEST(ShortConv, InChunksWithCarriedHistoryHasTheBitsOfTheWhole) {
  using Scalar = TypeParam;
  const Index T = 13, C = 37, k = 4;
  const Case<Scalar> at(T, C, k);
  const Matrix<Scalar> whole = forward(at, Sequences({T}));
  for (const std::vector<Index>& chunks : {std::vector<Index>{13}, {1, 1, 1, 1, 9}, {2, 0, 3, 1, 7}, {12, 1}, {0, 5, 8}}) {
    Serial serial;
    Workers workers(serial);
    Histories<Scalar> carried(1, k, C, "before");
    carried.rows[0].setZero();
    Matrix<Scalar> y(T, C);
    Index begin = 0;
    for (const Index rows : chunks) {
      short_conv(at.inputs(begin, rows), Sequences({rows}), {.before = carried.before(), .after = carried.after()},
                 rows_of(mutable_view_of(y), begin, rows), workers);
      begin += rows;
    }
    EXPECT_TRUE(same_bits(y, whole));
    EXPECT_TRUE(same_bits(carried.rows[0], at.x.bottomRows(k - 1)));
  }
}

TYPED_TEST(ShortConv, HistoryOlderThanTheNewRowsMovesUpAndNoRowsCopyIt) {
  using Scalar = TypeParam;
  const Index C = 5, k = 5;
  for (const Index T : {0, 1, 3, 4, 6}) {
    const Case<Scalar> at(T, C, k);
    Histories<Scalar> before(1, k, C, "before"), after(1, k, C, "after"), in_place(1, k, C, "before");
    Matrix<Scalar> all(k - 1 + T, C);
    all << before.rows[0], at.x;
    const Matrix<Scalar> expected = all.bottomRows(k - 1);
    const Matrix<Scalar> y = forward(at, Sequences({T}), {.before = before.before(), .after = after.after()});
    EXPECT_TRUE(same_bits(after.rows[0], expected)) << T << " rows";
    EXPECT_TRUE(same_bits(y, forward(at, Sequences({T}), {.before = in_place.before(), .after = in_place.after()})));
    EXPECT_TRUE(same_bits(in_place.rows[0], expected)) << T << " rows, in place";
    forward(at, Sequences({T}), {.after = after.after()});
    all.topRows(k - 1).setZero();
    EXPECT_TRUE(same_bits(after.rows[0], all.bottomRows(k - 1))) << T << " rows after none";
  }
}

TYPED_TEST(ShortConv, PackedRaggedSequencesAreThoseSequencesOneByOne) {
  using Scalar = TypeParam;
  const Index C = 131, k = 4;
  const Sequences rows({5, 0, 1, 9});
  const Case<Scalar> at(rows.rows(), C, k);
  const Matrix<Scalar> d_y = random_matrix<Scalar>(rows.rows(), C, "d_y");
  Histories<Scalar> before(rows.size(), k, C, "before"), after(rows.size(), k, C, "after"), alone_after(1, k, C, "alone");
  const Matrix<Scalar> y = forward(at, rows, {.before = before.before(), .after = after.after()});
  Serial serial;
  const auto d = backward(at, rows, d_y, serial, start(at));
  for (Index b = 0; b < rows.size(); ++b) {
    Case<Scalar> alone = at;
    alone.x = at.x.middleRows(rows.begin(b), rows.rows(b));
    Histories<Scalar> history(1, k, C, "before");
    history.rows[0] = before.rows[std::size_t(b)];
    const Matrix<Scalar> y_b =
        forward(alone, Sequences({rows.rows(b)}), {.before = history.before(), .after = alone_after.after()});
    EXPECT_TRUE(same_bits(y.middleRows(rows.begin(b), rows.rows(b)), y_b));
    EXPECT_TRUE(same_bits(after.rows[std::size_t(b)], alone_after.rows[0]));
    auto d_start = start(at);
    d_start.x = d_start.x.middleRows(rows.begin(b), rows.rows(b)).eval();
    const auto d_b =
        backward<Scalar>(alone, Sequences({rows.rows(b)}), d_y.middleRows(rows.begin(b), rows.rows(b)), serial, d_start);
    EXPECT_TRUE(same_bits(d.x.middleRows(rows.begin(b), rows.rows(b)), d_b.x));
  }
}

TYPED_TEST(ShortConv, HasTheSameBitsInAnyOrderOfJobs) {
  using Scalar = TypeParam;
  const Index C = 1100, k = 4;
  const Sequences rows({5, 0, 11, 150});
  const Case<Scalar> at(rows.rows(), C, k);
  const Matrix<Scalar> d_y = random_matrix<Scalar>(rows.rows(), C, "d_y");
  Serial serial;
  reference::Backwards backwards(3);
  Workers workers(backwards);
  Matrix<Scalar> y(rows.rows(), C);
  short_conv(at.inputs(), rows, {}, mutable_view_of(y), workers);
  EXPECT_TRUE(same_bits(y, forward(at, rows)));

  const auto expected = backward(at, rows, d_y, serial, start(at));
  const auto d = backward(at, rows, d_y, backwards, start(at));
  EXPECT_TRUE(same_bits(d.x, expected.x));
  EXPECT_TRUE(same_bits(d.weight, expected.weight));
  EXPECT_TRUE(same_bits(d.bias, expected.bias));
}

TYPED_TEST(ShortConv, OfSoManyBytesThatTheyGoPastTheCachesHasTheBitsOfItsChunks) {
  using Scalar = TypeParam;
  const Index C = 2048 + 48, k = 4, T = Index(detail::conv_bytes_past_caches / sizeof(Scalar)) / C + 3;
  const Case<Scalar> at(T, C, k);
  reference::Backwards backwards(3);
  Workers workers(backwards);
  // Aligned to lines, and not.
  detail::Pages<Scalar> memory(std::size_t(T * C + 1));
  for (const Index shift : {0, 1}) {
    const MutableView<Scalar> y = mutable_view_of(memory.data() + shift, T, C, C);
    EXPECT_EQ(detail::conv_goes_past_caches(y), shift == 0);
    Histories<Scalar> whole(1, k, C, "before"), carried(1, k, C, "before");
    short_conv(at.inputs(), Sequences({T}), {.before = whole.before(), .after = whole.after()}, y, workers);
    const Index chunk = 61;
    Matrix<Scalar> y_chunk(chunk, C);
    for (Index begin = 0; begin < T; begin += chunk) {
      const Index rows = (std::min)(chunk, T - begin);
      short_conv(at.inputs(begin, rows), Sequences({rows}), {.before = carried.before(), .after = carried.after()},
                 rows_of(mutable_view_of(y_chunk), 0, rows), workers);
      ASSERT_TRUE(same_bits(Matrix<Scalar>(y.middleRows(begin, rows)), Matrix<Scalar>(y_chunk.topRows(rows)))) << begin;
    }
    EXPECT_TRUE(same_bits(carried.rows[0], whole.rows[0]));
  }
}

TYPED_TEST(ShortConv, OfNoChannelsOrNoRowsChangesNothing) {
  using Scalar = TypeParam;
  Serial serial;
  const Case<Scalar> no_channels(3, 0, 4), no_rows(0, 3, 4);
  EXPECT_EQ(forward(no_channels, Sequences({3})).size(), 0);
  EXPECT_EQ(forward(no_rows, Sequences({0, 0})).size(), 0);
  backward<Scalar>(no_channels, Sequences({3}), Matrix<Scalar>(3, 0), serial, start(no_channels));
  const auto d = backward<Scalar>(no_rows, Sequences({0, 0}), Matrix<Scalar>(0, 3), serial, start(no_rows));
  EXPECT_TRUE(same_bits(d.weight, start(no_rows).weight));
}

TEST(ShortConvGradient, AgreesWithCentralDifferencesForEveryInput) {
  const Index C = 3, k = 4;
  const Sequences rows({3, 0, 6});
  Case<double> at(rows.rows(), C, k);
  const Matrix<double> d_y = random_matrix<double>(rows.rows(), C, "d_y");
  Serial serial;
  const auto d =
      backward<double>(at, rows, d_y, serial,
                       {Matrix<double>::Zero(rows.rows(), C), Matrix<double>::Zero(k, C), Matrix<double>::Zero(1, C)});
  const auto f = [&] { return reference::dot(forward(at, rows), d_y); };
  expect_gradient(at.x, d.x, at.operations(), f);
  expect_gradient(at.weight, d.weight, at.operations(), f);
  expect_gradient(at.bias, d.bias, at.operations(), f);
}

}  // namespace
}  // namespace heed
