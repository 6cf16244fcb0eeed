// The oracle that attention is held to has a backward, written by hand: here it is held to its own forward.
#include "attention.hpp"

#include <gtest/gtest.h>

#include "autodiff.hpp"

namespace heed::reference {
namespace {

using ::reference::Logits;
using ::reference::Rows;

struct Options {
  bool soft_cap, slope, bias, sink;
};

Rows<double> rows(const Matrix<double>& x) {
  Rows<double> of(x.rows(), x.cols());
  for (Index i = 0; i < x.rows(); ++i)
    for (Index j = 0; j < x.cols(); ++j) of(i, j) = x(i, j);
  return of;
}
template <class Next>
Rows<Dual> rows_of(Index r, Index c, Next&& next) {
  Rows<Dual> of(r, c);
  for (Dual& x : of.data) x = next();
  return of;
}

void expect_backward_is_the_gradient(const Options& options, ::reference::Sight sees, Index T, Index S) {
  constexpr Index E = 3, E_v = 2;
  const double infinity = std::numeric_limits<double>::infinity();
  Inputs inputs;
  const Rows<double> q = rows(inputs.draw(T, E)), k = rows(inputs.draw(S, E)), v = rows(inputs.draw(S, E_v));
  const auto describe = [&](auto& logits) {
    logits.sees = sees;
    logits.offset = S - T;
    logits.scale = 0.7;
    if (options.soft_cap) logits.soft_cap = 1.5;
    if (options.slope) logits.slope = 0.25;
  };
  Logits<double> logits;
  describe(logits);
  if (options.bias) logits.bias = rows(inputs.draw(T, S));
  if (options.sink) logits.sink = inputs.draw();
  const auto hidden_by_bias = [&](auto& bias) {
    for (Index j = 0; options.bias && j < S; j += 2) bias(T - 1, j) = -infinity;
  };
  hidden_by_bias(logits.bias);

  Inputs others;
  const Rows<double> d_o = rows(others.draw(T, E_v)), echo = rows(others.draw(T, S));
  const auto forward = ::reference::attention(q, k, v, logits);
  const auto d = ::reference::attention_backward(q, k, v, logits, forward, d_o, echo);

  const auto exact = inputs.gradient_of([&](auto&& next) {
    const Rows<Dual> q_dual = rows_of(T, E, next), k_dual = rows_of(S, E, next), v_dual = rows_of(S, E_v, next);
    Logits<Dual> of;
    describe(of);
    if (options.bias) of.bias = rows_of(T, S, next);
    if (options.sink) of.sink = next();
    hidden_by_bias(of.bias);
    const auto out = ::reference::attention(q_dual, k_dual, v_dual, of);
    Dual loss = 0;
    for (Index i = 0; i < T; ++i) {
      for (Index e = 0; e < E_v; ++e) loss += out.o(i, e) * d_o(i, e);
      for (Index j = 0; j < S; ++j) loss += out.a(i, j) * echo(i, j);
    }
    return loss;
  });
  std::vector<double> found;
  for (const Rows<double>* part : {&d.q, &d.k, &d.v}) found.insert(found.end(), part->data.begin(), part->data.end());
  if (options.bias) found.insert(found.end(), d.bias.data.begin(), d.bias.data.end());
  if (options.sink) found.push_back(d.sink);
  expect_same_gradient(found, exact, T * S * (E + E_v));
}

TEST(ReferenceAttention, BackwardIsTheGradientOfForward) {
  const auto causal = [](Index p, Index j) { return j <= p; };
  const auto all = [](Index, Index) { return true; };
  const auto sinks = [](Index p, Index j) { return j <= p && (j < 1 || j > p - 2); };
  for (const Options& options :
       {Options{false, false, false, false}, Options{true, false, false, false}, Options{false, true, false, false},
        Options{false, false, true, false}, Options{false, false, false, true}, Options{true, true, true, true}}) {
    expect_backward_is_the_gradient(options, causal, 4, 5);
    expect_backward_is_the_gradient(options, causal, 5, 3);  // the first rows see nothing
    expect_backward_is_the_gradient(options, all, 3, 4);
    expect_backward_is_the_gradient(options, sinks, 5, 5);
  }
}

}  // namespace
}  // namespace heed::reference
