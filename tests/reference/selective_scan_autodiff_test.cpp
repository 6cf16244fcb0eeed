#include "selective_scan.hpp"

#include <gtest/gtest.h>

#include "autodiff.hpp"

namespace heed::reference {
namespace {

TEST(ReferenceSelectiveScan, BackwardIsTheGradientOfForward) {
  constexpr Index T = 3, C = 4, N = 2, groups = 2;
  Inputs inputs, others;
  SelectiveScan<double> in;
  in.x = inputs.draw(T, C), in.dt = inputs.draw(T, C), in.a = inputs.draw(N, C);
  in.b = inputs.draw(T, groups * N), in.c = inputs.draw(T, groups * N), in.d = inputs.draw(1, C);
  in.groups = groups;
  const Matrix<double> d_y = others.draw(T, C);
  const SelectiveScan<double> d = selective_scan_backward(in, d_y);
  const auto exact = inputs.gradient_of([&](auto&& next) {
    SelectiveScan<Dual> dual;
    dual.x = take(T, C, next), dual.dt = take(T, C, next), dual.a = take(N, C, next);
    dual.b = take(T, groups * N, next), dual.c = take(T, groups * N, next), dual.d = take(1, C, next);
    dual.groups = groups;
    Matrix<Dual> state(N, C);
    for (Index i = 0; i < state.size(); ++i) state.data()[i] = 0;
    const Matrix<Dual> y = selective_scan(dual, state).y;
    Dual loss = 0;
    for (Index i = 0; i < y.size(); ++i) loss += y.data()[i] * d_y.data()[i];
    return loss;
  });
  std::vector<double> found;
  for (const Matrix<double>* part : {&d.x, &d.dt, &d.a, &d.b, &d.c, &d.d})
    found.insert(found.end(), part->data(), part->data() + part->size());
  expect_same_gradient(found, exact, T * T * C * N);
}

}  // namespace
}  // namespace heed::reference
