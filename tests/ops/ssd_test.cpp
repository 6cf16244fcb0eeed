#include "heed/ops/ssd.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "reference/recurrence_checks.hpp"
#include "reference/ssd.hpp"

namespace {

using heed::cols_of;
using heed::HeadTable;
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

struct Sizes {
  Index T, H, P, N, groups = 1;
};

template <class Scalar>
struct Case {
  Sizes sizes;
  Matrix<Scalar> x, dt, a, b, c, d;

  explicit Case(Sizes s)
      : sizes(s),
        x(uniform<Scalar>(s.T, s.H * s.P, 1)),
        dt(uniform<Scalar>(s.T, s.H, 2, 0.01, 1)),
        a(uniform<Scalar>(1, s.H, 3, -2, -0.05)),
        b(uniform<Scalar>(s.T, s.groups * s.N, 4)),
        c(uniform<Scalar>(s.T, s.groups * s.N, 5)),
        d(uniform<Scalar>(1, s.H, 6)) {}

  heed::SsdInputs<Scalar> inputs(Index chunk = 64) const { return inputs(0, x.rows(), chunk); }
  heed::SsdInputs<Scalar> inputs(Index begin, Index rows, Index chunk) const {
    return {.x = rows_of(view_of(x), begin, rows),
            .dt = rows_of(view_of(dt), begin, rows),
            .a = view_of(a),
            .b = rows_of(view_of(b), begin, rows),
            .c = rows_of(view_of(c), begin, rows),
            .d = view_of(d),
            .groups = sizes.groups,
            .chunk = chunk};
  }
  Index group_of(Index head) const { return head * sizes.groups / sizes.H; }
  reference::SsdHead<Scalar> head(Index begin, Index rows, Index h) const {
    const Index P = sizes.P, N = sizes.N, g = group_of(h);
    return {x.block(begin, h * P, rows, P),
            dt.block(begin, h, rows, 1),
            b.block(begin, g * N, rows, N),
            c.block(begin, g * N, rows, N),
            a(0, h),
            d(0, h)};
  }
  // An element is a sum over the state of sums over the rows before it, every term decayed over those rows.
  Index roundings() const { return sizes.N + 2 * sizes.T; }
};

// B x H states, and a table of them.
template <class Scalar>
struct States {
  std::vector<Matrix<Scalar>> all;
  std::vector<const Scalar*> read;
  std::vector<Scalar*> written;
  Index B, H;

  // `rows_of_one(b)`: how many rows an entry of sequence b has
  template <class Rows>
  States(Index sequences, Index heads, Index P, Rows&& rows_of_one, unsigned seed) : B(sequences), H(heads) {
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h) all.push_back(uniform<Scalar>(rows_of_one(b), P, seed++));
    for (Matrix<Scalar>& state : all) {
      read.push_back(state.data());
      written.push_back(state.data());
    }
  }
  States(Index sequences, Sizes s, unsigned seed)
      : States(
            sequences, s.H, s.P, [&](Index) { return s.N; }, seed) {}
  Matrix<Scalar>& at(Index b, Index h) { return all[std::size_t(b * H + h)]; }
  HeadTable<const Scalar*> before() { return {read.data(), B, H}; }
  HeadTable<Scalar*> after() { return {written.data(), B, H}; }
  bool same(const States& other) const {
    return std::equal(all.begin(), all.end(), other.all.begin(), other.all.end(), same_bits<Scalar>);
  }
};

template <class Scalar>
States<Scalar> room_to_keep(const Case<Scalar>& at, const Sequences& rows, Index chunk) {
  return States<Scalar>(
      rows.size(), at.sizes.H, at.sizes.P, [&](Index b) { return heed::ssd_kept_states(rows.rows(b), chunk) * at.sizes.N; },
      50);
}

template <class Scalar>
Matrix<Scalar> forward(const Case<Scalar>& at, const Sequences& rows, Index chunk,
                       const heed::SsdStates<Scalar>& states = {}) {
  heed::Serial serial;
  heed::Workers workers(serial);
  Matrix<Scalar> y = Matrix<Scalar>::Constant(at.x.rows(), at.x.cols(), Scalar(7));
  heed::ssd(at.inputs(chunk), rows, states, mutable_view_of(y), workers);
  return y;
}

template <class Scalar>
struct Gradients {
  Matrix<Scalar> x, dt, a, b, c, d;

  explicit Gradients(const Case<Scalar>& at)
      : x(at.x * Scalar(0)),
        dt(at.dt * Scalar(0)),
        a(at.a * Scalar(0)),
        b(at.b * Scalar(0)),
        c(at.c * Scalar(0)),
        d(at.d * Scalar(0)) {}
  heed::SsdGradients<Scalar> views() {
    return {mutable_view_of(x), mutable_view_of(dt), mutable_view_of(a),
            mutable_view_of(b), mutable_view_of(c),  mutable_view_of(d)};
  }
  bool same(const Gradients& o) const {
    return same_bits(x, o.x) && same_bits(dt, o.dt) && same_bits(a, o.a) && same_bits(b, o.b) && same_bits(c, o.c) &&
           same_bits(d, o.d);
  }
};

// Adds to `d` what forward and backward make of d_y.
template <class Scalar>
void add_backward(const Case<Scalar>& at, const Sequences& rows, Index chunk, const Matrix<Scalar>& d_y,
                  heed::Executor& executor, Gradients<Scalar>& d) {
  States<Scalar> kept = room_to_keep(at, rows, chunk);
  forward<Scalar>(at, rows, chunk, {.kept = kept.after()});
  heed::Workers workers(executor);
  heed::Arena scratch;
  heed::ssd_backward(at.inputs(chunk), rows, kept.after(), view_of(d_y), d.views(), workers, scratch);
}
template <class Scalar>
Gradients<Scalar> backward(const Case<Scalar>& at, const Sequences& rows, Index chunk, const Matrix<Scalar>& d_y) {
  heed::Serial serial;
  Gradients<Scalar> d(at);
  add_backward(at, rows, chunk, d_y, serial, d);
  return d;
}

// The definition over all heads of all sequences, in the scalar Oracle.
template <class Oracle, class Scalar>
struct Reference {
  Matrix<Oracle> y;
  std::vector<Matrix<Oracle>> after;
  Matrix<Oracle> d_x, d_dt, d_a, d_b, d_c, d_d;  // from the zero state

  Reference(const Case<Scalar>& at, const Sequences& rows, States<Scalar>* before, const Matrix<Scalar>& d_y)
      : y(at.x.rows(), at.x.cols()) {
    const auto [T, H, P, N, groups] = at.sizes;
    d_x.setZero(T, H * P), d_dt.setZero(T, H), d_a.setZero(1, H), d_d.setZero(1, H);
    d_b.setZero(T, groups * N), d_c.setZero(T, groups * N);
    for (Index s = 0; s < rows.size(); ++s)
      for (Index h = 0; h < H; ++h) {
        const Index begin = rows.begin(s), n = rows.rows(s), g = at.group_of(h);
        const reference::SsdHead<Oracle> head = at.head(begin, n, h).template as<Oracle>();
        const Matrix<Oracle> state =
            before != nullptr ? Matrix<Oracle>(before->at(s, h).template cast<Oracle>()) : Matrix<Oracle>::Zero(N, P);
        const auto result = reference::ssd_recurrent(head, state);
        y.block(begin, h * P, n, P) = result.y;
        after.push_back(result.state);
        const auto d = reference::ssd_backward<Oracle>(head, d_y.block(begin, h * P, n, P).template cast<Oracle>());
        d_x.block(begin, h * P, n, P) += d.x;
        d_dt.block(begin, h, n, 1) += d.dt;
        d_b.block(begin, g * N, n, N) += d.b;
        d_c.block(begin, g * N, n, N) += d.c;
        d_a(0, h) += d.a;
        d_d(0, h) += d.d;
      }
  }
};

template <class Scalar>
class Ssd : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Ssd, Scalars);

TYPED_TEST(Ssd, equals_the_recurrence_and_its_gradient_for_any_chunk) {
  using Scalar = TypeParam;
  for (const Sizes sizes :
       {Sizes{1, 1, 1, 1}, Sizes{1, 2, 33, 7}, Sizes{7, 3, 5, 4, 2}, Sizes{33, 2, 20, 9}, Sizes{70, 4, 7, 16, 2}}) {
    const Case<Scalar> at(sizes);
    const Sequences rows({sizes.T});
    const Matrix<Scalar> d_y = uniform<Scalar>(at.x.rows(), at.x.cols(), 7);
    States<Scalar> before(1, sizes, 20);
    const Reference<Scalar, Scalar> naive(at, rows, &before, d_y);
    const Reference<Wider<Scalar>, Scalar> oracle(at, rows, &before, d_y);
    for (const Index chunk : {Index(1), Index(2), Index(3), Index(5), Index(8), Index(16), Index(64), sizes.T}) {
      SCOPED_TRACE(testing::Message() << "T " << sizes.T << ", chunk " << chunk);
      States<Scalar> after(1, sizes, 30);
      expect_as_good_as_naive("y", forward<Scalar>(at, rows, chunk, {.before = before.before(), .after = after.after()}),
                              naive.y, oracle.y, at.roundings());
      for (std::size_t h = 0; h < after.all.size(); ++h)
        expect_as_good_as_naive("state", after.all[h], naive.after[h], oracle.after[h], at.roundings());

      const Gradients<Scalar> d = backward(at, rows, chunk, d_y);
      const Index roundings = at.roundings() + sizes.P + sizes.T;
      expect_as_good_as_naive("d_x", d.x, naive.d_x, oracle.d_x, roundings);
      expect_as_good_as_naive("d_dt", d.dt, naive.d_dt, oracle.d_dt, roundings);
      expect_as_good_as_naive("d_a", d.a, naive.d_a, oracle.d_a, roundings);
      expect_as_good_as_naive("d_b", d.b, naive.d_b, oracle.d_b, roundings);
      expect_as_good_as_naive("d_c", d.c, naive.d_c, oracle.d_c, roundings);
      expect_as_good_as_naive("d_d", d.d, naive.d_d, oracle.d_d, roundings);
    }
  }
}

TYPED_TEST(Ssd, is_masked_attention_without_softmax) {
  using Scalar = TypeParam;
  using W = Wider<Scalar>;
  const Sizes sizes{37, 1, 8, 8};
  const Case<Scalar> at(sizes);
  const reference::SsdHead<Scalar> head = at.head(0, sizes.T, 0);
  const Matrix<W> oracle = reference::ssd_quadratic(head.template as<W>());
  for (const Index chunk : {1, 5, 16, 64})
    expect_as_good_as_naive("y", forward(at, Sequences({sizes.T}), chunk), reference::ssd_quadratic(head), oracle,
                            at.roundings());
}

TYPED_TEST(Ssd, in_calls_with_carried_state_is_the_whole) {
  using Scalar = TypeParam;
  const Sizes sizes{29, 2, 9, 5};
  const Case<Scalar> at(sizes);
  const Sequences all({sizes.T});
  const Matrix<Scalar> d_y = uniform<Scalar>(at.x.rows(), at.x.cols(), 7);
  const Reference<Scalar, Scalar> naive(at, all, nullptr, d_y);
  const Reference<Wider<Scalar>, Scalar> oracle(at, all, nullptr, d_y);
  heed::Serial serial;
  heed::Workers workers(serial);
  for (const std::vector<Index>& calls :
       {std::vector<Index>{29}, std::vector<Index>(29, 1), {3, 0, 1, 17, 8}, {0, 28, 1}}) {
    States<Scalar> carried(1, sizes, 30), next(1, sizes, 40);
    Matrix<Scalar> y(at.x.rows(), at.x.cols());
    Index begin = 0;
    bool first = true, in_place = true;
    for (const Index rows : calls) {
      heed::SsdStates<Scalar> states{.before = carried.before(), .after = in_place ? carried.after() : next.after()};
      if (first) states.before = {};
      heed::ssd(at.inputs(begin, rows, 8), Sequences({rows}), states, rows_of(mutable_view_of(y), begin, rows), workers);
      if (!in_place)
        for (std::size_t h = 0; h < carried.all.size(); ++h) carried.all[h] = next.all[h];
      begin += rows;
      first = false;
      in_place = !in_place;
    }
    expect_as_good_as_naive("y", y, naive.y, oracle.y, at.roundings());
    for (std::size_t h = 0; h < carried.all.size(); ++h)
      expect_as_good_as_naive("state", carried.all[h], naive.after[h], oracle.after[h], at.roundings());
  }
}

TYPED_TEST(Ssd, packed_ragged_sequences_are_those_sequences_one_by_one) {
  using Scalar = TypeParam;
  const Sequences rows({5, 0, 1, 19});
  const Sizes sizes{rows.rows(), 3, 6, 5, 2};
  const Index chunk = 8, H = sizes.H;
  const Case<Scalar> at(sizes);
  const Matrix<Scalar> d_y = uniform<Scalar>(at.x.rows(), at.x.cols(), 7);
  States<Scalar> before(rows.size(), sizes, 20), after(rows.size(), sizes, 40);
  const Matrix<Scalar> y = forward<Scalar>(at, rows, chunk, {.before = before.before(), .after = after.after()});
  const Gradients<Scalar> d = backward(at, rows, chunk, d_y);
  EXPECT_TRUE(same_bits(after.at(1, 0), before.at(1, 0))) << "no rows leave the state";
  for (Index b = 0; b < rows.size(); ++b) {
    const Index begin = rows.begin(b), n = rows.rows(b);
    Case<Scalar> alone = at;
    alone.sizes.T = n;
    for (Matrix<Scalar>* matrix : {&alone.x, &alone.dt, &alone.b, &alone.c}) *matrix = matrix->middleRows(begin, n).eval();
    States<Scalar> alone_before(1, sizes, 20), alone_after(1, sizes, 60);
    for (Index h = 0; h < H; ++h) alone_before.at(0, h) = before.at(b, h);
    const Matrix<Scalar> y_b =
        forward<Scalar>(alone, Sequences({n}), chunk, {.before = alone_before.before(), .after = alone_after.after()});
    EXPECT_TRUE(same_bits<Scalar>(y.middleRows(begin, n), y_b));
    for (Index h = 0; h < H; ++h) EXPECT_TRUE(same_bits(after.at(b, h), alone_after.at(0, h)));
    const Gradients<Scalar> d_b = backward<Scalar>(alone, Sequences({n}), chunk, d_y.middleRows(begin, n));
    EXPECT_TRUE(same_bits<Scalar>(d.x.middleRows(begin, n), d_b.x));
    EXPECT_TRUE(same_bits<Scalar>(d.dt.middleRows(begin, n), d_b.dt));
    EXPECT_TRUE(same_bits<Scalar>(d.b.middleRows(begin, n), d_b.b));
    EXPECT_TRUE(same_bits<Scalar>(d.c.middleRows(begin, n), d_b.c));
  }
}

TYPED_TEST(Ssd, has_the_same_bits_in_any_order_of_jobs) {
  using Scalar = TypeParam;
  const Sequences rows({70, 0, 1, 9});
  const Sizes sizes{rows.rows(), 4, 6, 5, 2};
  const Index chunk = 8;
  const Case<Scalar> at(sizes);
  const Matrix<Scalar> d_y = uniform<Scalar>(at.x.rows(), at.x.cols(), 7);
  heed::Serial serial;
  reference::Reversed reversed;
  heed::Workers workers(reversed);
  States<Scalar> after(rows.size(), sizes, 40), expected(rows.size(), sizes, 80);
  Matrix<Scalar> y(at.x.rows(), at.x.cols());
  heed::ssd(at.inputs(chunk), rows, heed::SsdStates<Scalar>{.after = after.after()}, mutable_view_of(y), workers);
  EXPECT_TRUE(same_bits(y, forward<Scalar>(at, rows, chunk, {.after = expected.after()})));
  EXPECT_TRUE(after.same(expected));

  Gradients<Scalar> d(at), d_expected(at);
  for (int twice = 0; twice < 2; ++twice) {  // the second time onto gradients that are not zero
    add_backward(at, rows, chunk, d_y, reversed, d);
    add_backward(at, rows, chunk, d_y, serial, d_expected);
    EXPECT_TRUE(d.same(d_expected));
  }
}

TYPED_TEST(Ssd, backward_adds_to_every_gradient) {
  using Scalar = TypeParam;
  const Sizes sizes{11, 2, 3, 4};
  const Case<Scalar> at(sizes);
  const Sequences rows({5, 6});
  const Matrix<Scalar> d_y = uniform<Scalar>(at.x.rows(), at.x.cols(), 7);
  heed::Serial serial;
  const Gradients<Scalar> once = backward(at, rows, 4, d_y);
  Gradients<Scalar> d = once;
  for (Matrix<Scalar>* matrix : {&d.x, &d.dt, &d.a, &d.b, &d.c, &d.d}) matrix->setConstant(Scalar(3));
  add_backward(at, rows, 4, d_y, serial, d);
  const auto expect_added = [&](const Matrix<Scalar>& found, const Matrix<Scalar>& added) {
    const Scalar bound =
        std::numeric_limits<Scalar>::epsilon() * Scalar(at.roundings()) * (Scalar(3) + reference::largest(added));
    EXPECT_LE((found - added).array().operator-(Scalar(3)).abs().maxCoeff(), bound);
  };
  expect_added(d.x, once.x), expect_added(d.dt, once.dt), expect_added(d.a, once.a);
  expect_added(d.b, once.b), expect_added(d.c, once.c), expect_added(d.d, once.d);
}

TYPED_TEST(Ssd, stays_finite_and_exact_where_the_decay_is_extreme) {
  using Scalar = TypeParam;
  const Sizes sizes{20, 2, 5, 4};
  Case<Scalar> at(sizes);
  at.a.setConstant(Scalar(-1e7));  // so that sums of dt a reach -1e7, beside which differences of 0.1 are lost
  for (Index t = 0; t < sizes.T; ++t)
    for (Index h = 0; h < sizes.H; ++h)
      at.dt(t, h) = Scalar(t % 7 == 3 ? 1 : t % 3 == 0 ? 0 : 1e-8);  // forget, keep, decay
  const Sequences rows({sizes.T});
  const Matrix<Scalar> d_y = uniform<Scalar>(at.x.rows(), at.x.cols(), 7);
  const Reference<Scalar, Scalar> naive(at, rows, nullptr, d_y);
  const Reference<Wider<Scalar>, Scalar> oracle(at, rows, nullptr, d_y);
  for (const Index chunk : {1, 4, 64}) {
    expect_as_good_as_naive("y", forward(at, rows, chunk), naive.y, oracle.y, at.roundings());
    const Gradients<Scalar> d = backward(at, rows, chunk, d_y);
    expect_as_good_as_naive("d_x", d.x, naive.d_x, oracle.d_x, at.roundings());
    expect_as_good_as_naive("d_dt", d.dt, naive.d_dt, oracle.d_dt, at.roundings());
    expect_as_good_as_naive("d_a", d.a, naive.d_a, oracle.d_a, at.roundings());
  }
}

TYPED_TEST(Ssd, a_row_that_is_not_a_number_does_not_reach_the_rows_before_it) {
  using Scalar = TypeParam;
  const Sizes sizes{21, 1, 5, 4};
  const Case<Scalar> at(sizes);
  for (const Index chunk : {1, 8, 64})
    for (const Index bad : {5, 6, 8}) {
      Case<Scalar> poisoned = at;
      for (Matrix<Scalar>* matrix : {&poisoned.x, &poisoned.dt, &poisoned.b, &poisoned.c})
        matrix->row(bad).setConstant(std::numeric_limits<Scalar>::quiet_NaN());
      const Sequences rows({sizes.T});
      const Matrix<Scalar> clean = forward(at, rows, chunk), y = forward(poisoned, rows, chunk);
      EXPECT_TRUE(same_bits<Scalar>(y.topRows(bad), clean.topRows(bad))) << "chunk " << chunk << ", row " << bad;
      EXPECT_TRUE(y.row(bad).array().isNaN().all());
    }
}

TYPED_TEST(Ssd, no_heads_no_rows_and_no_columns_are_nothing_to_do) {
  using Scalar = TypeParam;
  for (const Sizes sizes : {Sizes{3, 0, 4, 5}, Sizes{0, 2, 4, 5}, Sizes{3, 2, 0, 5}}) {
    const Case<Scalar> at(sizes);
    const Sequences rows({sizes.T, 0});
    EXPECT_EQ(forward(at, rows, 4).size(), 0);
    EXPECT_EQ(reference::largest(backward<Scalar>(at, rows, 2, Matrix<Scalar>(at.x.rows(), at.x.cols())).b), Scalar(0));
  }
}

TEST(SsdGradient, agrees_with_central_differences_for_every_input) {
  const Sequences rows({7, 0, 1, 3});
  const Sizes sizes{rows.rows(), 3, 2, 3, 2};
  for (const Index chunk : {1, 3, 64}) {
    Case<double> at(sizes);
    const Matrix<double> d_y = uniform<double>(at.x.rows(), at.x.cols(), 7);
    const Gradients<double> d = backward(at, rows, chunk, d_y);
    const auto loss = [&] { return (forward(at, rows, chunk).array() * d_y.array()).sum(); };
    const double size = (forward(at, rows, chunk).array() * d_y.array()).abs().sum();
    const Index roundings = at.roundings() + at.x.size();
    reference::expect_gradient("d_x", at.x, d.x, loss, size, roundings);
    reference::expect_gradient("d_dt", at.dt, d.dt, loss, size, roundings);
    reference::expect_gradient("d_a", at.a, d.a, loss, size, roundings);
    reference::expect_gradient("d_b", at.b, d.b, loss, size, roundings);
    reference::expect_gradient("d_c", at.c, d.c, loss, size, roundings);
    reference::expect_gradient("d_d", at.d, d.d, loss, size, roundings);
  }
}

}  // namespace
