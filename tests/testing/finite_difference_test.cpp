#include "heed/testing/finite_difference.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace heed::testing {
namespace {

struct Function {
  const char* name;
  double (*f)(double);
  double (*slope)(double);
};

const Function functions[] = {
    {"constant", [](double) { return 3.0; }, [](double) { return 0.0; }},
    {"line", [](double p) { return 3 * p - 1; }, [](double) { return 3.0; }},
    {"square", [](double p) { return p * p; }, [](double p) { return 2 * p; }},
    {"fifth power", [](double p) { return std::pow(p, 5); }, [](double p) { return 5 * std::pow(p, 4); }},
    {"exponential", [](double p) { return std::exp(p); }, [](double p) { return std::exp(p); }},
    {"sine", [](double p) { return std::sin(5 * p); }, [](double p) { return 5 * std::cos(5 * p); }},
    {"logistic", [](double p) { return 1 / (1 + std::exp(-p)); },
     [](double p) {
       const double s = 1 / (1 + std::exp(-p));
       return s * (1 - s);
     }},
};
const double places[] = {-30, -1, -1e-3, 0, 1e-9, 0.4, 2, 25};

Difference difference_of(const Function& function, double& p) {
  return central_difference(p, 1, [&] {
    const double value = function.f(p);
    return Loss{value, std::abs(value)};
  });
}

TEST(CentralDifference, StaysWithinItsBound) {
  for (const Function& function : functions)
    for (double p : places) {
      const Difference difference = difference_of(function, p);
      EXPECT_LE(std::abs(difference.value - function.slope(p)), difference.bound) << function.name << " at " << p;
    }
}

// h^2 f''' / 2 for the truncation, 4 eps m / h for the rounding; m within one step is at most e^(5 h) < 2 times the one
// here.
TEST(CentralDifference, HasABoundOfTheSizeOfTheStepSquared) {
  const double eps = std::numeric_limits<double>::epsilon();
  for (double p : places) {
    const double h = std::cbrt(eps) * (std::max)(1.0, std::abs(p));
    const Difference sine = difference_of(functions[5], p);
    const double third = 125;  // of sin 5p
    EXPECT_LE(sine.bound, 2 * (h * h * third / 2 + 4 * eps / h) + 4 * eps / h) << p;
  }
}

TEST(CentralDifference, CatchesAGradientThatIsWrongByAThousandth) {
  for (const Function& function : functions)
    for (double p : {-1.0, 0.4, 2.0}) {
      const double wrong = 1.001 * function.slope(p);
      if (wrong == 0) continue;
      const Difference difference = difference_of(function, p);
      EXPECT_GT(std::abs(difference.value - wrong), difference.bound) << function.name << " at " << p;
    }
}

TEST(CentralDifference, CatchesAForgottenTerm) {
  double p = 0.7;
  const auto f = [&] {
    const double a = p * p;
    const double b = 1e-3 * p;
    return Loss{a + b, std::abs(a) + std::abs(b)};
  };
  const Difference difference = central_difference(p, 2, f);
  EXPECT_LE(std::abs(difference.value - (2 * p + 1e-3)), difference.bound);
  EXPECT_GT(std::abs(difference.value - 2 * p), difference.bound);
}

TEST(CentralDifference, LeavesTheParameterAsItWas) {
  for (const double place : places) {
    double p = place;
    static_cast<void>(difference_of(functions[2], p));
    EXPECT_EQ(p, place);
  }
}

TEST(CentralDifference, GrowsItsBoundWithTheMagnitudeOfTheTerms) {
  double p = 1;
  const auto bound = [&](double magnitude) { return central_difference(p, 10, [&] { return Loss{p, magnitude}; }).bound; };
  EXPECT_GT(bound(1e6), 1e5 * bound(1));
}

TEST(DotLoss, SumsProductsAndTheirMagnitudes) {
  const Matrix<double> y = (Matrix<double>(2, 2) << 1, -2, 3, 4).finished();
  const Matrix<double> d_y = (Matrix<double>(2, 2) << 5, 6, -7, 0).finished();
  const Loss loss = dot_loss(view_of(y), view_of(d_y));
  EXPECT_EQ(loss.value, 5 - 12 - 21);
  EXPECT_EQ(loss.magnitude, 5 + 12 + 21);
}

}  // namespace
}  // namespace heed::testing
