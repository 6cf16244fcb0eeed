// Derivatives without a derivation: the loops of an oracle's forward run in numbers that carry their gradient.
//
//   (x, x') + (y, y') = (x + y, x' + y')      (x, x') (y, y') = (x y, x' y + x y')      exp (x, x') = (e^x, e^x x') ...
#pragma once

#include <gtest/gtest.h>

#include <heed/core/matrix.hpp>
#include <heed/core/random.hpp>
#include <limits>
#include <string>
#include <unsupported/Eigen/AutoDiff>
#include <vector>

namespace heed::reference {

/// The inputs that a gradient has room for. Its size is fixed: then a constant has a gradient too, which is zero.
inline constexpr int most_inputs = 80;
using Dual = Eigen::AutoDiffScalar<Eigen::Matrix<double, most_inputs, 1>>;

/// The inputs of a function, listed one after another, as numbers that know their place in the list.
class Inputs {
 public:
  /// N(0, 1), [rows x cols].
  Matrix<double> draw(Index rows, Index cols) {
    Matrix<double> x(rows, cols);
    Random(11, std::to_string(values_.size())).normal(x, 1);
    for (Index i = 0; i < x.size(); ++i) values_.push_back(x.data()[i]);
    return x;
  }
  double draw() { return draw(1, 1)(0, 0); }

  /// f(next) of dual numbers, where next() hands out the inputs in order; its gradient.
  template <class F>
  std::vector<double> gradient_of(F&& f) const {
    const std::size_t n = values_.size();
    EXPECT_LE(n, std::size_t(most_inputs));
    int at = 0;
    const Dual result = f([&] {
      const double value = values_[static_cast<std::size_t>(at)];
      return Dual(value, most_inputs, at++);
    });
    return {result.derivatives().data(), result.derivatives().data() + n};
  }

 private:
  std::vector<double> values_;
};

template <class Next>
Matrix<Dual> take(Index rows, Index cols, Next&& next) {
  Matrix<Dual> x(rows, cols);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = next();
  return x;
}

/// Both are exact but for rounding: `terms` numbers of the gradients' size are added to each.
inline void expect_same_gradient(const std::vector<double>& found, const std::vector<double>& exact, Index terms) {
  ASSERT_EQ(found.size(), exact.size());
  double largest = 0;
  for (const double d : exact) largest = (std::max)(largest, std::abs(d));
  EXPECT_GT(largest, 0);
  for (std::size_t i = 0; i < exact.size(); ++i)
    EXPECT_LE(std::abs(found[i] - exact[i]), std::numeric_limits<double>::epsilon() * static_cast<double>(terms) * largest)
        << i;
}

}  // namespace heed::reference
