#include "heed/ops/short_conv.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "reference/recurrence_checks.hpp"
#include "reference/short_conv.hpp"

namespace {

using heed::Index;
using heed::Matrix;
using heed::mutable_view_of;
using heed::rows_of;
using heed::Sequences;
using heed::view_of;
using reference::expect_as_good_as_naive;
using reference::same_bits;
using reference::uniform;
using reference::Wider;

template <class Scalar>
struct Case {
  Matrix<Scalar> x, weight, bias;

  Case(Index T, Index C, Index k)
      : x(uniform<Scalar>(T, C, 1, -2, 2)), weight(uniform<Scalar>(k, C, 2)), bias(uniform<Scalar>(1, C, 3)) {}
  heed::ShortConvInputs<Scalar> inputs() const { return {view_of(x), view_of(weight), view_of(bias)}; }
  heed::ShortConvInputs<Scalar> inputs(Index begin, Index count) const {
    return {rows_of(view_of(x), begin, count), view_of(weight), view_of(bias)};
  }
  Index roundings() const { return weight.rows() + 8; }  // the taps, and those of x / (1 + e^-x)
};

// One history [(k-1) x C] for each of B sequences, and tables of them.
template <class Scalar>
struct Histories {
  std::vector<Matrix<Scalar>> rows;
  std::vector<const Scalar*> read;
  std::vector<Scalar*> written;

  Histories(Index B, Index k, Index C, unsigned seed) {
    for (Index b = 0; b < B; ++b) rows.push_back(uniform<Scalar>(k - 1, C, seed + unsigned(b)));
    for (Matrix<Scalar>& history : rows) {
      read.push_back(history.data());
      written.push_back(history.data());
    }
  }
  heed::HeadTable<const Scalar*> before() { return {read.data(), Index(read.size()), 1}; }
  heed::HeadTable<Scalar*> after() { return {written.data(), Index(written.size()), 1}; }
};

template <class Scalar>
Matrix<Scalar> forward(const Case<Scalar>& at, heed::Division rows, const heed::ShortConvHistory<Scalar>& history = {}) {
  heed::Serial serial;
  heed::Workers workers(serial);
  Matrix<Scalar> y = Matrix<Scalar>::Constant(at.x.rows(), at.x.cols(), Scalar(7));
  heed::short_conv(at.inputs(), rows, history, mutable_view_of(y), workers);
  return y;
}

template <class Scalar>
reference::ShortConvGradient<Scalar> backward(const Case<Scalar>& at, heed::Division rows, const Matrix<Scalar>& d_y,
                                              heed::Executor& executor) {
  heed::Workers workers(executor);
  reference::ShortConvGradient<Scalar> d{Matrix<Scalar>::Zero(at.x.rows(), at.x.cols()),
                                         Matrix<Scalar>::Zero(at.weight.rows(), at.x.cols()),
                                         Matrix<Scalar>::Zero(1, at.x.cols())};
  heed::short_conv_backward(at.inputs(), rows, view_of(d_y),
                            {mutable_view_of(d.x), mutable_view_of(d.weight), mutable_view_of(d.bias)}, workers);
  return d;
}

template <class Scalar>
class ShortConv : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(ShortConv, Scalars);

TYPED_TEST(ShortConv, equals_its_definition_and_its_gradient) {
  using Scalar = TypeParam;
  using W = Wider<Scalar>;
  for (const Index C : {1, 7, 33, 129})
    for (const Index T : {1, 2, 33})
      for (const Index k : {1, 2, 4}) {
        const Case<Scalar> at(T, C, k);
        const Matrix<W> x = at.x.template cast<W>(), weight = at.weight.template cast<W>(),
                        bias = at.bias.template cast<W>();
        Histories<Scalar> before(1, k, C, 9);
        const Matrix<W> history = before.rows[0].template cast<W>();
        expect_as_good_as_naive<Scalar>("y", forward(at, Sequences({T}), {.before = before.before()}),
                                        reference::short_conv(at.x, at.weight, at.bias, before.rows[0]),
                                        reference::short_conv(x, weight, bias, history), at.roundings());

        const Matrix<Scalar> d_y = uniform<Scalar>(T, C, 4);
        heed::Serial serial;
        const auto d = backward(at, Sequences({T}), d_y, serial);
        const auto naive = reference::short_conv_backward(at.x, at.weight, at.bias, d_y);
        const auto oracle = reference::short_conv_backward<W>(x, weight, bias, d_y.template cast<W>());
        expect_as_good_as_naive<Scalar>("d_x", d.x, naive.x, oracle.x, at.roundings() + k);
        expect_as_good_as_naive<Scalar>("d_weight", d.weight, naive.weight, oracle.weight, at.roundings() + T);
        expect_as_good_as_naive<Scalar>("d_bias", d.bias, naive.bias, oracle.bias, at.roundings() + T);
      }
}

TYPED_TEST(ShortConv, in_chunks_with_carried_history_has_the_bits_of_the_whole) {
  using Scalar = TypeParam;
  const Index T = 13, C = 37, k = 4;
  const Case<Scalar> at(T, C, k);
  const Matrix<Scalar> whole = forward(at, Sequences({T}));
  for (const std::vector<Index>& chunks : {std::vector<Index>{13}, {1, 1, 1, 1, 9}, {2, 0, 3, 1, 7}, {12, 1}, {0, 5, 8}}) {
    heed::Serial serial;
    heed::Workers workers(serial);
    Histories<Scalar> carried(1, k, C, 9);
    carried.rows[0].setZero();
    Matrix<Scalar> y(T, C);
    Index begin = 0;
    for (const Index rows : chunks) {
      heed::short_conv(at.inputs(begin, rows), Sequences({rows}), {.before = carried.before(), .after = carried.after()},
                       rows_of(mutable_view_of(y), begin, rows), workers);
      begin += rows;
    }
    EXPECT_TRUE(same_bits(y, whole));
    EXPECT_TRUE(same_bits<Scalar>(carried.rows[0], at.x.bottomRows(k - 1)));
  }
}

TYPED_TEST(ShortConv, history_older_than_the_new_rows_moves_up_and_no_rows_copy_it) {
  using Scalar = TypeParam;
  const Index C = 5, k = 5;
  for (const Index T : {0, 1, 3, 4, 6}) {
    const Case<Scalar> at(T, C, k);
    Histories<Scalar> before(1, k, C, 9), after(1, k, C, 10), in_place(1, k, C, 9);
    Matrix<Scalar> all(k - 1 + T, C);
    all << before.rows[0], at.x;
    const Matrix<Scalar> expected = all.bottomRows(k - 1);
    const Matrix<Scalar> y = forward(at, Sequences({T}), {.before = before.before(), .after = after.after()});
    EXPECT_TRUE(same_bits(after.rows[0], expected)) << T << " rows";
    EXPECT_TRUE(same_bits(y, forward(at, Sequences({T}), {.before = in_place.before(), .after = in_place.after()})));
    EXPECT_TRUE(same_bits(in_place.rows[0], expected)) << T << " rows, in place";
    forward(at, Sequences({T}), {.after = after.after()});
    all.topRows(k - 1).setZero();
    EXPECT_TRUE(same_bits<Scalar>(after.rows[0], all.bottomRows(k - 1))) << T << " rows after none";
  }
}

TYPED_TEST(ShortConv, packed_ragged_sequences_are_those_sequences_one_by_one) {
  using Scalar = TypeParam;
  const Index C = 131, k = 4;
  const Sequences rows({5, 0, 1, 9});
  const Case<Scalar> at(rows.rows(), C, k);
  const Matrix<Scalar> d_y = uniform<Scalar>(rows.rows(), C, 4);
  Histories<Scalar> before(rows.size(), k, C, 9), after(rows.size(), k, C, 20), alone_after(1, k, C, 30);
  const Matrix<Scalar> y = forward(at, rows, {.before = before.before(), .after = after.after()});
  heed::Serial serial;
  const auto d = backward(at, rows, d_y, serial);
  for (Index b = 0; b < rows.size(); ++b) {
    Case<Scalar> alone = at;
    alone.x = at.x.middleRows(rows.begin(b), rows.rows(b));
    Histories<Scalar> history(1, k, C, 9);
    history.rows[0] = before.rows[std::size_t(b)];
    const Matrix<Scalar> y_b =
        forward(alone, Sequences({rows.rows(b)}), {.before = history.before(), .after = alone_after.after()});
    EXPECT_TRUE(same_bits<Scalar>(y.middleRows(rows.begin(b), rows.rows(b)), y_b));
    EXPECT_TRUE(same_bits(after.rows[std::size_t(b)], alone_after.rows[0]));
    const auto d_b =
        backward<Scalar>(alone, Sequences({rows.rows(b)}), d_y.middleRows(rows.begin(b), rows.rows(b)), serial);
    EXPECT_TRUE(same_bits<Scalar>(d.x.middleRows(rows.begin(b), rows.rows(b)), d_b.x));
  }
}

TYPED_TEST(ShortConv, has_the_same_bits_in_any_order_of_jobs_and_adds_its_gradients) {
  using Scalar = TypeParam;
  const Index C = 300, k = 4;
  const Sequences rows({5, 0, 11});
  const Case<Scalar> at(rows.rows(), C, k);
  const Matrix<Scalar> d_y = uniform<Scalar>(rows.rows(), C, 4);
  heed::Serial serial;
  reference::Reversed reversed;
  heed::Workers workers(reversed);
  Matrix<Scalar> y(rows.rows(), C);
  heed::short_conv(at.inputs(), rows, {}, mutable_view_of(y), workers);
  EXPECT_TRUE(same_bits(y, forward(at, rows)));

  const auto expected = backward(at, rows, d_y, serial);
  auto d = backward(at, rows, d_y, reversed);
  EXPECT_TRUE(same_bits(d.x, expected.x));
  EXPECT_TRUE(same_bits(d.weight, expected.weight));
  EXPECT_TRUE(same_bits(d.bias, expected.bias));

  heed::short_conv_backward(at.inputs(), rows, view_of(d_y),
                            {mutable_view_of(d.x), mutable_view_of(d.weight), mutable_view_of(d.bias)}, workers);
  const Scalar eps = std::numeric_limits<Scalar>::epsilon();
  EXPECT_LE((d.x - 2 * expected.x).cwiseAbs().maxCoeff(), eps * Scalar(k) * 4 * reference::largest(expected.x));
  EXPECT_LE((d.weight - 2 * expected.weight).cwiseAbs().maxCoeff(),
            eps * Scalar(2 * rows.rows()) * 4 * reference::largest(expected.weight));
}

TYPED_TEST(ShortConv, no_channels_and_no_rows_are_nothing_to_do) {
  using Scalar = TypeParam;
  heed::Serial serial;
  const Case<Scalar> no_channels(3, 0, 4), no_rows(0, 3, 4);
  EXPECT_EQ(forward(no_channels, Sequences({3})).size(), 0);
  EXPECT_EQ(forward(no_rows, Sequences({0, 0})).size(), 0);
  EXPECT_EQ(reference::largest(backward<Scalar>(no_rows, Sequences({0, 0}), Matrix<Scalar>(0, 3), serial).weight),
            Scalar(0));
}

TEST(ShortConvGradient, agrees_with_central_differences_for_every_input) {
  const Index C = 3, k = 4;
  const Sequences rows({3, 0, 6});
  Case<double> at(rows.rows(), C, k);
  const Matrix<double> d_y = uniform<double>(rows.rows(), C, 4);
  heed::Serial serial;
  const auto d = backward(at, rows, d_y, serial);
  const auto loss = [&] { return (forward(at, rows).array() * d_y.array()).sum(); };
  const double size = (forward(at, rows).array() * d_y.array()).abs().sum();
  const Index roundings = at.roundings() + at.x.size();
  reference::expect_gradient("d_x", at.x, d.x, loss, size, roundings);
  reference::expect_gradient("d_weight", at.weight, d.weight, loss, size, roundings);
  reference::expect_gradient("d_bias", at.bias, d.bias, loss, size, roundings);
}

}  // namespace
