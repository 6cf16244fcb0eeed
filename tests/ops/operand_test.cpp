#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "attend_problem.hpp"

namespace {

using namespace attend_problem;
using heed::reference::Backwards;
using heed::reference::Threads;

template <class Scalar>
class Operand : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Operand, Scalars);

TYPED_TEST(Operand, EqualsTheDefinitionAroundTheEdgesOfTiles) {
  for (Index n : {1, 7, 63, 64, 65, 127, 128, 129, 200})
    for (const Mask& mask : {heed::causal(), heed::window(50)})
      expect_matches_reference<TypeParam>({.heads = 1, .kv_heads = 1, .width = 8, .mask = mask, .sequences = {{n, n}}},
                                          false);
}

TYPED_TEST(Operand, OfEveryKernelEqualsTheDefinitionAroundTheEdgesOfStripsTilesAndBlocks) {
  for (Index n : {1, 15, 16, 17, 47, 48, 49, 97, 127, 128, 129, 191, 192, 193, 257, 389})
    for (const Mask& mask : {heed::causal(), heed::window(50), heed::bidirectional()})
      expect_every_kernel_matches_reference<TypeParam>(
          {.heads = 1, .kv_heads = 1, .width = 8, .mask = mask, .sequences = {{n, n}}}, false);
}

TYPED_TEST(Operand, OfEveryKernelEqualsTheDefinitionUnderEveryMask) {
  for (const Mask& mask : masks)
    for (const bool keep : {false, true})
      expect_every_kernel_matches_reference<TypeParam>(
          {.heads = 6, .kv_heads = 2, .width = 5, .value_width = 3, .mask = mask, .sequences = {{137, 140}, {5, 31}}},
          keep);
}

TYPED_TEST(Operand, OfEveryKernelEqualsTheDefinitionUnderEveryOption) {
  for (const Case& c : with_options(
           {.heads = 4, .kv_heads = 2, .width = 17, .value_width = 33, .sequences = {{67, 140}}, .storage = Storage::half}))
    expect_every_kernel_matches_reference<TypeParam>(c, true);
}

TYPED_TEST(Operand, EqualsTheDefinitionUnderEveryMaskForEveryGrouping) {
  for (const Mask& mask : masks)
    for (Index kv_heads : {6, 2, 1})
      expect_matches_reference<TypeParam>(
          {.heads = 6, .kv_heads = kv_heads, .width = 5, .value_width = 3, .mask = mask, .sequences = {{37, 37}}}, false);
}

TYPED_TEST(Operand, EqualsTheDefinitionForEveryHeadWidth) {
  for (Index width : {1, 3, 8, 24, 64})
    for (Index rows : {1, 33})
      expect_matches_reference<TypeParam>(
          {.heads = 2, .kv_heads = 1, .width = width, .value_width = width, .sequences = {{rows, 33}}}, false);
}

TYPED_TEST(Operand, EqualsTheDefinitionWhenDecodingAfterAPast) {
  for (Index rows : {1, 2, 5, 9})
    for (Index keys : {9, 130, 1025})
      for (const Mask& mask : {heed::causal(), heed::window(100)})
        for (Index kv_heads : {2, 4})
          expect_matches_reference<TypeParam>(
              {.heads = 4, .kv_heads = kv_heads, .width = 8, .mask = mask, .sequences = {{rows, keys}}}, true);
}

TYPED_TEST(Operand, ReadsLongKeysOnceForSixteenRowsOfManyHeads) {
  using namespace heed::detail;
  for (const auto& [rows, stack] : std::vector<std::pair<Index, Index>>{{1, 128}, {4, 32}, {13, 8}, {16, 6}, {16, 24}}) {
    const auto plan = plan_attend<TypeParam>(are_few<TypeParam>(rows * stack), rows, 2500, stack,
                                             attend_cut_lanes<TypeParam>, 2500 - rows, heed::causal());
    EXPECT_EQ(plan.blocks, 1) << rows << " " << stack;
    EXPECT_EQ(plan.cuts, 3) << rows << " " << stack;
    expect_matches_reference<TypeParam>(
        {.heads = stack, .kv_heads = 1, .width = 3, .value_width = 2, .sequences = {{rows, 2500}, {1, 40}}}, false);
  }
}

TYPED_TEST(Operand, EqualsTheDefinitionWhenMoreHeadsShareAKeyThanABlockHolds) {
  expect_matches_reference<TypeParam>({.heads = 70, .kv_heads = 1, .width = 3, .value_width = 2, .sequences = {{3, 5}}},
                                      true);
}

TYPED_TEST(Operand, EqualsTheDefinitionOnRaggedBatches) {
  for (const Mask& mask : masks)
    expect_matches_reference<TypeParam>({.heads = 4,
                                         .kv_heads = 2,
                                         .width = 8,
                                         .value_width = 6,
                                         .mask = mask,
                                         .sequences = {{5, 5}, {0, 0}, {1, 40}, {66, 70}, {0, 9}, {2, 2100}, {20, 1500}}},
                                        true);
}

// Blocks are larger than a few strips only where all heads and sequences together have thousands of rows.
template <class Scalar>
Index lanes_of(const Case& c) {
  Index total = 0, lanes = 0;
  for (const Lengths& s : c.sequences) total += s.rows * c.heads;
  const Index stack = c.heads / c.kv_heads, most = heed::detail::lanes_of_block<Scalar>(total);
  for (const Lengths& s : c.sequences)
    lanes = (std::max)(lanes, stack * heed::detail::plan_attend<Scalar>(false, s.rows, s.keys, stack, most,
                                                                        s.keys - s.rows + c.offset, c.mask)
                                          .block);
  return lanes;
}

TYPED_TEST(Operand, EqualsTheDefinitionInBlocksOfManyStrips) {
  const Index few = heed::detail::attend_cut_lanes<TypeParam>, most = heed::detail::attend_block_lanes<TypeParam>;
  // Few keys under the rows' diagonal, so that many rows cost the definition little; rows around the largest block.
  for (const Index rows : {most, most + 50}) {
    const Case c{.heads = 32,
                 .kv_heads = 32,
                 .width = 2,
                 .value_width = 3,
                 .mask = heed::window(25),
                 .sequences = {{rows, 40}},
                 .offset = rows / 2};
    EXPECT_GE(lanes_of<TypeParam>(c), most / 2);
    expect_matches_reference<TypeParam>(c, false);
  }
  Index kv_heads = 24;
  for (const Mask& mask : masks) {
    kv_heads = 27 - kv_heads;  // 3 and 24 in turn
    const Case c{.heads = 24,
                 .kv_heads = kv_heads,
                 .width = 5,
                 .value_width = 3,
                 .mask = mask,
                 .sequences = {{100, 120}, {1, 30}, {90, 90}}};
    EXPECT_GT(lanes_of<TypeParam>(c), few);
    expect_matches_reference<TypeParam>(c, kv_heads == 3);
  }
}

TYPED_TEST(Operand, HasTheSameBitsForAnyNumberOfWorkersInBlocksOfManyStrips) {
  const Case c{.heads = 24, .kv_heads = 12, .width = 9, .value_width = 17, .sequences = {{190, 200}, {0, 4}, {70, 900}}};
  EXPECT_GT(lanes_of<TypeParam>(c), heed::detail::attend_cut_lanes<TypeParam>);
  heed::Serial serial;
  Workers alone(serial);
  Problem<TypeParam> one(c);
  one.forward(alone);
  one.backward(alone);
  Backwards backwards(3);
  Threads two(2);
  for (heed::Executor* executor : std::initializer_list<heed::Executor*>{&backwards, &two}) {
    Workers workers(*executor);
    Problem<TypeParam> p(c);
    p.forward(workers);
    p.backward(workers);
    EXPECT_TRUE(same_bits(p.o, one.o));
    EXPECT_TRUE(same_bits(p.log_sum_exp, one.log_sum_exp));
    EXPECT_TRUE(same_bits(p.d_q, one.d_q));
    EXPECT_TRUE(same_bits(p.d_k, one.d_k));
    EXPECT_TRUE(same_bits(p.d_v, one.d_v));
  }
}

// One kv head, more rows than one part of its backward has.
const Case in_parts{
    .heads = 6, .kv_heads = 1, .width = 5, .value_width = 3, .sequences = {{390, 390}, {3, 20}, {175, 210}}, .sinks = true};

TEST(BackwardParts, AreAsManyAsAreWorkAsJobsAreWantedAndAsThereAreBlocks) {
  const auto parts = [](std::vector<Index> lengths, Index kv_heads, Index stack, Index block) {
    const heed::Sequences rows{std::span<const Index>(lengths)};
    return heed::detail::BackwardParts{rows.division(), rows.size(), kv_heads, stack, block}.of(0);
  };
  EXPECT_EQ(parts({390}, 1, 6, 32), 4);
  EXPECT_EQ(parts({8192}, 1, 6, 32), 8);
  EXPECT_EQ(parts({8192}, 3, 6, 32), 2);
  EXPECT_EQ(parts({8192}, 5, 6, 32), 1);
  EXPECT_EQ(parts({8192, 10}, 1, 6, 32), 4);
  EXPECT_EQ(parts({256}, 1, 64, 64), 4);
  EXPECT_EQ(parts({0}, 1, 6, 32), 1);
}

TYPED_TEST(Operand, EqualsTheDefinitionWhereBackwardIsCutIntoParts) {
  for (const Mask& mask : {heed::causal(), heed::window(30), heed::bidirectional()})
    for (const Index kv_heads : {1, 3}) {
      Case c = in_parts;
      c.mask = mask, c.kv_heads = kv_heads;
      expect_matches_reference<TypeParam>(c, true);
      c.sequences = {{390, 400}};
      expect_matches_reference<TypeParam>(c, true);
    }
}

TYPED_TEST(Operand, HasTheSameBitsForAnyNumberOfWorkersWhereBackwardIsCutIntoParts) {
  heed::Serial serial;
  Backwards backwards(3);
  Threads two(2);
  for (const Storage kept : {Storage::arithmetic, Storage::bfloat16, Storage::half}) {
    const auto run = [kept](heed::Executor& executor) {
      Case c = in_parts;
      c.kept = kept;
      Workers workers(executor);
      Problem<TypeParam> p(c, true);
      p.forward(workers);
      p.backward(workers);
      heed::attend_backward(heed::Given<TypeParam>{p.kept}, p.v_heads, p.sequences, heed::view_of(p.d_o), workers);
      return p;
    };
    const Problem<TypeParam> one = run(serial);
    for (heed::Executor* executor : std::initializer_list<heed::Executor*>{&backwards, &two}) {
      const Problem<TypeParam> p = run(*executor);
      EXPECT_TRUE(same_bits(p.o, one.o));
      EXPECT_TRUE(same_bits(p.d_q, one.d_q));
      EXPECT_TRUE(same_bits(p.d_k, one.d_k));
      EXPECT_TRUE(same_bits(p.d_v, one.d_v));
      EXPECT_EQ(p.d_sinks, one.d_sinks);
    }
  }
}

TYPED_TEST(Operand, NaNBehindTheMaskDoesNotLeakInBlocksOfManyStrips) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const Case c{.heads = 24, .kv_heads = 24, .mask = heed::window(40), .sequences = {{190, 200}}};
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> clean(c), poisoned(c);
  clean.forward(workers);
  poisoned.k.row(150).setConstant(nan);  // seen by rows 140 to 179
  poisoned.v.row(150).setConstant(nan);
  poisoned.forward(workers);
  EXPECT_TRUE(same_bits(Matrix<TypeParam>(poisoned.o.topRows(140)), Matrix<TypeParam>(clean.o.topRows(140))));
  EXPECT_TRUE(same_bits(Matrix<TypeParam>(poisoned.o.bottomRows(10)), Matrix<TypeParam>(clean.o.bottomRows(10))));
  EXPECT_TRUE(poisoned.o.middleRows(140, 40).array().isNaN().all());
}

TYPED_TEST(Operand, KeepsProbabilitiesAndTakesTheirGradientsIntoAccount) {
  for (const Mask& mask : masks)
    for (Index n : {1, 65, 130})
      expect_matches_reference<TypeParam>({.heads = 2, .kv_heads = 1, .width = 8, .mask = mask, .sequences = {{n, n}}},
                                          true);
}

TYPED_TEST(Operand, OfNoHeadsOrNoRowsDoesNothing) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> no_heads(Case{.heads = 0, .kv_heads = 0, .sequences = {{3, 3}}});
  no_heads.forward(workers);
  no_heads.backward(workers);
  Problem<TypeParam> no_rows(Case{.sequences = {{0, 0}, {0, 4}}});
  no_rows.forward(workers);
  no_rows.backward(workers);
  EXPECT_TRUE(no_rows.d_k.isZero(0));
  EXPECT_TRUE(no_rows.d_v.isZero(0));
}

TYPED_TEST(Operand, ARowThatSeesNothingIsZeroWithZeroGradients) {
  heed::Serial serial;
  Workers workers(serial);
  // causal, 40 and 3 rows over fewer keys: the first rows stand before every key; and rows without any key
  Problem<TypeParam> p(Case{.heads = 4, .kv_heads = 2, .sequences = {{40, 5}, {3, 2}, {2, 0}, {20, 0}}}, true);
  p.forward(workers);
  p.set_echo(3);
  p.backward(workers);
  const TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  std::vector<Index> blind;
  for (Index i = 0; i < 35; ++i) blind.push_back(i);
  blind.push_back(40);
  for (Index i = 43; i < 65; ++i) blind.push_back(i);
  for (Index i : blind) {
    EXPECT_TRUE(p.o.row(i).isZero(0)) << i;
    EXPECT_TRUE(p.d_q.row(i).isZero(0)) << i;
    EXPECT_TRUE((p.log_sum_exp.row(i).array() == -infinity).all()) << i;
  }
  EXPECT_TRUE((p.log_sum_exp.row(35).array() > -infinity).all());
  EXPECT_TRUE(p.d_k.allFinite() && p.d_v.allFinite() && p.o.allFinite());
}

TYPED_TEST(Operand, NaNBehindTheMaskDoesNotLeak) {
  heed::Serial serial;
  Workers workers(serial);
  constexpr TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const Mask& mask : {heed::causal(), heed::window(5), Mask{3, 2}})
    for (Index rows : {1, 2, 30, 140})
      for (Index poisoned : {0, 20, 131, 136, 139}) {
        const Case c{.heads = 4, .kv_heads = rows == 2 ? 4 : 2, .mask = mask, .sequences = {{rows, 140}}};
        Problem<TypeParam> clean(c, true), p(c, true);
        p.k.row(poisoned).setConstant(nan);
        p.v.row(poisoned).setConstant(nan);
        for (Problem<TypeParam>* each : {&clean, &p}) {
          each->forward(workers);
          each->set_echo(3);
          each->backward(workers);
        }
        const auto equal = [](const auto& a, const auto& b) { return (a.array() == b.array()).all(); };
        // A key's gradient may be poisoned by a row that sees the poisoned key.
        std::vector<bool> touched(140, false);
        for (Index i = 0; i < rows; ++i) {
          const Index position = i + 140 - rows;
          const heed::Intervals seen = mask.visible(position, 140);
          const bool sees = seen.contains(poisoned);
          if (sees)
            for (Index j = 0; j < 140; ++j) touched[std::size_t(j)] = touched[std::size_t(j)] || seen.contains(j);
          EXPECT_EQ(p.o.row(i).hasNaN(), sees) << i;
          EXPECT_EQ(p.d_q.row(i).hasNaN(), sees) << i;
          if (sees) continue;
          EXPECT_TRUE(equal(p.o.row(i), clean.o.row(i))) << i;
          EXPECT_TRUE(equal(p.log_sum_exp.row(i), clean.log_sum_exp.row(i))) << i;
          for (Index j = 0; j < 140; ++j) EXPECT_EQ(p.kept.at(0, 0)(i, j), clean.kept.at(0, 0)(i, j));
        }
        for (Index j = 0; j < 140; ++j) {
          if (touched[std::size_t(j)]) continue;
          EXPECT_FALSE(p.d_k.row(j).hasNaN()) << j;
          EXPECT_FALSE(p.d_v.row(j).hasNaN()) << j;
        }

        // and the same of given probabilities
        Problem<TypeParam> given(c, true);
        given.v.row(poisoned).setConstant(nan);
        for (Index h = 0; h < 4; ++h) given.kept.at(0, h) = clean.kept.at(0, h);
        heed::attend(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences, heed::mutable_view_of(given.o),
                     workers);
        heed::attend_backward(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences, heed::view_of(given.d_o),
                              workers);
        for (Index i = 0; i < rows; ++i) {
          const heed::Intervals seen = given.kept.at(0, 0).visible(i);
          EXPECT_EQ(given.o.row(i).hasNaN(), seen.contains(poisoned)) << i;
          for (Index j = 0; j < 140; ++j)
            EXPECT_EQ(std::isnan(given.kept.at(0, 1).gradient(i, j)), j == poisoned && seen.contains(j));
        }
        EXPECT_FALSE(given.d_v.hasNaN());
      }
}

TYPED_TEST(Operand, ANaNQueryPoisonsOnlyWhatItSees) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{70, 70}}}), clean(p.c);
  p.q.row(10).setConstant(std::numeric_limits<TypeParam>::quiet_NaN());
  p.d_o.row(20).setConstant(std::numeric_limits<TypeParam>::quiet_NaN());
  p.forward(workers);
  p.backward(workers);
  for (Index i = 0; i < 70; ++i) {
    EXPECT_EQ(p.o.row(i).hasNaN(), i == 10) << i;
    EXPECT_EQ(p.d_q.row(i).hasNaN(), i == 10 || i == 20) << i;
    EXPECT_EQ(p.d_k.row(i).hasNaN(), i <= 20) << i;
    EXPECT_EQ(p.d_v.row(i).hasNaN(), i <= 20) << i;
  }
}

TYPED_TEST(Operand, ANaNGradientOfARowReachesOnlyTheValuesItSees) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{70, 70}}}, true);
  p.forward(workers);
  p.d_o.row(20).setConstant(std::numeric_limits<TypeParam>::quiet_NaN());
  heed::attend_backward(heed::Given<TypeParam>{p.kept}, p.v_heads, p.sequences, heed::view_of(p.d_o), workers);
  for (Index j = 0; j < 70; ++j) EXPECT_EQ(p.d_v.row(j).hasNaN(), j <= 20) << j;
}

TYPED_TEST(Operand, LargeLogitsStayFinite) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.sequences = {{1, 30}, {40, 40}}});
  p.q *= TypeParam(1000);
  p.k *= TypeParam(1000);
  p.forward(workers);
  p.backward(workers);
  EXPECT_TRUE(p.o.allFinite() && p.d_q.allFinite() && p.d_k.allFinite() && p.d_v.allFinite());
}

TYPED_TEST(Operand, AddsToWhatIsThere) {
  heed::Serial serial;
  Workers workers(serial);
  const Case c{.sequences = {{1, 30}, {40, 40}}};
  Problem<TypeParam> once(c), twice(c);
  once.forward(workers);
  once.backward(workers);
  twice.forward(workers);
  twice.backward(workers);
  twice.backward(workers);
  EXPECT_TRUE(twice.d_q.isApprox(2 * once.d_q));
  EXPECT_TRUE(twice.d_k.isApprox(2 * once.d_k));
  EXPECT_TRUE(twice.d_v.isApprox(2 * once.d_v));
  heed::attend(twice.computed(), twice.v_heads, twice.sequences, heed::mutable_view_of(twice.o), workers);
  EXPECT_TRUE(twice.o.isApprox(2 * once.o));
}

TYPED_TEST(Operand, HasTheSameBitsForAnyNumberOfWorkers) {
  for (const bool options : {false, true}) {
    Case c{.heads = 4, .kv_heads = 2, .sequences = {{150, 150}, {1, 3000}, {0, 4}, {12, 2500}, {3, 7}}};
    if (options) c.soft_cap = 3, c.slopes = c.sinks = c.shown = true, c.mask = heed::streaming(5, 1400);
    const auto run = [&](heed::Executor& executor, Problem<TypeParam>& p, Problem<TypeParam>& reader) {
      Workers workers(executor);
      p.forward(workers);
      heed::attend(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::mutable_view_of(reader.o), workers);
      heed::attend_backward(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::view_of(reader.d_o),
                            workers);
      p.backward(workers);
    };
    heed::Serial serial;
    Problem<TypeParam> one(c, true), reader_one(c, false, 2);
    run(serial, one, reader_one);
    Backwards reversed_one(1), reversed_two(2), reversed_three(3);
    Threads two(2), three(3);
    for (heed::Executor* executor :
         std::initializer_list<heed::Executor*>{&reversed_one, &reversed_two, &reversed_three, &two, &three}) {
      Problem<TypeParam> p(c, true), reader(c, false, 2);
      run(*executor, p, reader);
      EXPECT_TRUE(same_bits(p.o, one.o));
      EXPECT_TRUE(same_bits(p.log_sum_exp, one.log_sum_exp));
      EXPECT_TRUE(same_bits(p.d_q, one.d_q));
      EXPECT_TRUE(same_bits(p.d_k, one.d_k));
      EXPECT_TRUE(same_bits(p.d_v, one.d_v));
      EXPECT_TRUE(same_bits(reader.o, reader_one.o));
      EXPECT_TRUE(same_bits(reader.d_v, reader_one.d_v));
      for (Index i = 0; i < 150; ++i)
        for (Index j = 0; j < 150; ++j) {
          ASSERT_EQ(p.kept.at(0, 3)(i, j), one.kept.at(0, 3)(i, j));
          ASSERT_EQ(p.kept.at(0, 3).gradient(i, j), one.kept.at(0, 3).gradient(i, j));
        }
      EXPECT_EQ(p.d_sinks, one.d_sinks);
    }
  }
}

TYPED_TEST(Operand, OfGivenProbabilitiesEqualsTheDefinition) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Mask& mask : masks) {
    const Case c{.heads = 4,
                 .kv_heads = 2,
                 .value_width = 5,
                 .mask = mask,
                 .sequences = {{5, 5}, {0, 0}, {1, 40}, {66, 140}, {0, 9}, {2, 2100}, {20, 1500}}};
    Problem<TypeParam> p(c, true), reader(c, false, 9);
    p.forward(workers);
    reader.o.setZero();
    heed::attend(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::mutable_view_of(reader.o), workers);
    heed::attend_backward(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::view_of(reader.d_o), workers);
    const auto expected = [&]<class To>(To) {
      auto e = typename Problem<TypeParam>::template Expected<To>{};
      e.o.setZero(reader.o.rows(), reader.o.cols());
      e.d_v.setZero(reader.v.rows(), reader.v.cols());
      for (Index b = 0; b < p.kept.sequences; ++b)
        for (Index h = 0; h < c.heads; ++h) {
          reference::Rows<To> a(p.rows(b), p.keys(b)), d_a(p.rows(b), p.keys(b));
          const Index row = p.sequences.begin(b), key = p.first_key(b), kv = h / 2;
          const auto v = reader.template part<To>(reader.v, key, p.keys(b), kv, c.value_width);
          const auto d_o = reader.template part<To>(reader.d_o, row, p.rows(b), h, c.value_width);
          for (Index i = 0; i < a.rows; ++i)
            for (Index j = 0; j < a.cols; ++j) a(i, j) = static_cast<To>(p.kept.at(b, h)(i, j));
          const auto of = p.template logits<To>(b, h);
          const auto o = reference::probabilities_times_values(a, v, of);
          for (Index i = 0; i < o.rows; ++i)
            for (Index e_v = 0; e_v < o.cols; ++e_v) e.o(row + i, h * c.value_width + e_v) = o(i, e_v);
          for (Index i = 0; i < a.rows; ++i)
            for (Index j = 0; j < a.cols; ++j)
              for (Index e_v = 0; e_v < v.cols && of.see(i, j); ++e_v) {
                e.d_v(key + j, kv * c.value_width + e_v) += a(i, j) * d_o(i, e_v);
                d_a(i, j) += d_o(i, e_v) * v(j, e_v);
              }
          e.a.push_back(d_a);
        }
      return e;
    };
    const auto oracle = expected(Wide<TypeParam>{});
    const auto naive = expected(TypeParam{});
    const Index n = p.longest_sum();
    expect_as_good_as_naive<TypeParam>("o", reader.o, naive.o, oracle.o, n);
    expect_as_good_as_naive<TypeParam>("d_v", reader.d_v, naive.d_v, oracle.d_v, n);
    for (Index i = 0; i < Index(oracle.a.size()); ++i) {
      const Probabilities<TypeParam>& kept = p.kept.entries[i];
      Matrix<TypeParam> gradient(kept.rows(), kept.keys());
      for (Index row = 0; row < kept.rows(); ++row) kept.read_gradient_row(row, gradient.row(row).data());
      expect_as_good_as_naive<TypeParam>("d_a", gradient, RowsAsMatrix<TypeParam>{naive.a[std::size_t(i)]},
                                         RowsAsMatrix<Wide<TypeParam>>{oracle.a[std::size_t(i)]}, n);
    }
  }
}

// Kept in 16 bits, a probability is the one that is kept otherwise, rounded once: |p' - p| <= u p. And o' = A' V is what
// those rounded probabilities give to the bit, so |o' - o| <= u max|v|.
TYPED_TEST(Operand, KeepsProbabilitiesIn16BitsRoundedOnce) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Storage storage : {Storage::bfloat16, Storage::half})
    for (const Mask& mask : masks)
      for (const Index kv_heads : {6, 2, 1}) {
        Case c{.heads = 6, .kv_heads = kv_heads, .mask = mask};
        c.sequences = {{5, 5}, {0, 0}, {1, 40}, {66, 140}, {2, 2100}, {20, 1500}, {37, 37}};
        Problem<TypeParam> whole(c, true), rounded(c, true);
        c.kept = storage;
        Problem<TypeParam> narrow(c, true);
        whole.forward(workers);
        narrow.forward(workers);
        rounded.forward(workers);
        const TypeParam u = storage == Storage::half ? TypeParam(1) / 2048 : TypeParam(1) / 256;
        const TypeParam least = storage == Storage::half ? TypeParam(1) / (1 << 25) : TypeParam(0);
        // Keys that are cut among jobs are summed in another order: a few units in the last place of the logits.
        const TypeParam near = 64 * std::numeric_limits<TypeParam>::epsilon();
        for (Index b = 0; b < whole.kept.sequences; ++b)
          for (Index h = 0; h < c.heads; ++h) {
            std::vector<TypeParam> p(std::size_t(whole.keys(b))), p_narrow(p);
            for (Index i = 0; i < whole.rows(b); ++i) {
              whole.kept.at(b, h).read_row(i, p.data());
              narrow.kept.at(b, h).read_row(i, p_narrow.data());
              rounded.kept.at(b, h).write_row(i, p_narrow.data());
              for (std::size_t j = 0; j < p.size(); ++j)
                ASSERT_LE(std::abs(p_narrow[j] - p[j]), (u + near) * p[j] + least) << b << " " << h << " " << i << " " << j;
            }
            for (Index i = 0; i < whole.rows(b); ++i)  // where attend leaves zeros it was poisoned
              for (Index j = 0; j < whole.keys(b); ++j) {
                const bool seen = whole.kept.at(b, h).visible(i).contains(j);
                ASSERT_TRUE(seen || narrow.kept.at(b, h)(i, j) == TypeParam(0)) << b << " " << h << " " << i << " " << j;
              }
          }
        const auto given = [&](Problem<TypeParam>& p) {
          heed::attend(heed::Given<TypeParam>{p.kept}, p.v_heads, p.sequences, heed::mutable_view_of(p.o), workers);
        };
        narrow.o.setZero();
        rounded.o.setZero();
        given(narrow);
        given(rounded);
        EXPECT_TRUE(same_bits(narrow.o, rounded.o));
        for (Problem<TypeParam>* p : {&narrow, &rounded})
          heed::attend_backward(heed::Given<TypeParam>{p->kept}, p->v_heads, p->sequences, heed::view_of(p->d_o), workers);
        EXPECT_TRUE(same_bits(narrow.d_v, rounded.d_v));
        EXPECT_LE((narrow.o - whole.o).cwiseAbs().maxCoeff(),
                  (u + 2140 * std::numeric_limits<TypeParam>::epsilon()) * whole.v.cwiseAbs().maxCoeff());
      }
}

TYPED_TEST(Operand, OfGivenHeadsThatAreNotKeptAddsNothing) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.sequences = {{1, 9}, {33, 33}}}, true);
  for (Index b = 0; b < 2; ++b) p.kept.at(b, 1) = {};
  p.forward(workers);
  Matrix<TypeParam> o = Matrix<TypeParam>::Zero(p.o.rows(), p.o.cols());
  heed::attend(heed::Given<TypeParam>{p.kept}, p.v_heads, p.sequences, heed::mutable_view_of(o), workers);
  EXPECT_TRUE(o.leftCols(8).isApprox(p.o.leftCols(8)));
  EXPECT_TRUE(o.rightCols(8).isZero(0));
}

TYPED_TEST(Operand, EqualScoresAverageTheValues) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Index rows : {1, 70}) {
    Problem<TypeParam> p(Case{.mask = heed::bidirectional(), .sequences = {{rows, 70}}});
    p.q.setZero();
    p.v.setConstant(TypeParam(0.75));
    p.forward(workers);
    EXPECT_LE((p.o.array() - TypeParam(0.75)).abs().maxCoeff(), 70 * std::numeric_limits<TypeParam>::epsilon());
  }
}

TYPED_TEST(Operand, OfOnePositionIsItsValue) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.heads = 1, .kv_heads = 1, .sequences = {{1, 1}}});
  p.forward(workers);
  p.backward(workers);
  EXPECT_TRUE(same_bits(p.o, p.v));
  // backward forms z, a sum of 8 products, once more: p = e^(z - lse) is 1 up to its rounding
  const TypeParam z = std::abs(p.log_sum_exp(0, 0)) + 1;
  EXPECT_LE((p.d_v - p.d_o).cwiseAbs().maxCoeff(),
            8 * z * std::numeric_limits<TypeParam>::epsilon() * p.d_o.cwiseAbs().maxCoeff());
  EXPECT_TRUE(p.d_q.isZero(std::numeric_limits<TypeParam>::epsilon() * 8 * 8));
}

// d/dx dot(o, d_o) + dot(a, echo) by central differences: with step h = eps^(1/3), the truncation error h^2 |f'''| / 6 and
// the rounding error eps |f| / h are both of the order eps^(2/3) times the size of f, whose terms are counted.
TEST(OperandGradients, AreThoseOfCentralDifferences) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Mask& mask : {heed::causal(), heed::window(3), heed::bidirectional()}) {
    Problem<double> p(
        Case{.heads = 4, .kv_heads = 2, .width = 3, .value_width = 2, .mask = mask, .sequences = {{5, 7}, {1, 1}, {4, 3}}},
        true);
    p.forward(workers);
    p.set_echo(8);
    p.backward(workers);
    const auto objective = [&] {
      p.forward(workers);
      double sum = p.o.cwiseProduct(p.d_o).sum();
      for (Index b = 0; b < 3; ++b)
        for (Index h = 0; h < 4; ++h)
          for (Index i = 0; i < p.rows(b); ++i)
            for (Index j = 0; j < p.keys(b); ++j) sum += p.kept.at(b, h)(i, j) * p.kept.at(b, h).gradient(i, j);
      return sum;
    };
    const double eps = std::numeric_limits<double>::epsilon();
    const double h = std::cbrt(eps), terms = static_cast<double>(p.o.size() + 4 * (5 * 7 + 1 + 4 * 3));
    const auto check = [&](const char* name, Matrix<double>& x, const Matrix<double>& d_x) {
      for (Index i = 0; i < x.size(); ++i) {
        const double at = x.data()[i];
        x.data()[i] = at + h;
        const double above = objective();
        x.data()[i] = at - h;
        const double below = objective();
        x.data()[i] = at;
        EXPECT_NEAR(d_x.data()[i], (above - below) / (2 * h), h * h * terms) << name << " " << i;
      }
    };
    check("q", p.q, p.d_q);
    check("k", p.k, p.d_k);
    check("v", p.v, p.d_v);
  }
}

}  // namespace
