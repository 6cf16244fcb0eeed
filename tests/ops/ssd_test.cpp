#include "heed/ops/ssd.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/ssd.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

struct Sizes {
  Index T, H, P, N, groups = 1;
};

template <class Scalar>
Matrix<Scalar> between(double low, double high, Index rows, Index cols, std::string_view name) {
  Matrix<Scalar> matrix(rows, cols);
  Random(7, name).uniform(matrix, low, high);
  return matrix;
}

template <class Scalar>
struct Case {
  Sizes sizes;
  Matrix<Scalar> x, dt, a, b, c, d;

  explicit Case(Sizes s)
      : sizes(s),
        x(random_matrix<Scalar>(s.T, s.H * s.P, "x")),
        dt(between<Scalar>(0.01, 1, s.T, s.H, "dt")),
        a(between<Scalar>(-2, -0.05, 1, s.H, "a")),
        b(random_matrix<Scalar>(s.T, s.groups * s.N, "b")),
        c(random_matrix<Scalar>(s.T, s.groups * s.N, "c")),
        d(random_matrix<Scalar>(1, s.H, "d")) {}

  SsdInputs<Scalar> inputs(Index chunk = 64) const { return inputs(0, x.rows(), chunk); }
  SsdInputs<Scalar> inputs(Index begin, Index rows, Index chunk) const {
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
  Index operations() const { return sizes.N + 2 * sizes.T; }
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
  States(Index sequences, Index heads, Index P, Rows&& rows_of_one, const std::string& name) : B(sequences), H(heads) {
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h)
        all.push_back(random_matrix<Scalar>(rows_of_one(b), P, name + std::to_string(all.size())));
    for (Matrix<Scalar>& state : all) {
      read.push_back(state.data());
      written.push_back(state.data());
    }
  }
  States(Index sequences, Sizes s, const std::string& name)
      : States(
            sequences, s.H, s.P, [&](Index) { return s.N; }, name) {}
  Matrix<Scalar>& at(Index b, Index h) { return all[std::size_t(b * H + h)]; }
  HeadTable<const Scalar*> before() { return {read.data(), B, H}; }
  HeadTable<Scalar*> after() { return {written.data(), B, H}; }
  bool same(const States& other) const {
    return std::equal(all.begin(), all.end(), other.all.begin(), other.all.end(),
                      same_bits<Matrix<Scalar>, Matrix<Scalar>>);
  }
};

template <class Scalar>
States<Scalar> room_to_keep(const Case<Scalar>& at, const Sequences& rows, Index chunk) {
  return States<Scalar>(
      rows.size(), at.sizes.H, at.sizes.P, [&](Index b) { return ssd_kept_states(rows.rows(b), chunk) * at.sizes.N; },
      "kept");
}

template <class Scalar>
Matrix<Scalar> forward(const Case<Scalar>& at, const Sequences& rows, Index chunk, const SsdStates<Scalar>& states = {}) {
  Serial serial;
  Workers workers(serial);
  Matrix<Scalar> y = Matrix<Scalar>::Constant(at.x.rows(), at.x.cols(), Scalar(7));
  ssd(at.inputs(chunk), rows, states, mutable_view_of(y), workers);
  return y;
}

template <class Scalar>
Matrix<Scalar> like(const Matrix<Scalar>& matrix, std::string_view name) {
  return random_matrix<Scalar>(matrix.rows(), matrix.cols(), name);
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
  void set_zero() {
    for (Matrix<Scalar>* matrix : {&x, &dt, &a, &b, &c, &d}) matrix->setZero();
  }
  SsdGradients<Scalar> views() {
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
                           Executor& executor, Gradients<Scalar> d) {
  States<Scalar> kept = room_to_keep(at, rows, chunk);
  forward<Scalar>(at, rows, chunk, {.kept = kept.after()});
  Workers workers(executor);
  Arena scratch;
  ssd_backward(at.inputs(chunk), rows, kept.after(), view_of(d_y), d.views(), scratch, workers);
  return d;
}

template <class Scalar, class Naive, class Exact>
void expect_added(const Matrix<Scalar>& found, const Matrix<Scalar>& start, const Naive& naive, const Exact& exact,
                  Index operations) {
  using W = Wide<Scalar>;
  expect_as_exact_as_naive(found, Matrix<Scalar>(start + naive), Matrix<W>(start.template cast<W>() + exact), operations);
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

TYPED_TEST(Ssd, EqualsTheRecurrenceAndAddsItsGradientForAnyChunk) {
  using Scalar = TypeParam;
  Serial serial;
  for (const Sizes sizes : {Sizes{1, 1, 1, 1}, Sizes{1, 2, 33, 7}, Sizes{7, 3, 5, 4, 2}, Sizes{33, 2, 20, 9},
                            Sizes{70, 4, 7, 16, 2}, Sizes{41, 5, 35, 18, 5}, Sizes{67, 13, 33, 31, 2}}) {
    const Case<Scalar> at(sizes);
    const Sequences rows({sizes.T});
    const Matrix<Scalar> d_y = random_matrix<Scalar>(at.x.rows(), at.x.cols(), "d_y");
    States<Scalar> before(1, sizes, "before");
    const Reference<Scalar, Scalar> naive(at, rows, &before, d_y);
    const Reference<Wide<Scalar>, Scalar> exact(at, rows, &before, d_y);
    for (const Index chunk : {Index(1), Index(2), Index(3), Index(5), Index(8), Index(16), Index(64), sizes.T}) {
      SCOPED_TRACE(testing::Message() << "T " << sizes.T << ", chunk " << chunk);
      States<Scalar> after(1, sizes, "after");
      expect_as_exact_as_naive(forward<Scalar>(at, rows, chunk, {.before = before.before(), .after = after.after()}),
                               naive.y, exact.y, at.operations());
      for (std::size_t h = 0; h < after.all.size(); ++h)
        expect_as_exact_as_naive(after.all[h], naive.after[h], exact.after[h], at.operations());

      const Gradients<Scalar> start(at), d = backward(at, rows, chunk, d_y, serial, start);
      const Index operations = at.operations() + sizes.P + sizes.T;
      expect_added(d.x, start.x, naive.d_x, exact.d_x, operations);
      expect_added(d.dt, start.dt, naive.d_dt, exact.d_dt, operations);
      expect_added(d.a, start.a, naive.d_a, exact.d_a, operations);
      expect_added(d.b, start.b, naive.d_b, exact.d_b, operations);
      expect_added(d.c, start.c, naive.d_c, exact.d_c, operations);
      expect_added(d.d, start.d, naive.d_d, exact.d_d, operations);
    }
  }
}

TYPED_TEST(Ssd, IsMaskedAttentionWithoutSoftmaxForEveryChunk) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const Sizes sizes{37, 1, 8, 8};
  const Case<Scalar> at(sizes);
  const reference::SsdHead<Scalar> head = at.head(0, sizes.T, 0);
  const Matrix<W> exact = reference::ssd_quadratic(head.template as<W>());
  for (Index chunk = 1; chunk <= sizes.T + 1; ++chunk)
    expect_as_exact_as_naive(forward(at, Sequences({sizes.T}), chunk), reference::ssd_quadratic(head), exact,
                             at.operations());
}

TYPED_TEST(Ssd, InCallsWithCarriedStateIsTheWhole) {
  using Scalar = TypeParam;
  const Sizes sizes{29, 2, 9, 5};
  const Case<Scalar> at(sizes);
  const Sequences all({sizes.T});
  const Matrix<Scalar> d_y = random_matrix<Scalar>(at.x.rows(), at.x.cols(), "d_y");
  const Reference<Scalar, Scalar> naive(at, all, nullptr, d_y);
  const Reference<Wide<Scalar>, Scalar> exact(at, all, nullptr, d_y);
  Serial serial;
  Workers workers(serial);
  for (const std::vector<Index>& calls :
       {std::vector<Index>{29}, std::vector<Index>(29, 1), {3, 0, 1, 17, 8}, {0, 28, 1}}) {
    States<Scalar> carried(1, sizes, "after"), next(1, sizes, "next");
    Matrix<Scalar> y(at.x.rows(), at.x.cols());
    Index begin = 0;
    bool first = true, in_place = true;
    for (const Index rows : calls) {
      SsdStates<Scalar> states{.before = carried.before(), .after = in_place ? carried.after() : next.after()};
      if (first) states.before = {};
      ssd(at.inputs(begin, rows, 8), Sequences({rows}), states, rows_of(mutable_view_of(y), begin, rows), workers);
      if (!in_place)
        for (std::size_t h = 0; h < carried.all.size(); ++h) carried.all[h] = next.all[h];
      begin += rows;
      first = false;
      in_place = !in_place;
    }
    expect_as_exact_as_naive(y, naive.y, exact.y, at.operations());
    for (std::size_t h = 0; h < carried.all.size(); ++h)
      expect_as_exact_as_naive(carried.all[h], naive.after[h], exact.after[h], at.operations());
  }
}

TYPED_TEST(Ssd, PackedRaggedSequencesAreThoseSequencesOneByOne) {
  using Scalar = TypeParam;
  const Sequences rows({5, 0, 1, 19});
  const Sizes sizes{rows.rows(), 3, 6, 5, 2};
  const Index chunk = 8, H = sizes.H;
  const Case<Scalar> at(sizes);
  const Matrix<Scalar> d_y = random_matrix<Scalar>(at.x.rows(), at.x.cols(), "d_y");
  States<Scalar> before(rows.size(), sizes, "before"), after(rows.size(), sizes, "after");
  const Matrix<Scalar> y = forward<Scalar>(at, rows, chunk, {.before = before.before(), .after = after.after()});
  Serial serial;
  Gradients<Scalar> start(at);
  start.set_zero();
  const Gradients<Scalar> d = backward(at, rows, chunk, d_y, serial, start);
  EXPECT_TRUE(same_bits(after.at(1, 0), before.at(1, 0))) << "no rows leave the state";
  for (Index b = 0; b < rows.size(); ++b) {
    const Index begin = rows.begin(b), n = rows.rows(b);
    Case<Scalar> alone = at;
    alone.sizes.T = n;
    for (Matrix<Scalar>* matrix : {&alone.x, &alone.dt, &alone.b, &alone.c}) *matrix = matrix->middleRows(begin, n).eval();
    States<Scalar> alone_before(1, sizes, "before"), alone_after(1, sizes, "alone");
    for (Index h = 0; h < H; ++h) alone_before.at(0, h) = before.at(b, h);
    const Matrix<Scalar> y_b =
        forward<Scalar>(alone, Sequences({n}), chunk, {.before = alone_before.before(), .after = alone_after.after()});
    EXPECT_TRUE(same_bits(y.middleRows(begin, n), y_b));
    for (Index h = 0; h < H; ++h) EXPECT_TRUE(same_bits(after.at(b, h), alone_after.at(0, h)));
    Gradients<Scalar> alone_start(alone);
    alone_start.set_zero();
    const Gradients<Scalar> d_b =
        backward<Scalar>(alone, Sequences({n}), chunk, d_y.middleRows(begin, n), serial, alone_start);
    EXPECT_TRUE(same_bits(d.x.middleRows(begin, n), d_b.x));
    EXPECT_TRUE(same_bits(d.dt.middleRows(begin, n), d_b.dt));
    EXPECT_TRUE(same_bits(d.b.middleRows(begin, n), d_b.b));
    EXPECT_TRUE(same_bits(d.c.middleRows(begin, n), d_b.c));
  }
}

TYPED_TEST(Ssd, HasTheSameBitsInAnyOrderOfJobs) {
  using Scalar = TypeParam;
  const Sequences rows({70, 0, 1, 9});
  const Sizes sizes{rows.rows(), 13, 6, 5, 2};
  const Index chunk = 8;
  const Case<Scalar> at(sizes);
  const Matrix<Scalar> d_y = random_matrix<Scalar>(at.x.rows(), at.x.cols(), "d_y");
  Serial serial;
  reference::Backwards backwards(3);
  Workers workers(backwards);
  States<Scalar> after(rows.size(), sizes, "after"), expected(rows.size(), sizes, "expected");
  Matrix<Scalar> y(at.x.rows(), at.x.cols());
  ssd(at.inputs(chunk), rows, SsdStates<Scalar>{.after = after.after()}, mutable_view_of(y), workers);
  EXPECT_TRUE(same_bits(y, forward<Scalar>(at, rows, chunk, {.after = expected.after()})));
  EXPECT_TRUE(after.same(expected));

  const Gradients<Scalar> start(at);
  EXPECT_TRUE(backward(at, rows, chunk, d_y, backwards, start).same(backward(at, rows, chunk, d_y, serial, start)));
}

TYPED_TEST(Ssd, StaysFiniteAndExactWhereTheDecayIsExtreme) {
  using Scalar = TypeParam;
  const Sizes sizes{20, 2, 5, 4};
  Serial serial;
  Case<Scalar> at(sizes);
  at.a.setConstant(Scalar(-1e7));  // so that sums of dt a reach -1e7, beside which differences of 0.1 are lost
  for (Index t = 0; t < sizes.T; ++t)
    for (Index h = 0; h < sizes.H; ++h)
      at.dt(t, h) = Scalar(t % 7 == 3 ? 1 : t % 3 == 0 ? 0 : 1e-8);  // forget, keep, decay
  const Sequences rows({sizes.T});
  const Matrix<Scalar> d_y = random_matrix<Scalar>(at.x.rows(), at.x.cols(), "d_y");
  const Reference<Scalar, Scalar> naive(at, rows, nullptr, d_y);
  const Reference<Wide<Scalar>, Scalar> exact(at, rows, nullptr, d_y);
  for (const Index chunk : {1, 4, 64}) {
    expect_as_exact_as_naive(forward(at, rows, chunk), naive.y, exact.y, at.operations());
    Gradients<Scalar> d(at);
    d.set_zero();
    d = backward(at, rows, chunk, d_y, serial, d);
    expect_as_exact_as_naive(d.x, naive.d_x, exact.d_x, at.operations());
    expect_as_exact_as_naive(d.dt, naive.d_dt, exact.d_dt, at.operations());
    expect_as_exact_as_naive(d.a, naive.d_a, exact.d_a, at.operations());
  }
}

TYPED_TEST(Ssd, ARowThatIsNotANumberDoesNotReachTheRowsBeforeIt) {
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
      EXPECT_TRUE(same_bits(y.topRows(bad), clean.topRows(bad))) << "chunk " << chunk << ", row " << bad;
      EXPECT_TRUE(y.row(bad).array().isNaN().all());
    }
}

TYPED_TEST(Ssd, OfNoHeadsNoRowsOrNoColumnsChangesNothing) {
  using Scalar = TypeParam;
  Serial serial;
  for (const Sizes sizes : {Sizes{3, 0, 4, 5}, Sizes{0, 2, 4, 5}, Sizes{3, 2, 0, 5}}) {
    const Case<Scalar> at(sizes);
    const Sequences rows({sizes.T, 0});
    EXPECT_EQ(forward(at, rows, 4).size(), 0);
    const Gradients<Scalar> start(at);
    EXPECT_TRUE(backward<Scalar>(at, rows, 2, Matrix<Scalar>(at.x.rows(), at.x.cols()), serial, start).same(start));
  }
}

TEST(SsdGradient, AgreesWithCentralDifferencesForEveryInput) {
  const Sequences rows({7, 0, 1, 3});
  const Sizes sizes{rows.rows(), 3, 2, 3, 2};
  Serial serial;
  for (const Index chunk : {1, 3, 64}) {
    Case<double> at(sizes);
    const Matrix<double> d_y = random_matrix<double>(at.x.rows(), at.x.cols(), "d_y");
    Gradients<double> d(at);
    d.set_zero();
    d = backward(at, rows, chunk, d_y, serial, d);
    const auto f = [&] { return reference::dot(forward(at, rows, chunk), d_y); };
    expect_gradient(at.x, d.x, at.operations(), f);
    expect_gradient(at.dt, d.dt, at.operations(), f);
    expect_gradient(at.a, d.a, at.operations(), f);
    expect_gradient(at.b, d.b, at.operations(), f);
    expect_gradient(at.c, d.c, at.operations(), f);
    expect_gradient(at.d, d.d, at.operations(), f);
  }
}

TEST(Ssd, TakesADOfEveryColumn) {
  const Sequences rows({7, 0, 1, 3});
  const Sizes sizes{rows.rows(), 3, 5, 3};
  Serial serial;
  Case<double> at(sizes);
  const Matrix<double> by_head = forward(at, rows, 3);
  Case<double> same = at;
  same.d.resize(1, sizes.H * sizes.P);
  for (Index i = 0; i < same.d.size(); ++i) same.d(0, i) = at.d(0, i / sizes.P);
  for (const Index chunk : {1, 3, 64}) {
    EXPECT_TRUE(same_bits(forward(same, rows, 3), by_head)) << "the same for all columns of a head";
    Case<double> own = same;
    own.d = random_matrix<double>(1, sizes.H * sizes.P, "d");
    const Matrix<double> d_y = random_matrix<double>(at.x.rows(), at.x.cols(), "d_y");
    Gradients<double> d(own);
    d.set_zero();
    d = backward(own, rows, chunk, d_y, serial, d);
    const auto f = [&] { return reference::dot(forward(own, rows, chunk), d_y); };
    expect_gradient(own.x, d.x, own.operations(), f);
    expect_gradient(own.d, d.d, own.operations(), f);
  }
}

TEST(Ssd, TakesNoMoreThanItSays) {
  Serial serial;
  const Sizes sizes{70, 2, 9, 5};
  const Case<float> at(sizes);
  const Sequences rows({33, 0, 1, 36});
  const Matrix<float> d_y = random_matrix<float>(at.x.rows(), at.x.cols(), "d_y");
  for (const Index chunk : {1, 8, 30, 64}) {
    Workers workers(&serial, ssd_job_bytes<float>(36, chunk, sizes.P, sizes.N));
    Matrix<float> y(at.x.rows(), at.x.cols());
    States<float> kept = room_to_keep(at, rows, chunk);
    ssd(at.inputs(chunk), rows, SsdStates<float>{.kept = kept.after()}, mutable_view_of(y), workers);
    Gradients<float> d(at);
    d.set_zero();
    Arena scratch;
    ssd_backward(at.inputs(chunk), rows, kept.after(), view_of(d_y), d.views(), scratch, workers);
    EXPECT_EQ(workers.blocks(), 1u) << "chunk " << chunk;
  }
}

}  // namespace
}  // namespace heed
