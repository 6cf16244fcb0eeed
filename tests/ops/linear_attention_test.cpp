#include "heed/ops/linear_attention.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/linear_attention.hpp"
#include "heed/ops/ssd.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

enum class Decay { none, by_head, by_key };
enum class Rule { plain, delta };

struct Kind {
  Decay decay;
  Rule rule;
};
const Kind kinds[] = {{Decay::none, Rule::plain}, {Decay::by_head, Rule::plain}, {Decay::by_key, Rule::plain},
                      {Decay::none, Rule::delta}, {Decay::by_head, Rule::delta}, {Decay::by_key, Rule::delta}};

struct Sizes {
  Index T, H, G, N, P;
};

template <class Scalar>
struct Case {
  Sizes sizes;
  Matrix<Scalar> q, k, v, g, beta;
  double scale = 0.7;

  Case(Sizes s, Kind kind)
      : sizes(s),
        q(random_matrix<Scalar>(s.T, s.H * s.N, "q")),
        k(random_matrix<Scalar>(s.T, s.G * s.N, "k", 0.5)),
        v(random_matrix<Scalar>(s.T, s.G * s.P, "v")),
        g(s.T, kind.decay == Decay::none      ? 0
               : kind.decay == Decay::by_head ? s.G
                                              : s.G * s.N),
        beta(s.T, kind.rule == Rule::plain ? 0 : s.G) {
    Random(7, "g").uniform(g, -2, 0);
    Random(7, "beta").uniform(beta, 0.1, 0.9);
  }
  LinearAttentionInputs<Scalar> inputs(Index chunk = 32) const { return inputs(0, q.rows(), chunk); }
  LinearAttentionInputs<Scalar> inputs(Index begin, Index rows, Index chunk) const {
    return {.q = rows_of(view_of(q), begin, rows),
            .k = rows_of(view_of(k), begin, rows),
            .v = rows_of(view_of(v), begin, rows),
            .g = rows_of(view_of(g), begin, rows),
            .beta = rows_of(view_of(beta), begin, rows),
            .heads = sizes.H,
            .kv_heads = sizes.G,
            .scale = scale,
            .chunk = chunk};
  }
  reference::LinearAttentionHead<Scalar> head(Index begin, Index rows, Index h) const {
    const Index N = sizes.N, P = sizes.P, kv = h * sizes.G / sizes.H, by = g.cols() / sizes.G;
    return {q.block(begin, h * N, rows, N),
            k.block(begin, kv * N, rows, N),
            v.block(begin, kv * P, rows, P),
            g.block(begin, kv * by, rows, by),
            beta.block(begin, beta.cols() > 0 ? kv : 0, rows, beta.cols() > 0 ? 1 : 0),
            Scalar(scale)};
  }
  Index operations() const { return 3 * sizes.N + 4 * sizes.T; }
};

// By (sequence, kv head) a matrix, and a table of them.
template <class Scalar>
struct States {
  std::vector<Matrix<Scalar>> all;
  std::vector<const Scalar*> read;
  std::vector<Scalar*> written;
  Index B, G;

  template <class Rows>
  States(Index sequences, Sizes s, Rows&& rows_of_one, const std::string& name) : B(sequences), G(s.G) {
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < G; ++h)
        all.push_back(random_matrix<Scalar>(rows_of_one(b), s.P, name + std::to_string(all.size())));
    for (Matrix<Scalar>& state : all) {
      read.push_back(state.data());
      written.push_back(state.data());
    }
  }
  States(Index sequences, Sizes s, const std::string& name)
      : States(
            sequences, s, [&](Index) { return s.N; }, name) {}
  HeadTable<const Scalar*> before() { return {read.data(), B, G}; }
  HeadTable<Scalar*> after() { return {written.data(), B, G}; }
};

template <class Scalar>
Matrix<Scalar> forward(const Case<Scalar>& at, const Sequences& rows, Index chunk,
                       const LinearAttentionStates<Scalar>& states = {}, Executor* executor = nullptr) {
  Workers workers(executor);
  Matrix<Scalar> y = Matrix<Scalar>::Constant(at.q.rows(), at.sizes.H * at.sizes.P, Scalar(7));
  linear_attention(at.inputs(chunk), rows, states, mutable_view_of(y), workers);
  return y;
}

template <class Scalar>
struct Gradients {
  Matrix<Scalar> q, k, v, g, beta;

  explicit Gradients(const Case<Scalar>& at)
      : q(random_matrix<Scalar>(at.q.rows(), at.q.cols(), "d_q")),
        k(random_matrix<Scalar>(at.k.rows(), at.k.cols(), "d_k")),
        v(random_matrix<Scalar>(at.v.rows(), at.v.cols(), "d_v")),
        g(random_matrix<Scalar>(at.g.rows(), at.g.cols(), "d_g")),
        beta(random_matrix<Scalar>(at.beta.rows(), at.beta.cols(), "d_beta")) {}
  LinearAttentionGradients<Scalar> views() {
    return {mutable_view_of(q), mutable_view_of(k), mutable_view_of(v), mutable_view_of(g), mutable_view_of(beta)};
  }
  bool same(const Gradients& o) const {
    return same_bits(q, o.q) && same_bits(k, o.k) && same_bits(v, o.v) && same_bits(g, o.g) && same_bits(beta, o.beta);
  }
};

// Adds to what is there already.
template <class Scalar>
Gradients<Scalar> backward(const Case<Scalar>& at, const Sequences& rows, Index chunk, const Matrix<Scalar>& d_y,
                           Executor* executor = nullptr) {
  States<Scalar> kept(
      rows.size(), at.sizes, [&](Index b) { return linear_attention_kept_states(rows.rows(b), chunk) * at.sizes.N; },
      "kept");
  forward<Scalar>(at, rows, chunk, {.kept = kept.after()});
  Workers workers(executor);
  Gradients<Scalar> d(at);
  linear_attention_backward(at.inputs(chunk), rows, kept.after(), view_of(d_y), d.views(), workers);
  return d;
}

template <class Scalar>
class LinearAttention : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LinearAttention, Scalars);

TYPED_TEST(LinearAttention, EqualsItsStepsForEveryRuleAndDecay) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  for (const Kind kind : kinds)
    for (const Sizes sizes : {Sizes{1, 1, 1, 1, 1}, Sizes{9, 4, 2, 3, 5}, Sizes{17, 3, 3, 8, 4}, Sizes{5, 6, 1, 7, 33}}) {
      const Case<Scalar> at(sizes, kind);
      States<Scalar> before(1, sizes, "before"), after(1, sizes, "after");
      const Matrix<Scalar> y =
          forward<Scalar>(at, Sequences({sizes.T}), 4, {.before = before.before(), .after = after.after()});
      for (Index h = 0; h < sizes.H; ++h) {
        const std::size_t kv = std::size_t(h * sizes.G / sizes.H);
        const auto head = at.head(0, sizes.T, h);
        const auto naive = reference::linear_attention<Scalar>(head, before.all[kv]);
        const auto exact = reference::linear_attention<W>(head.template as<W>(), before.all[kv].template cast<W>());
        expect_as_exact_as_naive(Matrix<Scalar>(y.middleCols(h * sizes.P, sizes.P)), naive.y, exact.y, at.operations());
        expect_as_exact_as_naive(after.all[kv], naive.state, exact.state, at.operations());
      }
    }
}

// Around the edges of the columns that are walked at once, and of the rows that are formed at once.
TYPED_TEST(LinearAttention, EqualsItsStepsForEveryWidthOfValuesAndNumberOfRows) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const auto expect_steps = [](Sizes sizes, Kind kind) {
    const Case<Scalar> at(sizes, kind);
    const Matrix<Scalar> y = forward<Scalar>(at, Sequences({sizes.T}), 5), zero = Matrix<Scalar>::Zero(sizes.N, sizes.P);
    for (Index h = 0; h < sizes.H; ++h) {
      const auto head = at.head(0, sizes.T, h);
      expect_as_exact_as_naive(
          Matrix<Scalar>(y.middleCols(h * sizes.P, sizes.P)), reference::linear_attention<Scalar>(head, zero).y,
          reference::linear_attention<W>(head.template as<W>(), zero.template cast<W>()).y, at.operations());
    }
  };
  for (const Kind kind : {Kind{Decay::by_key, Rule::plain}, Kind{Decay::by_key, Rule::delta}}) {
    for (const Index P : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 67, 96, 113, 131})
      expect_steps({9, 3, 1, 5, P}, kind);
    for (const Index T : {1, 7, 8, 9, 16, 31}) expect_steps({T, 2, 2, 5, 19}, kind);
  }
}

TYPED_TEST(LinearAttention, InCallsWithCarriedStateHasTheBitsOfTheWhole) {
  using Scalar = TypeParam;
  const Sizes sizes{23, 4, 2, 5, 9};
  for (const Kind kind : kinds) {
    const Case<Scalar> at(sizes, kind);
    States<Scalar> whole_after(1, sizes, "whole");
    const Matrix<Scalar> whole = forward<Scalar>(at, Sequences({sizes.T}), 8, {.after = whole_after.after()});
    Workers workers;
    for (const std::vector<Index>& calls : {std::vector<Index>(23, 1), {3, 0, 1, 19}, {0, 22, 1}}) {
      States<Scalar> carried(1, sizes, "carried"), next(1, sizes, "next");
      Matrix<Scalar> y(sizes.T, sizes.H * sizes.P);
      Index begin = 0;
      bool in_place = true;
      for (const Index rows : calls) {
        LinearAttentionStates<Scalar> states{.before = carried.before(),
                                             .after = in_place ? carried.after() : next.after()};
        if (begin == 0) states.before = {};
        linear_attention(at.inputs(begin, rows, 8), Sequences({rows}), states, rows_of(mutable_view_of(y), begin, rows),
                         workers);
        if (!in_place)
          for (std::size_t i = 0; i < carried.all.size(); ++i) carried.all[i] = next.all[i];
        begin += rows;
        in_place = !in_place;
      }
      EXPECT_TRUE(same_bits(y, whole));
      for (std::size_t i = 0; i < carried.all.size(); ++i) EXPECT_TRUE(same_bits(carried.all[i], whole_after.all[i]));
    }
  }
}

TYPED_TEST(LinearAttention, HasTheSameBitsInAnyOrderOfJobsAndForAnyChunk) {
  using Scalar = TypeParam;
  const Sequences rows({11, 0, 1, 6});
  const Sizes sizes{rows.rows(), 4, 2, 3, 5};
  for (const Kind kind : kinds) {
    const Case<Scalar> at(sizes, kind);
    const Matrix<Scalar> d_y = random_matrix<Scalar>(sizes.T, sizes.H * sizes.P, "d_y");
    reference::Backwards backwards(3);
    EXPECT_TRUE(same_bits(forward<Scalar>(at, rows, 4), forward<Scalar>(at, rows, 4, {}, &backwards)));
    const auto d = backward(at, rows, 4, d_y);
    EXPECT_TRUE(d.same(backward(at, rows, 4, d_y, &backwards)));
    for (const Index chunk : {1, 2, 3, 64}) EXPECT_TRUE(d.same(backward(at, rows, chunk, d_y)));
  }
}

TYPED_TEST(LinearAttention, OfTheSameDecaysIsTheRecurrenceOfMamba2) {
  using Scalar = TypeParam;
  using W = Wide<Scalar>;
  const Sizes sizes{21, 4, 4, 6, 5};
  const Index T = sizes.T, H = sizes.H, P = sizes.P;
  const Case<Scalar> at(sizes, {Decay::by_head, Rule::plain});
  const auto in_scalar = [&]<class S>(S) {
    Matrix<S> x(T, H * P), dt(T, H), a(1, H), d = Matrix<S>::Zero(1, H), values(T, H * P), g(T, H), y(T, H * P);
    Random(3, "x").normal(x, 1), Random(3, "dt").uniform(dt, 0.01, 1), Random(3, "a").uniform(a, -2, -0.1);
    const Matrix<S> b = at.k.template cast<S>(), c = at.q.template cast<S>();  // a group for each head
    Workers workers;
    const SsdInputs<S> inputs{view_of(x), view_of(dt), view_of(a), view_of(b), view_of(c), view_of(d), H, 8};
    ssd(inputs, Sequences({T}), SsdStates<S>{}, mutable_view_of(y), workers);

    for (Index h = 0; h < H; ++h)
      for (Index t = 0; t < T; ++t) {
        g(t, h) = dt(t, h) * a(0, h);
        for (Index p = 0; p < P; ++p) values(t, h * P + p) = dt(t, h) * x(t, h * P + p);
      }
    Matrix<S> same(T, H * P);
    linear_attention(
        LinearAttentionInputs<S>{
            .q = view_of(c), .k = view_of(b), .v = view_of(values), .g = view_of(g), .heads = H, .kv_heads = H},
        Sequences({T}), LinearAttentionStates<S>{}, mutable_view_of(same), workers);
    return std::pair{y, same};
  };
  const auto [y, same] = in_scalar(Scalar());
  if constexpr (std::is_same_v<Scalar, float>) {
    const Matrix<W> exact = in_scalar(W()).second;
    expect_as_exact_as_naive(y, same, exact, at.operations());
    expect_as_exact_as_naive(same, y, exact, at.operations());
  } else {
    expect_as_exact_as_naive(y, same, same, at.operations());
  }
}

TEST(LinearAttention, AddsTheGradientOfEveryInput) {
  const Sequences rows({7, 0, 1, 3});
  for (const Kind kind : kinds) {
    Case<double> at({rows.rows(), 4, 2, 3, 2}, kind);
    const Matrix<double> d_y = random_matrix<double>(at.q.rows(), at.sizes.H * at.sizes.P, "d_y");
    const Gradients<double> start(at), d = backward(at, rows, 3, d_y);
    const auto f = [&] { return reference::dot(forward(at, rows, 3), d_y); };
    expect_gradient(at.q, d.q - start.q, at.operations(), f);
    expect_gradient(at.k, d.k - start.k, at.operations(), f);
    expect_gradient(at.v, d.v - start.v, at.operations(), f);
    expect_gradient(at.g, d.g - start.g, at.operations(), f);
    expect_gradient(at.beta, d.beta - start.beta, at.operations(), f);
  }
}

}  // namespace
}  // namespace heed
