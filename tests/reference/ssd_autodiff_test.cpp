#include <gtest/gtest.h>

#include "autodiff.hpp"
#include "ssd.hpp"

namespace heed::reference {
namespace {

TEST(ReferenceSsd, BackwardIsTheGradientOfForward) {
  constexpr Index T = 4, P = 3, N = 2;
  Inputs inputs, others;
  SsdHead<double> in;
  in.x = inputs.draw(T, P), in.dt = inputs.draw(T, 1), in.b = inputs.draw(T, N), in.c = inputs.draw(T, N);
  in.a = inputs.draw(), in.d = inputs.draw();
  const Matrix<double> d_y = others.draw(T, P);
  const auto d = ssd_backward(in, d_y);
  const auto exact = inputs.gradient_of([&](auto&& next) {
    SsdHead<Dual> dual;
    dual.x = take(T, P, next), dual.dt = take(T, 1, next), dual.b = take(T, N, next), dual.c = take(T, N, next);
    dual.a = next(), dual.d = next();
    Matrix<Dual> state(N, P);
    for (Index i = 0; i < state.size(); ++i) state.data()[i] = 0;
    const Matrix<Dual> y = ssd_recurrent(dual, state).y;
    Dual loss = 0;
    for (Index i = 0; i < y.size(); ++i) loss += y.data()[i] * d_y.data()[i];
    return loss;
  });
  std::vector<double> found;
  for (const Matrix<double>* part : {&d.x, &d.dt, &d.b, &d.c})
    found.insert(found.end(), part->data(), part->data() + part->size());
  found.push_back(d.a);
  found.push_back(d.d);
  expect_same_gradient(found, exact, T * T * N * P);
}

}  // namespace
}  // namespace heed::reference
