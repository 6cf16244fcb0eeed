#include "case.hpp"

#include <gtest/gtest.h>

namespace heed::conformance {
namespace {

VectorFile file_of(const std::string& type = "f32", const std::string& values = "1 -2") {
  std::istringstream text(
      "test n\nop O\nopset 23\nnode_inputs x y\nnode_outputs z w\nattr axis -1\nattr rule fast\n"
      "input x f32 1 1\n3\ninput y f32 1 1\n4\noutput z " +
      type + " 1 2\n" + values + "\noutput w f32 0\n5\n");
  return read_vector_file("file", text);
}

template <class F>
std::string failure(F&& f) {
  try {
    f();
  } catch (const Failure& wrong) {
    return wrong.what();
  }
  return "none";
}

/// Asks for everything that the file has.
void ask_for_all(Case& at) {
  at.input(0);
  at.input(1);
  at.integer("axis", 0);
  at.word("rule", "");
  at.compare(1, {}, std::vector<float>{5}, 1);
}

TEST(ConformanceCase, ComparesWhatAnOperatorGives) {
  const VectorFile file = file_of();
  const auto compared = [&](const std::vector<Index>& dims, const std::vector<float>& found) {
    return failure([&] {
      Case at(file);
      at.compare(0, dims, found, 1);
    });
  };
  EXPECT_EQ(compared({2}, {1, -2}), "none");
  EXPECT_EQ(compared({2}, {1.00009f, -2.0001f}), "none");
  EXPECT_EQ(compared({2}, {1, -2.001f}), "z[1]: expected -2, found -2.001, tolerance 0.0001");
  EXPECT_EQ(compared({2, 1}, {1, -2}), "z: expected [2], found [2 x 1]");
  EXPECT_NE(compared({2}, {std::numeric_limits<float>::quiet_NaN(), -2}), "none");
  EXPECT_NE(compared({2}, {std::numeric_limits<float>::infinity(), -2}), "none");
}

TEST(ConformanceCase, TakesInfinityAndNotANumberForThemselvesAlone) {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const VectorFile file = file_of("f32", "-inf nan");
  const auto compared = [&](const std::vector<float>& found) {
    return failure([&] {
      Case at(file);
      at.compare(0, {2}, found, 1);
    });
  };
  EXPECT_EQ(compared({-inf, nan}), "none");
  EXPECT_NE(compared({inf, nan}), "none");
  EXPECT_NE(compared({-1e30f, nan}), "none");
  EXPECT_NE(compared({-inf, 0}), "none");
}

TEST(ConformanceCase, RoundsToTheTypeOfTheFile) {
  EXPECT_EQ(rounded(1 + 1e-9, Type::f32), 1);
  EXPECT_EQ(rounded(1 + 1e-9, Type::f64), 1 + 1e-9);
  EXPECT_EQ(rounded(1 + 0.0004, Type::f16), 1);
  EXPECT_EQ(rounded(1 + 0.003, Type::bf16), 1);
  EXPECT_EQ(rounded(1 + 0.0078125, Type::bf16), 1 + 0.0078125);
  // one rounding of 16 bits is more than single precision is good for
  EXPECT_EQ(tolerance(Type::f16, 2), 2 * std::ldexp(1.0, -11));
  EXPECT_EQ(tolerance(Type::f32, 2), 1e-4);
}

TEST(ConformanceCase, ReportsTheErrorNearestToItsTolerance) {
  const VectorFile file = file_of();
  Case at(file);
  ask_for_all(at);
  at.compare(0, {2}, std::vector<double>{1 + 1.0 / 32768, -2}, 1);
  const Worst worst = at.finish();
  EXPECT_EQ(worst.error, 1.0 / 32768);
  EXPECT_EQ(worst.tolerance, 1e-4);
}

TEST(ConformanceCase, RefusesWhatIsNotUnderstood) {
  const VectorFile file = file_of();
  const auto without = [&](const std::string& what) {
    return failure([&] {
      Case at(file);
      at.input(0);
      if (what != "input") at.input(1);
      if (what != "attribute") at.integer("axis", 0);
      at.word("rule", "");
      at.compare(0, {2}, std::vector<float>{1, -2}, 1);
      if (what != "output") at.compare(1, {}, std::vector<float>{5}, 1);
      at.finish();
    });
  };
  EXPECT_EQ(without("nothing"), "none");
  EXPECT_EQ(without("attribute"), "attribute 'axis' (-1) is not understood");
  EXPECT_EQ(without("input"), "input 'y' at position 1 is not understood");
  EXPECT_EQ(without("output"), "output 'w' at position 1 is not understood");
}

TEST(ConformanceCase, ReadsAttributesOfItsKindOnly) {
  const VectorFile file = file_of();
  Case at(file);
  EXPECT_EQ(at.integer("axis", 7), -1);
  EXPECT_EQ(at.integer("absent", 7), 7);
  EXPECT_EQ(at.real("axis", 7), -1);
  EXPECT_EQ(failure([&] { at.integer("rule", 7); }), "attribute 'rule': expected an integer, found 'fast'");
}

}  // namespace
}  // namespace heed::conformance
