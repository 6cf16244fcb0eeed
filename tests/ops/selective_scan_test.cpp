#include "heed/ops/selective_scan.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/selective_scan.hpp"
#include "heed/ops/ssd.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

struct Sizes {
  Index T, C, N, groups = 1;
};

template <class Scalar>
Matrix<Scalar> between(double low, double high, Index rows, Index cols, std::string_view name) {
  Matrix<Scalar> matrix(rows, cols);
  Random(7, name).uniform(matrix, low, high);
  return matrix;
}

template <class Scalar>
struct Case : reference::SelectiveScan<Scalar> {
  explicit Case(Sizes s)
      : reference::SelectiveScan<Scalar>{random_matrix<Scalar>(s.T, s.C, "x"),
                                         between<Scalar>(0.01, 1, s.T, s.C, "dt"),
                                         between<Scalar>(-2, -0.05, s.N, s.C, "a"),
                                         random_matrix<Scalar>(s.T, s.groups * s.N, "b"),
                                         random_matrix<Scalar>(s.T, s.groups * s.N, "c"),
                                         random_matrix<Scalar>(1, s.C, "d"),
                                         s.groups} {}

  SelectiveScanInputs<Scalar> inputs(Index chunk = 32) const { return inputs(0, this->x.rows(), chunk); }
  SelectiveScanInputs<Scalar> inputs(Index begin, Index rows, Index chunk) const {
    return {.x = rows_of(view_of(this->x), begin, rows),
            .dt = rows_of(view_of(this->dt), begin, rows),
            .a = view_of(this->a),
            .b = rows_of(view_of(this->b), begin, rows),
            .c = rows_of(view_of(this->c), begin, rows),
            .d = view_of(this->d),
            .groups = this->groups,
            .chunk = chunk};
  }
  // The rows [begin, begin + rows) as a case of their own.
  Case rows_alone(Index begin, Index rows) const {
    Case alone = *this;
    for (Matrix<Scalar>* matrix : {&alone.x, &alone.dt, &alone.b, &alone.c})
      *matrix = matrix->middleRows(begin, rows).eval();
    return alone;
  }
  // An element is a sum over the states of sums over the rows before it, every term decayed over those rows.
  Index operations() const { return 2 * this->a.rows() + 2 * this->x.rows(); }
};

// One matrix a sequence, and a table of them.
template <class Scalar>
struct States {
  std::vector<Matrix<Scalar>> all;
  std::vector<const Scalar*> read;
  std::vector<Scalar*> written;

  template <class Rows>
  States(Index sequences, Index C, Rows&& rows_of_one, const std::string& name) {
    for (Index b = 0; b < sequences; ++b) all.push_back(random_matrix<Scalar>(rows_of_one(b), C, name + std::to_string(b)));
    for (Matrix<Scalar>& state : all) {
      read.push_back(state.data());
      written.push_back(state.data());
    }
  }
  States(Index sequences, Sizes s, const std::string& name)
      : States(
            sequences, s.C, [&](Index) { return s.N; }, name) {}
  HeadTable<const Scalar*> before() { return {read.data(), Index(all.size()), 1}; }
  HeadTable<Scalar*> after() { return {written.data(), Index(all.size()), 1}; }
};

template <class Scalar>
States<Scalar> room_to_keep(const Case<Scalar>& at, const Sequences& rows, Index chunk) {
  return States<Scalar>(
      rows.size(), at.x.cols(), [&](Index b) { return selective_scan_kept_states(rows.rows(b), chunk) * at.a.rows(); },
      "kept");
}

template <class Scalar>
Matrix<Scalar> forward(const Case<Scalar>& at, const Sequences& rows, Index chunk,
                       const SelectiveScanStates<Scalar>& states = {}) {
  Workers workers;
  Matrix<Scalar> y = Matrix<Scalar>::Constant(at.x.rows(), at.x.cols(), Scalar(7));
  selective_scan(at.inputs(chunk), rows, states, mutable_view_of(y), workers);
  return y;
}

template <class Scalar>
struct Gradients {
  Matrix<Scalar> x, dt, a, b, c, d;

  // What is there before backward adds to it.
  explicit Gradients(const Case<Scalar>& at)
      : x(like(at.x, "d_x")),
        dt(like(at.dt, "d_dt")),
        a(like(at.a, "d_a")),
        b(like(at.b, "d_b")),
        c(like(at.c, "d_c")),
        d(like(at.d, "d_d")) {}
  static Matrix<Scalar> like(const Matrix<Scalar>& matrix, std::string_view name) {
    return random_matrix<Scalar>(matrix.rows(), matrix.cols(), name);
  }
  void set_zero() {
    for (Matrix<Scalar>* matrix : {&x, &dt, &a, &b, &c, &d}) matrix->setZero();
  }
  SelectiveScanGradients<Scalar> views() {
    return {mutable_view_of(x), mutable_view_of(dt), mutable_view_of(a),
            mutable_view_of(b), mutable_view_of(c),  mutable_view_of(d)};
  }
  bool same(const Gradients& o) const {
    return same_bits(x, o.x) && same_bits(dt, o.dt) && same_bits(a, o.a) && same_bits(b, o.b) && same_bits(c, o.c) &&
           same_bits(d, o.d);
  }
};

// Adds to d what backward makes of d_y and of the states that forward kept.
template <class Scalar>
Gradients<Scalar> backward(const Case<Scalar>& at, const Sequences& rows, Index chunk, const Matrix<Scalar>& d_y,
                           Gradients<Scalar> d, Executor* executor = nullptr) {
  States<Scalar> kept = room_to_keep(at, rows, chunk);
  forward<Scalar>(at, rows, chunk, {.kept = kept.after()});
  Workers workers(executor);
  Arena scratch;
  selective_scan_backward(at.inputs(chunk), rows, kept.after(), view_of(d_y), d.views(), scratch, workers);
  return d;
}

template <class Scalar>
class SelectiveScan : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SelectiveScan, Scalars);

TYPED_TEST(SelectiveScan, EqualsItsStepsAndAddsTheirGradientForAnyChunk) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  for (const Sizes sizes :
       {Sizes{1, 1, 1}, Sizes{1, 33, 7}, Sizes{1, 64, 16}, Sizes{7, 6, 4, 2}, Sizes{9, 70, 3}, Sizes{33, 39, 5, 3},
        Sizes{70, 5, 16}, Sizes{4, 262, 2}, Sizes{31, 17, 15}, Sizes{32, 16, 17}, Sizes{65, 129, 31}, Sizes{33, 257, 16}}) {
    const Case<Scalar> at(sizes);
    const Sequences rows({sizes.T});
    const Matrix<Scalar> d_y = random_matrix<Scalar>(sizes.T, sizes.C, "d_y");
    States<Scalar> before(1, sizes, "before");
    const auto naive = reference::selective_scan<Scalar>(at, before.all[0]);
    const auto exact = reference::selective_scan<W>(at.template as<W>(), before.all[0].template cast<W>());
    const auto d_naive = reference::selective_scan_backward<Scalar>(at, d_y);
    const auto d_exact = reference::selective_scan_backward<W>(at.template as<W>(), d_y.template cast<W>());
    for (const Index chunk : {Index(1), Index(2), Index(5), Index(16), Index(64), sizes.T}) {
      SCOPED_TRACE(testing::Message() << "T " << sizes.T << ", C " << sizes.C << ", chunk " << chunk);
      States<Scalar> after(1, sizes, "after");
      expect_as_exact_as_naive(forward<Scalar>(at, rows, chunk, {.before = before.before(), .after = after.after()}),
                               naive.y, exact.y, at.operations());
      expect_as_exact_as_naive(after.all[0], naive.state, exact.state, at.operations());

      const Gradients<Scalar> start(at), d = backward(at, rows, chunk, d_y, start);
      const auto expect_added = [&](const Matrix<Scalar>& found, const Matrix<Scalar>& from, const Matrix<Scalar>& by,
                                    const Matrix<W>& exactly) {
        expect_as_exact_as_naive(found, Matrix<Scalar>(from + by), Matrix<W>(from.template cast<W>() + exactly),
                                 at.operations() + sizes.C + sizes.T);
      };
      expect_added(d.x, start.x, d_naive.x, d_exact.x);
      expect_added(d.dt, start.dt, d_naive.dt, d_exact.dt);
      expect_added(d.a, start.a, d_naive.a, d_exact.a);
      expect_added(d.b, start.b, d_naive.b, d_exact.b);
      expect_added(d.c, start.c, d_naive.c, d_exact.c);
      expect_added(d.d, start.d, d_naive.d, d_exact.d);
    }
  }
}

TYPED_TEST(SelectiveScan, InCallsWithCarriedStateHasTheBitsOfTheWhole) {
  using Scalar = TypeParam;
  for (const Sizes sizes : {Sizes{69, 35, 5}, Sizes{69, 64, 16}}) {
    const Case<Scalar> at(sizes);
    States<Scalar> whole_after(1, sizes, "whole");
    const Matrix<Scalar> whole = forward<Scalar>(at, Sequences({sizes.T}), 8, {.after = whole_after.after()});
    Workers workers;
    for (const std::vector<Index>& calls : {std::vector<Index>(69, 1), {3, 0, 1, 57, 8}, {0, 68, 1}}) {
      States<Scalar> carried(1, sizes, "after"), next(1, sizes, "next");
      Matrix<Scalar> y(sizes.T, sizes.C);
      Index begin = 0;
      bool in_place = true;
      for (const Index rows : calls) {
        SelectiveScanStates<Scalar> states{.before = carried.before(), .after = in_place ? carried.after() : next.after()};
        if (begin == 0) states.before = {};
        selective_scan(at.inputs(begin, rows, 8), Sequences({rows}), states, rows_of(mutable_view_of(y), begin, rows),
                       workers);
        if (!in_place) carried.all[0] = next.all[0];
        begin += rows;
        in_place = !in_place;
      }
      EXPECT_TRUE(same_bits(y, whole));
      EXPECT_TRUE(same_bits(carried.all[0], whole_after.all[0]));
    }
  }
}

TYPED_TEST(SelectiveScan, PackedRaggedSequencesAreThoseSequencesOneByOne) {
  using Scalar = TypeParam;
  const Sequences rows({5, 0, 1, 19});
  const Sizes sizes{rows.rows(), 42, 3, 2};
  const Index chunk = 8;
  const Case<Scalar> at(sizes);
  const Matrix<Scalar> d_y = random_matrix<Scalar>(sizes.T, sizes.C, "d_y");
  States<Scalar> before(rows.size(), sizes, "before"), after(rows.size(), sizes, "after");
  const Matrix<Scalar> y = forward<Scalar>(at, rows, chunk, {.before = before.before(), .after = after.after()});
  Gradients<Scalar> start(at);
  start.set_zero();
  const Gradients<Scalar> d = backward(at, rows, chunk, d_y, start);
  EXPECT_TRUE(same_bits(after.all[1], before.all[1])) << "no rows leave the state";
  Gradients<Scalar> sums(at);
  sums.set_zero();
  for (Index b = 0; b < rows.size(); ++b) {
    const Index begin = rows.begin(b), n = rows.rows(b);
    const Case<Scalar> alone = at.rows_alone(begin, n);
    States<Scalar> alone_before(1, sizes, "before"), alone_after(1, sizes, "alone");
    alone_before.all[0] = before.all[std::size_t(b)];
    const Matrix<Scalar> y_b =
        forward<Scalar>(alone, Sequences({n}), chunk, {.before = alone_before.before(), .after = alone_after.after()});
    EXPECT_TRUE(same_bits(y.middleRows(begin, n), y_b));
    EXPECT_TRUE(same_bits(after.all[std::size_t(b)], alone_after.all[0]));
    Gradients<Scalar> d_b(alone);
    d_b.set_zero();
    d_b.a = sums.a, d_b.d = sums.d;  // what all sequences add to
    d_b = backward<Scalar>(alone, Sequences({n}), chunk, d_y.middleRows(begin, n), d_b);
    sums.a = d_b.a, sums.d = d_b.d;
    EXPECT_TRUE(same_bits(d.x.middleRows(begin, n), d_b.x));
    EXPECT_TRUE(same_bits(d.dt.middleRows(begin, n), d_b.dt));
    EXPECT_TRUE(same_bits(d.b.middleRows(begin, n), d_b.b));
    EXPECT_TRUE(same_bits(d.c.middleRows(begin, n), d_b.c));
  }
  EXPECT_TRUE(same_bits(d.a, sums.a));
  EXPECT_TRUE(same_bits(d.d, sums.d));
}

TYPED_TEST(SelectiveScan, HasTheSameBitsInAnyOrderOfJobs) {
  using Scalar = TypeParam;
  const Sequences rows({40, 0, 1, 9});
  const Sizes sizes{rows.rows(), 540, 3, 2};
  const Index chunk = 8;
  const Case<Scalar> at(sizes);
  const Matrix<Scalar> d_y = random_matrix<Scalar>(sizes.T, sizes.C, "d_y");
  reference::Backwards backwards(3);
  Workers workers(backwards);
  Matrix<Scalar> y(sizes.T, sizes.C);
  selective_scan(at.inputs(chunk), rows, SelectiveScanStates<Scalar>{}, mutable_view_of(y), workers);
  EXPECT_TRUE(same_bits(y, forward<Scalar>(at, rows, chunk)));

  const Gradients<Scalar> start(at);
  EXPECT_TRUE(backward(at, rows, chunk, d_y, start, &backwards).same(backward(at, rows, chunk, d_y, start)));
}

TYPED_TEST(SelectiveScan, StaysFiniteAndExactWhereTheDecayIsExtreme) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const Sizes sizes{20, 5, 4};
  Case<Scalar> at(sizes);
  at.a.setConstant(Scalar(-1e7));
  for (Index t = 0; t < sizes.T; ++t)
    for (Index i = 0; i < sizes.C; ++i)
      at.dt(t, i) = Scalar(t % 7 == 3 ? 1 : t % 3 == 0 ? 0 : 1e-8);  // forget, keep, decay
  const Sequences rows({sizes.T});
  const Matrix<Scalar> d_y = random_matrix<Scalar>(sizes.T, sizes.C, "d_y");
  const Matrix<Scalar> zero = Matrix<Scalar>::Zero(sizes.N, sizes.C);
  expect_as_exact_as_naive(forward<Scalar>(at, rows, 8), reference::selective_scan<Scalar>(at, zero).y,
                           reference::selective_scan<W>(at.template as<W>(), zero.template cast<W>()).y, at.operations());
  Gradients<Scalar> d(at);
  d.set_zero();
  d = backward(at, rows, 8, d_y, d);
  const auto naive = reference::selective_scan_backward<Scalar>(at, d_y);
  const auto exact = reference::selective_scan_backward<W>(at.template as<W>(), d_y.template cast<W>());
  expect_as_exact_as_naive(d.x, naive.x, exact.x, at.operations());
  expect_as_exact_as_naive(d.dt, naive.dt, exact.dt, at.operations());
  expect_as_exact_as_naive(d.a, naive.a, exact.a, at.operations());
}

TYPED_TEST(SelectiveScan, WithOneStepAndOneDecayIsAHeadOfMamba2) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const Sizes sizes{23, 9, 6};
  Case<Scalar> at(sizes);
  at.a.setConstant(Scalar(-0.7));
  at.d.setConstant(at.d(0, 0));
  for (Index i = 1; i < sizes.C; ++i) at.dt.col(i) = at.dt.col(0);
  const Matrix<Scalar> dt = at.dt.col(0), a = at.a.col(0).row(0), d = at.d.col(0);
  const SsdInputs<Scalar> head{.x = view_of(at.x),
                               .dt = view_of(dt),
                               .a = view_of(a),
                               .b = view_of(at.b),
                               .c = view_of(at.c),
                               .d = view_of(d),
                               .chunk = 8};
  Workers workers;
  Matrix<Scalar> of_head(sizes.T, sizes.C);
  ssd(head, Sequences({sizes.T}), SsdStates<Scalar>{}, mutable_view_of(of_head), workers);
  const Matrix<Scalar> zero = Matrix<Scalar>::Zero(sizes.N, sizes.C);
  const Matrix<W> exact = reference::selective_scan<W>(at.template as<W>(), zero.template cast<W>()).y;
  const Matrix<Scalar> naive = reference::selective_scan<Scalar>(at, zero).y;
  expect_as_exact_as_naive(forward(at, Sequences({sizes.T}), 8), naive, exact, at.operations());
  expect_as_exact_as_naive(of_head, naive, exact, at.operations());
}

TYPED_TEST(SelectiveScan, NeedsNoChannels) {
  using Scalar = TypeParam;
  const Case<Scalar> at({3, 0, 4});
  const Matrix<Scalar> d_y(3, 0);
  EXPECT_EQ(forward<Scalar>(at, Sequences({3}), 2).size(), 0);
  const Gradients<Scalar> start(at);
  EXPECT_TRUE(backward(at, Sequences({3}), 2, d_y, start).same(start));
}

TEST(SelectiveScan, AddsTheGradientOfEveryInput) {
  const Sequences rows({7, 0, 1, 3});
  for (const Index chunk : {1, 3, 64}) {
    Case<double> at({rows.rows(), 6, 3, 2});
    const Matrix<double> d_y = random_matrix<double>(at.x.rows(), at.x.cols(), "d_y");
    Gradients<double> d(at);
    d.set_zero();
    d = backward(at, rows, chunk, d_y, d);
    const auto f = [&] { return reference::dot(forward(at, rows, chunk), d_y); };
    expect_gradient(at.x, d.x, at.operations(), f);
    expect_gradient(at.dt, d.dt, at.operations(), f);
    expect_gradient(at.a, d.a, at.operations(), f);
    expect_gradient(at.b, d.b, at.operations(), f);
    expect_gradient(at.c, d.c, at.operations(), f);
    expect_gradient(at.d, d.d, at.operations(), f);
  }
}

TEST(SelectiveScan, TakesNoMoreThanItSays) {
  const Sizes sizes{70, 75, 5};
  const Case<float> at(sizes);
  const Sequences rows({33, 0, 1, 36});
  const Matrix<float> d_y = random_matrix<float>(sizes.T, sizes.C, "d_y");
  for (const Index chunk : {1, 8, 30, 64}) {
    Workers workers(nullptr, selective_scan_job_bytes<float>(36, chunk, sizes.C, sizes.N));
    Matrix<float> y(sizes.T, sizes.C);
    States<float> kept = room_to_keep(at, rows, chunk);
    selective_scan(at.inputs(chunk), rows, SelectiveScanStates<float>{.kept = kept.after()}, mutable_view_of(y), workers);
    Gradients<float> d(at);
    Arena scratch;
    selective_scan_backward(at.inputs(chunk), rows, kept.after(), view_of(d_y), d.views(), scratch, workers);
    EXPECT_EQ(workers.blocks(), 1u) << "chunk " << chunk;
  }
}

}  // namespace
}  // namespace heed
