// What happens to logits between product and softmax, and rows stored in 16 bits.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "attend_problem.hpp"

namespace {

using namespace attend_problem;
using heed::reference::Backwards;

template <class Scalar>
class OperandOptions : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(OperandOptions, Scalars);

Case ragged(const Mask& mask) {
  Case c{.heads = 4, .kv_heads = 2, .width = 3, .value_width = 2, .mask = mask};
  c.sequences = {{5, 5}, {0, 4}, {1, 130}, {70, 75}, {2, 9}};
  return c;
}

TYPED_TEST(OperandOptions, EqualsTheDefinitionUnderEveryOptionOfLogits) {
  for (const Mask& mask : {heed::causal(), heed::bidirectional(), heed::streaming(3, 9), heed::prefix_lm(5)})
    for (const Case& c : with_options(ragged(mask))) expect_matches_reference<TypeParam>(c, true);
}

TYPED_TEST(OperandOptions, EqualsTheDefinitionWhenFewRowsSeeTwoIntervalsInManyCuts) {
  for (const Mask& mask : {heed::streaming(3, 50), heed::streaming(1500, 600), heed::streaming(2600, 9),
                           heed::chunked(2000), heed::prefix_lm(2900)})
    for (const Case& c : {Case{.heads = 2, .kv_heads = 2, .mask = mask, .sequences = {{1, 2800}, {2, 3000}}},
                          Case{.heads = 4, .kv_heads = 2, .mask = mask, .sequences = {{20, 2700}}}})
      expect_matches_reference<TypeParam>(c, true);
}

TYPED_TEST(OperandOptions, OfFewRowsOverRowsIn16BitsIsAsExactAsNaiveOverWhatTheyHold) {
  for (const Storage storage : {Storage::bfloat16, Storage::half})
    for (const Mask& mask : {heed::causal(), heed::streaming(3, 40)})
      for (const Index width : {5, 16, 37})
        expect_matches_reference<TypeParam>({.heads = 4,
                                             .kv_heads = 2,
                                             .width = width,
                                             .value_width = width - 2,
                                             .mask = mask,
                                             .sequences = {{1, 1500}, {2, 70}},
                                             .storage = storage},
                                            true);
}

TYPED_TEST(OperandOptions, OfManyRowsOverRowsIn16BitsIsAttendOverWhatTheyHoldToTheBit) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Storage storage : {Storage::bfloat16, Storage::half})
    for (const Mask& mask : {heed::causal(), heed::streaming(3, 40)}) {
      const Case c{.heads = 4,
                   .kv_heads = 2,
                   .width = 5,
                   .value_width = 3,
                   .mask = mask,
                   .sequences = {{70, 75}, {20, 90}},
                   .storage = storage};
      Problem<TypeParam> narrow(c, true), wide(c, true);
      for (Index b = 0; b < 2; ++b)
        for (Index g = 0; g < 2; ++g) {
          const Index row = wide.first_key(b);
          wide.k_heads.at(b, g).storage = wide.v_heads.at(b, g).storage = Storage::arithmetic;
          wide.k_heads.at(b, g).data = wide.k.data() + row * wide.k.cols() + g * 5;
          wide.v_heads.at(b, g).data = wide.v.data() + row * wide.v.cols() + g * 3;
        }
      for (Problem<TypeParam>* each : {&narrow, &wide}) {
        each->forward(workers);
        each->set_echo(4);
        each->backward(workers);
      }
      EXPECT_TRUE(same_bits(narrow.o, wide.o));
      EXPECT_TRUE(same_bits(narrow.log_sum_exp, wide.log_sum_exp));
      EXPECT_TRUE(same_bits(narrow.d_q, wide.d_q));
      EXPECT_TRUE(same_bits(narrow.d_k, wide.d_k));
      EXPECT_TRUE(same_bits(narrow.d_v, wide.d_v));
      for (Problem<TypeParam>* each : {&narrow, &wide}) {
        const heed::Given<TypeParam> given{each->kept};
        heed::attend(given, each->v_heads, each->sequences, heed::mutable_view_of(each->o), workers);
        heed::attend_backward(given, each->v_heads, each->sequences, heed::view_of(each->d_o), workers);
      }
      // the same products in the same order; rows of one tile at a time, so that sums may be cut elsewhere
      expect_as_good_as_naive<TypeParam>("o", narrow.o, wide.o, wide.o.template cast<Wide<TypeParam>>(), 1500);
      EXPECT_TRUE(same_bits(narrow.d_v, wide.d_v));
    }
}

// Each number is off by u of itself, so a logit by d = u scale max sum |q k|, a probability by a factor of e^2d.
TYPED_TEST(OperandOptions, OverRowsIn16BitsIsAsFarOffAsTheirRoundingAllows) {
  heed::Serial serial;
  Workers workers(serial);
  for (const auto& [storage, u] : {std::pair(Storage::bfloat16, 0x1p-8), std::pair(Storage::half, 0x1p-11)})
    for (const Index rows : {1, 40}) {
      const Case plain{.heads = 2, .kv_heads = 1, .sequences = {{rows, 90}}};
      Case rounded = plain;
      rounded.storage = storage;
      Problem<TypeParam> p(rounded);
      const Problem<TypeParam> unrounded(plain);
      p.forward(workers);
      const auto exact = unrounded.template expected<Wide<TypeParam>>().o;
      double sum = 0;
      for (Index i = 0; i < rows; ++i)
        for (Index h = 0; h < 2; ++h)
          for (Index j = 0; j < 90; ++j)
            sum = (std::max)(
                sum, static_cast<double>(p.q.row(i).segment(h * 8, 8).cwiseProduct(unrounded.k.row(j)).cwiseAbs().sum()));
      const double d = u * static_cast<double>(p.scale) * sum;
      const double largest = static_cast<double>(unrounded.v.cwiseAbs().maxCoeff());
      const double arithmetic = static_cast<double>(std::numeric_limits<TypeParam>::epsilon()) * 100;
      const double off = static_cast<double>((p.o.template cast<Wide<TypeParam>>() - exact).cwiseAbs().maxCoeff());
      EXPECT_LE(off, ((1 + u) * std::exp(2 * d) - 1 + arithmetic) * largest) << heed::name_of(storage);
      EXPECT_GT(off, 0) << "it was rounded";
    }
}

TYPED_TEST(OperandOptions, NaNBehindABiasDoesNotLeak) {
  heed::Serial serial;
  Workers workers(serial);
  constexpr TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN(),
                      infinity = std::numeric_limits<TypeParam>::infinity();
  constexpr Index keys = 90;
  for (const bool by_flag : {false, true})
    for (const Index rows : {1, 2, 70})
      for (const double cap : {0.0, 5.0})
        for (const TypeParam poison : {nan, infinity}) {
          Case c{.heads = 4, .kv_heads = rows == 2 ? 4 : 2, .mask = heed::bidirectional(), .sequences = {{rows, keys}}};
          c.soft_cap = cap, c.added = true, c.shown = by_flag, c.slopes = c.sinks = true;
          Problem<TypeParam> clean(c, true), p(c, true);
          for (Problem<TypeParam>* each : {&clean, &p}) {
            for (std::size_t h = 0; h < 4; ++h) {  // key 7 is hidden from all rows, key 66 from all but the last
              for (const Index key : {7, 66})
                for (Index i = 0; i < rows - (key == 66 ? 1 : 0); ++i) {
                  if (by_flag)
                    each->shown[h](i, key) = false;
                  else
                    each->added[h](i, key) = -infinity;
                }
              each->shown[h](rows - 1, 66) = true, each->added[h](rows - 1, 66) = 0;
            }
          }
          for (const Index key : {7, 66}) p.k.row(key).setConstant(poison), p.v.row(key).setConstant(poison);
          for (Problem<TypeParam>* each : {&clean, &p}) {
            each->forward(workers);
            each->set_echo(3);
            each->backward(workers);
          }
          EXPECT_EQ(p.kept.at(0, 0)(rows - 1, 7), TypeParam(0));
          EXPECT_FALSE(p.o.row(rows - 1).allFinite());
          // the same products, added in another order
          const Matrix<TypeParam> others = p.o.topRows(rows - 1), clean_others = clean.o.topRows(rows - 1);
          expect_as_good_as_naive<TypeParam>("o", others, clean_others, clean_others.template cast<Wide<TypeParam>>(),
                                             keys);
          EXPECT_TRUE(p.d_q.topRows(rows - 1).allFinite());
          for (const Matrix<TypeParam>* d : {&p.d_k, &p.d_v}) EXPECT_TRUE(d->row(7).isZero(0));
          for (std::size_t h = 0; h < 4; ++h)
            for (Index i = 0; i < rows; ++i) EXPECT_EQ(p.d_added[h](i, 7), TypeParam(0));

          // and given probabilities; the last row sees key 66, and so do its gradients
          Problem<TypeParam> given(c, true);
          for (const Index key : {7, 66}) given.v.row(key).setConstant(poison);
          for (Index h = 0; h < 4; ++h) given.kept.at(0, h) = clean.kept.at(0, h);
          given.o.setZero();
          heed::attend(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences, heed::mutable_view_of(given.o),
                       workers);
          heed::attend_backward(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences,
                                heed::view_of(given.d_o), workers);
          EXPECT_FALSE(given.o.row(rows - 1).allFinite());
          EXPECT_TRUE(given.o.topRows(rows - 1).allFinite());
          for (Index i = 0; i < rows; ++i) EXPECT_TRUE(std::isfinite(given.kept.at(0, 2).gradient(i, 7)));
          EXPECT_TRUE(given.d_v.allFinite());
        }
}

TYPED_TEST(OperandOptions, ARowThatABiasHidesEverythingFromIsZeroWithZeroGradients) {
  heed::Serial serial;
  Workers workers(serial);
  constexpr TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  for (const bool sinks : {false, true})
    for (const Index rows : {1, 40}) {
      Case c{.heads = 2, .kv_heads = 1, .sequences = {{rows, 50}}, .sinks = sinks, .added = true};
      Problem<TypeParam> p(c, true);
      for (Matrix<TypeParam>& of_head : p.added) of_head.row(0).setConstant(-infinity);
      p.forward(workers);
      p.set_echo(2);
      p.backward(workers);
      EXPECT_TRUE(p.o.row(0).isZero(0));
      EXPECT_TRUE(p.d_q.row(0).isZero(0));
      for (Index h = 0; h < 2; ++h) EXPECT_EQ(p.log_sum_exp(0, h), sinks ? p.sinks[std::size_t(h)] : -infinity);
      EXPECT_TRUE(p.d_added[0].row(0).isZero(0));
      for (Index j = 0; j < 50; ++j) EXPECT_EQ(p.kept.at(0, 0)(0, j), TypeParam(0));
      EXPECT_TRUE(p.d_k.allFinite() && p.d_v.allFinite());
      for (const TypeParam d : p.d_sinks) EXPECT_TRUE(std::isfinite(d));
    }
}

TYPED_TEST(OperandOptions, ASinkOfMinusInfinityIsNoSink) {
  heed::Serial serial;
  Workers workers(serial);
  const Case without{.sequences = {{1, 30}, {40, 40}}};
  Case with = without;
  with.sinks = true;
  Problem<TypeParam> plain(without), p(with);
  p.sinks.assign(2, -std::numeric_limits<TypeParam>::infinity());
  p.q = plain.q, p.k = plain.k, p.v = plain.v, p.d_o = plain.d_o;
  for (Problem<TypeParam>* each : {&plain, &p}) each->forward(workers), each->backward(workers);
  EXPECT_TRUE(same_bits(p.o, plain.o));
  EXPECT_TRUE(same_bits(p.log_sum_exp, plain.log_sum_exp));
  EXPECT_TRUE(same_bits(p.d_q, plain.d_q));
  EXPECT_EQ(p.d_sinks, (std::vector<TypeParam>{0, 0}));
}

TYPED_TEST(OperandOptions, ScoresOfAnySizeStayFinite) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Case& c : with_options({.heads = 2, .kv_heads = 1, .sequences = {{1, 30}, {40, 40}}})) {
    Problem<TypeParam> p(c);
    p.q *= TypeParam(1e15);  // scores of 10^30
    p.k *= TypeParam(1e15);
    p.forward(workers);
    p.backward(workers);
    EXPECT_TRUE(p.o.allFinite() && p.d_q.allFinite() && p.d_k.allFinite() && p.d_v.allFinite()) << c;
    for (const Matrix<TypeParam>& d : p.d_added) EXPECT_TRUE(d.allFinite()) << c;
  }
}

TYPED_TEST(OperandOptions, HeadsThatShareABiasAddToOneGradient) {
  heed::Serial serial;
  Workers workers(serial);
  const Case c{.heads = 4, .kv_heads = 2, .sequences = {{9, 9}, {9, 9}}, .added = true};
  Problem<TypeParam> apart(c), shared(c);
  for (Problem<TypeParam>* each : {&apart, &shared})
    for (Matrix<TypeParam>& of_head : each->added) of_head.setConstant(TypeParam(0.5));
  for (Index i = 0; i < 8; ++i) {
    shared.bias.entries[i].gradient = shared.d_added[0].data();
    shared.bias.entries[i].gradient_stride = 0;  // and so do all rows
    shared.bias.entries[i].stride = 0;
  }
  for (Problem<TypeParam>* each : {&apart, &shared}) each->forward(workers), each->backward(workers);
  // what is shared is added to in one order
  const Matrix<TypeParam> of_one_worker = shared.d_added[0];
  shared.d_added[0].setZero();
  Backwards reversed(3);
  Workers many(reversed);
  shared.backward(many);
  EXPECT_TRUE(same_bits(shared.d_added[0], of_one_worker));
  Matrix<TypeParam> sum = Matrix<TypeParam>::Zero(1, 9);
  for (const Matrix<TypeParam>& d : apart.d_added) sum += d.colwise().sum();
  EXPECT_LE((shared.d_added[0].row(0) - sum).cwiseAbs().maxCoeff(),
            std::numeric_limits<TypeParam>::epsilon() * 8 * 9 * sum.cwiseAbs().maxCoeff());
}

}  // namespace
