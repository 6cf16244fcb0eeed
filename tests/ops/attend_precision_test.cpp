// Attention whose products are formed of bf16 terms, against the definition in double and against naive loops that round
// as ops/precision.hpp says.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <heed/ops/attend.hpp>
#include <limits>
#include <vector>

#include "attend_problem.hpp"

namespace {

using namespace attend_problem;
using heed::Precision;

constexpr Precision in_terms[] = {Precision::bf16, Precision::bf16x2, Precision::bf16x3};
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Output {
  Matrix<float> o, log_sum_exp;
};

Output attend(Problem<float>& p, Precision precision, Workers& workers) {
  p.o.setZero();
  p.log_sum_exp.setConstant(77);
  auto operand = p.computed();
  operand.precision = precision;
  heed::attend(operand, p.v_heads, p.sequences, heed::mutable_view_of(p.o), workers);
  return {p.o, p.log_sum_exp};
}
Output attend(Problem<float>& p, Precision precision) {
  Workers workers;
  return attend(p, precision, workers);
}

/// x as three terms.
std::array<float, 3> split(float x) {
  std::array<float, 3> all{};
  for (float& term : all) x -= term = static_cast<float>(Eigen::bfloat16(x));
  return all;
}

/// a b in terms
float product(float a, float b, int terms) {
  const auto as = split(a), bs = split(b);
  float sum = 0;
  for (int i = terms - 1; i >= 0; --i)
    for (int j = terms - 1 - i; j >= 0; --j) sum += as[std::size_t(i)] * bs[std::size_t(j)];
  return sum;
}

/// The definition in float with both products in terms: P = e^(z - max z), o = P V / sum P.
Output naive(const Problem<float>& p, int terms) {
  Output out{Matrix<float>::Zero(p.o.rows(), p.o.cols()), Matrix<float>::Zero(p.o.rows(), p.c.heads)};
  const Index group = p.c.heads / p.c.kv_heads, E = p.c.width, E_v = p.c.value_width;
  for (Index b = 0; b < Index(p.c.sequences.size()); ++b)
    for (Index h = 0; h < p.c.heads; ++h) {
      const auto of = p.template logits<float>(b, h);
      const Index first = p.sequences.begin(b), key = p.first_key(b), g = h / group;
      for (Index i = 0; i < p.rows(b); ++i) {
        std::vector<float> z(std::size_t(p.keys(b)), -infinity);
        float maximum = of.sink, sum = 0;
        for (Index j = 0; j < p.keys(b); ++j) {
          if (!of.see(i, j)) continue;
          float& z_j = z[std::size_t(j)];
          z_j = 0;
          for (Index e = 0; e < E; ++e)
            z_j += product(of.scale * p.q(first + i, h * E + e), p.k(key + j, g * E + e), terms);
          if (of.soft_cap > 0) z_j = of.soft_cap * std::tanh(z_j / of.soft_cap);
          z_j += of.added(i, j);
          maximum = std::max(maximum, z_j);
        }
        if (maximum == -infinity) {
          out.log_sum_exp(first + i, h) = -infinity;
          continue;
        }
        if (of.sink > -infinity) sum = std::exp(of.sink - maximum);
        for (float& z_j : z) sum += z_j = std::exp(z_j - maximum);
        out.log_sum_exp(first + i, h) = maximum + std::log(sum);
        for (Index e = 0; e < E_v; ++e) {
          float o = 0;
          for (Index j = 0; j < p.keys(b); ++j)
            if (of.see(i, j)) o += product(z[std::size_t(j)], p.v(key + j, g * E_v + e), terms);
          out.o(first + i, h * E_v + e) = o / sum;
        }
      }
    }
  return out;
}

void expect_matches_definition(const Case& c, const char* what = "") {
  std::ostringstream text;
  text << what << c;
  SCOPED_TRACE(text.str());
  Problem<float> p(c);
  const auto oracle = p.template expected<double>();
  for (const Precision precision : in_terms) {
    SCOPED_TRACE(terms_of(precision));
    const Output found = attend(p, precision), rounded = naive(p, terms_of(precision));
    expect_as_good_as_naive<float>("o", found.o, rounded.o, oracle.o, p.longest_sum());
    expect_as_good_as_naive<float>("log_sum_exp", found.log_sum_exp, rounded.log_sum_exp, oracle.log_sum_exp,
                                   p.longest_sum());
  }
}

TEST(AttendPrecision, IsTheDefinitionOfRoundedOperandsAroundTheTilesEdges) {
  for (const Index n : {16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129})
    expect_matches_definition({.heads = 1, .kv_heads = 1, .width = 16, .value_width = 8, .sequences = {{n, n}}});
  for (const Index keys : {1, 2, 15, 31, 33, 97, 129, 160, 257})
    expect_matches_definition({.heads = 2, .kv_heads = 1, .mask = heed::bidirectional(), .sequences = {{19, keys}}});
  for (const Index width : {1, 2, 15, 31, 32, 33, 80})
    expect_matches_definition(
        {.heads = 2, .kv_heads = 2, .width = width, .value_width = 1 + width / 2, .sequences = {{37, 41}}});
  for (const Index heads : {3, 5, 65, 70})
    expect_matches_definition({.heads = heads, .kv_heads = 1, .width = 4, .value_width = 4, .sequences = {{7, 33}}});
}

TEST(AttendPrecision, IsTheDefinitionOfRoundedOperandsUnderEveryMask) {
  for (const Mask& mask : masks)
    expect_matches_definition(
        {.heads = 4, .kv_heads = 2, .width = 8, .value_width = 12, .mask = mask, .sequences = {{90, 150}, {20, 20}}});
}

TEST(AttendPrecision, IsTheDefinitionOfRoundedOperandsWithEveryOption) {
  for (const Mask& mask : {heed::causal(), heed::bidirectional(), heed::window(20)})
    for (const Case& c : with_options({.heads = 4, .kv_heads = 2, .mask = mask, .sequences = {{33, 47}, {16, 16}}}))
      expect_matches_definition(c);
}

TEST(AttendPrecision, IsTheDefinitionOfRoundedOperandsOverNarrowRows) {
  for (const Storage storage : {Storage::bfloat16, Storage::half})
    expect_matches_definition({.heads = 4, .kv_heads = 2, .sequences = {{33, 47}}, .storage = storage});
}

TEST(AttendPrecision, IsTheDefinitionOfRoundedOperandsWhereKeysAreCut) {
  expect_matches_definition({.heads = 4, .kv_heads = 2, .width = 8, .value_width = 8, .sequences = {{11, 3001}}});
  expect_matches_definition({.heads = 4,
                             .kv_heads = 1,
                             .width = 8,
                             .value_width = 8,
                             .mask = heed::streaming(70, 1500),
                             .sequences = {{9, 2777}, {8, 1100}}});
}

// With x = x_0 + x_1 + x_2 the products leave out, of |a| |b|, at most d; see docs/numerics.md.
TEST(AttendPrecision, IsOffByWhatTheTermsLeaveOut) {
  Problem<float> p(Case{.heads = 4, .kv_heads = 2, .width = 64, .value_width = 64, .sequences = {{200, 200}}});
  const auto oracle = p.template expected<double>();
  const double u = 0x1p-8, rounding = double(p.longest_sum()) * 0x1p-24;
  double logit = 0;  // the largest scale sum |q_e k_e|
  for (Index h = 0; h < 4; ++h) {
    const Matrix<float> q = p.q.middleCols(64 * h, 64).cwiseAbs(), k = p.k.middleCols(64 * (h / 2), 64).cwiseAbs();
    logit = std::max(logit, double(p.scale * (q * k.transpose()).maxCoeff()));
  }
  const double left_out[] = {2 * u + u * u, 3 * u * u + 3 * u * u * u, 4 * u * u * u};
  for (const Precision precision : in_terms) {
    const double d = left_out[terms_of(precision) - 1] + rounding;
    const double bound = ((1 + d) * std::exp(2 * d * logit) - 1) * double(p.v.cwiseAbs().maxCoeff());
    const Output found = attend(p, precision);
    EXPECT_LE((found.o.cast<double>() - oracle.o).cwiseAbs().maxCoeff(), bound) << terms_of(precision);
    EXPECT_LE((found.log_sum_exp.cast<double>() - oracle.log_sum_exp).cwiseAbs().maxCoeff(), d * (logit + 1));
  }
}

TEST(AttendPrecision, OfThreeTermsIsWithinFourTimesTheErrorOfFull) {
  for (const Index width : {64, 128})
    for (const Mask& mask : {heed::causal(), heed::bidirectional()}) {
      Problem<float> p(
          Case{.heads = 2, .kv_heads = 1, .width = width, .value_width = width, .mask = mask, .sequences = {{300, 300}}});
      const auto oracle = p.template expected<double>();
      const double full = error_of(attend(p, Precision::full).o, oracle.o);
      EXPECT_LE(error_of(attend(p, Precision::bf16x3).o, oracle.o), 4 * full);
      EXPECT_LE(error_of(attend(p, Precision::bf16x2).o, oracle.o), 0x1p-15);
      EXPECT_GE(error_of(attend(p, Precision::bf16).o, oracle.o), 0x1p-13) << "not rounded";
    }
}

TEST(AttendPrecision, IsAboutFloat) {
  Problem<double> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{40, 50}}});
  Workers workers;
  p.forward(workers);
  const Matrix<double> full = p.o;
  p.o.setZero();
  auto operand = p.computed();
  operand.precision = Precision::bf16;
  heed::attend(operand, p.v_heads, p.sequences, heed::mutable_view_of(p.o), workers);
  EXPECT_TRUE(same_bits(p.o, full));
}

TEST(AttendPrecision, OfFewerThanSixteenRowsOfAGroupIsFull) {
  Problem<float> p(Case{.heads = 6, .kv_heads = 2, .sequences = {{5, 90}, {6, 90}, {0, 7}, {1, 1}}});
  const Output full = attend(p, Precision::full), bf16 = attend(p, Precision::bf16);
  for (Index i = 0; i < 12; ++i) {
    const bool rounded = 5 <= i && i < 11;
    EXPECT_EQ(same_bits<float>(bf16.o.row(i), full.o.row(i)), !rounded) << i;
    EXPECT_EQ(same_bits<float>(bf16.log_sum_exp.row(i), full.log_sum_exp.row(i)), !rounded) << i;
  }
}

TEST(AttendPrecision, OfNoKeysAndNoHeadsIsZero) {
  Problem<float> p(Case{.heads = 2, .kv_heads = 1, .mask = heed::bidirectional(), .sequences = {{20, 0}, {20, 3}, {0, 3}}});
  for (const Precision precision : in_terms) {
    const Output found = attend(p, precision);
    EXPECT_TRUE(found.o.topRows(20).isZero(0));
    EXPECT_TRUE((found.log_sum_exp.topRows(20).array() == -infinity).all());
    EXPECT_TRUE(found.o.allFinite());
  }
}

TEST(AttendPrecision, HasTheSameBitsForAnyNumberOfWorkers) {
  for (const bool cut : {false, true}) {
    const Case c{.heads = 4,
                 .kv_heads = 2,
                 .width = 24,
                 .value_width = 40,
                 .sequences = cut ? std::vector<Lengths>{{10, 3000}, {2, 9}, {16, 2100}}
                                  : std::vector<Lengths>{{150, 700}, {3, 9}, {64, 64}}};
    Problem<float> p(c);
    for (const Precision precision : in_terms) {
      const Output serial = attend(p, precision);
      for (const int workers : {1, 2, 3}) {
        heed::reference::Backwards backwards(workers);
        heed::reference::Threads threads(workers);
        for (heed::Executor* executor :
             {static_cast<heed::Executor*>(&backwards), static_cast<heed::Executor*>(&threads)}) {
          Workers team(executor);
          const Output found = attend(p, precision, team);
          EXPECT_TRUE(same_bits(found.o, serial.o)) << workers;
          EXPECT_TRUE(same_bits(found.log_sum_exp, serial.log_sum_exp)) << workers;
        }
      }
    }
  }
}

TEST(AttendPrecision, NaNBehindTheMaskDoesNotLeak) {
  for (const float poison : {nan, infinity, std::numeric_limits<float>::max()})
    for (const bool shown : {false, true})
      for (const Mask& mask : {heed::causal(), heed::window(9), heed::streaming(2, 9)})
        for (const Precision precision : in_terms) {
          Problem<float> p(Case{.heads = 2, .kv_heads = 1, .mask = mask, .sequences = {{70, 100}}, .shown = shown}, false,
                           3);
          const Output clean = attend(p, precision);
          constexpr Index poisoned = 60;
          p.k.row(poisoned).setConstant(poison);
          p.v.row(poisoned).setConstant(poison);
          const Output found = attend(p, precision);
          for (Index h = 0; h < 2; ++h)
            for (Index i = 0; i < 70; ++i) {
              if (mask.visible(i + 30, 100).contains(poisoned) && (!shown || p.shown[std::size_t(h)](i, poisoned)))
                continue;
              EXPECT_TRUE(found.o.row(i).segment(8 * h, 8).allFinite()) << i;
              EXPECT_LE((found.o - clean.o).row(i).segment(8 * h, 8).cwiseAbs().maxCoeff(), 1e-5f) << i;
              EXPECT_EQ(found.log_sum_exp(i, h), clean.log_sum_exp(i, h)) << i;
            }
        }
}

TEST(AttendPrecision, ANaNThatIsSeenReachesItsRowAndNoOther) {
  for (const Precision precision : in_terms) {
    Problem<float> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{70, 70}}});
    p.q.row(10).setConstant(nan);
    p.k(40, 3) = nan;
    const Output found = attend(p, precision);
    for (Index i = 0; i < 70; ++i) EXPECT_EQ(found.o.row(i).hasNaN(), i == 10 || i >= 40) << i;
  }
}

TEST(AttendPrecision, KeepsTheProbabilitiesOfWhatItComputed) {
  for (const Mask& mask : {heed::causal(), heed::streaming(5, 20)})
    for (const Precision precision : in_terms) {
      Problem<float> p(Case{.heads = 2, .kv_heads = 1, .mask = mask, .sequences = {{50, 70}}}, true);
      const Output found = attend(p, precision);
      const auto oracle = p.template expected<double>();
      Problem<float> plain(p.c);
      EXPECT_TRUE(same_bits(attend(plain, precision).o, found.o));
      const double bound = 3 * std::max(error_of(found.log_sum_exp, oracle.log_sum_exp), 0x1p-18);
      for (Index h = 0; h < 2; ++h)
        for (Index i = 0; i < 50; ++i) {
          const heed::Intervals seen = mask.visible(i + 20, 70);
          float sum = 0;
          for (Index j = 0; j < 70; ++j) {
            if (!seen.contains(j)) {
              EXPECT_EQ(p.kept.at(0, h)(i, j), 0.0f);
              continue;
            }
            sum += p.kept.at(0, h)(i, j);
            EXPECT_NEAR(p.kept.at(0, h)(i, j), oracle.a[std::size_t(h)](i, j), 10 * bound);
          }
          EXPECT_NEAR(sum, 1, 70 * 0x1p-23);
        }
    }
}

TEST(AttendPrecision, BackwardIsInFull) {
  Problem<float> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{50, 70}}});
  attend(p, Precision::bf16);
  Workers workers;
  p.backward(workers);
  const Matrix<float> d_q = p.d_q, d_k = p.d_k, d_v = p.d_v;
  p.d_q.setZero(), p.d_k.setZero(), p.d_v.setZero();
  auto operand = p.computed();
  operand.precision = Precision::bf16;
  heed::attend_backward(operand, p.v_heads, p.sequences, heed::view_of(p.o), heed::view_of(p.d_o),
                        heed::mutable_view_of(p.d_q), workers);
  EXPECT_TRUE(same_bits(p.d_q, d_q));
  EXPECT_TRUE(same_bits(p.d_k, d_k));
  EXPECT_TRUE(same_bits(p.d_v, d_v));
}

TEST(AttendPrecision, OfMatricesIsAnOption) {
  for (const Precision precision : in_terms) {
    Problem<float> p(Case{.heads = 4, .kv_heads = 2, .width = 8, .value_width = 8, .sequences = {{30, 40}}});
    const Matrix<float> y = heed::attend(p.q, p.k, p.v, {.heads = 4, .kv_heads = 2, .precision = precision});
    EXPECT_TRUE(same_bits(y, attend(p, precision).o));
  }
}

TEST(AttendPrecision, TakesTheScratchThatWasPredicted) {
  for (const Case& c :
       {Case{.heads = 2, .kv_heads = 2, .width = 1, .value_width = 1, .sequences = {{20, 1020}}},
        Case{.heads = 8, .kv_heads = 2, .width = 24, .value_width = 40, .sequences = {{100, 100}}},
        Case{.heads = 70, .kv_heads = 1, .width = 64, .value_width = 64, .sequences = {{2, 5000}, {0, 3}}},
        Case{.heads = 6, .kv_heads = 3, .width = 128, .value_width = 128, .sequences = {{1, 3000}, {30, 3000}, {32, 2999}}},
        Case{.heads = 8,
        .kv_heads = 2,
        .width = 24,
        .value_width = 40,
        .sequences = {{100, 100}, {1, 3000}},
        .soft_cap = 2,
        .slopes = true,
        .sinks = true,
        .storage = Storage::half}})
    for (const Precision precision : in_terms) {
      Index rows = 0, keys = 0;
      for (const Lengths& s : c.sequences) rows += s.rows, keys = std::max(keys, s.keys);
      Problem<float> p(c, true);
      Workers workers(nullptr, heed::attend_scratch_bytes<float>(Index(c.sequences.size()), rows, keys, c.heads, c.kv_heads,
                                                                 c.width, c.value_width, precision));
      attend(p, precision, workers);
      EXPECT_EQ(workers.blocks(), 1u) << c << " " << terms_of(precision);
    }
}

}  // namespace
