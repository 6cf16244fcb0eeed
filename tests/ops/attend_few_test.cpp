// Decoding: few query rows, whose lanes go along the head.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "attend_problem.hpp"

namespace {

using namespace attend_problem;
using heed::reference::Backwards;
using heed::reference::Threads;

template <class Scalar>
class AttendFew : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AttendFew, Scalars);

constexpr Storage storages[] = {Storage::arithmetic, Storage::bfloat16, Storage::half};

TYPED_TEST(AttendFew, EqualsTheDefinitionAroundTheEdgesOfTiles) {
  for (Index keys : {1, 3, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 129, 1025})
    for (Index width : {8, 128})
      for (Storage storage : storages)
        expect_matches_reference<TypeParam>(
            {.heads = 4, .kv_heads = 1, .width = width, .value_width = width, .sequences = {{1, keys}}, .storage = storage},
            false, false);
}

TYPED_TEST(AttendFew, EqualsTheDefinitionAroundTheEdgesOfStretches) {
  using namespace heed::detail;
  for (Index heads : {5, 8, 16}) {  // with fewer a job ends before the stretch does
    const Index stretch = few_stretch_keys<TypeParam>(heads, few_tile_keys<TypeParam>(heads, 8));
    for (Index keys : {stretch - 1, stretch, stretch + 1, 2 * stretch + 1})
      for (Storage storage : {Storage::arithmetic, Storage::bfloat16})
        expect_matches_reference<TypeParam>(
            {.heads = heads, .kv_heads = 1, .width = 8, .value_width = 8, .sequences = {{1, keys}}, .storage = storage},
            false, false);
  }
}

// Who wants the log-sum-exp alone brings values without columns.
TYPED_TEST(AttendFew, SumsWeightsOfValuesWithoutColumns) {
  heed::Serial serial;
  Workers workers(serial);
  for (Index heads : {1, 2, 3, 4})
    for (Storage storage : storages) {
      Case c{.heads = heads, .kv_heads = 1, .width = 24, .value_width = 24, .sequences = {{1, 1100}}, .storage = storage};
      Problem<TypeParam> whole(c, false);
      whole.forward(workers);
      c.value_width = 0;
      Problem<TypeParam> without(c, false);
      without.forward(workers);
      EXPECT_TRUE(same_bits(without.log_sum_exp, whole.log_sum_exp));
    }
}

TYPED_TEST(AttendFew, EqualsTheDefinitionForEveryHeadWidth) {
  for (Index width : {1, 2, 3, 7, 8, 15, 16, 17, 24, 31, 32, 33, 48, 64, 65, 80, 96, 127, 128, 192, 256})
    for (Storage storage : storages)
      for (Index heads : {1, 3})
        expect_matches_reference<TypeParam>({.heads = heads,
                                             .kv_heads = 1,
                                             .width = width,
                                             .value_width = width > 40 ? width - 21 : width + 5,
                                             .sequences = {{1, 37}},
                                             .storage = storage},
                                            false, false);
}

TYPED_TEST(AttendFew, EqualsTheDefinitionForEveryNumberOfRows) {
  for (Index heads : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17})
    for (Index rows : {1, 2, 3, 5, 7, 8, 16})
      for (Storage storage : storages)
        if (heads * rows <= 34)
          expect_matches_reference<TypeParam>({.heads = heads,
                                               .kv_heads = 1,
                                               .width = 12,
                                               .value_width = 20,
                                               .sequences = {{rows, 70}},
                                               .storage = storage},
                                              true, false);
}

TYPED_TEST(AttendFew, EqualsTheDefinitionUnderEveryMask) {
  for (const Mask& mask : masks)
    for (Index rows : {1, 2, 4})
      for (Index keys : {5, 140, 1100})
        for (Storage storage : {Storage::arithmetic, Storage::bfloat16})
          expect_matches_reference<TypeParam>({.heads = 2,
                                               .kv_heads = 1,
                                               .width = 24,
                                               .value_width = 24,
                                               .mask = mask,
                                               .sequences = {{rows, keys}, {1, 33}},
                                               .storage = storage},
                                              true, false);
}

TYPED_TEST(AttendFew, EqualsTheDefinitionWithEveryOption) {
  for (const Case& c : with_options({.heads = 4,
                       .kv_heads = 2,
                       .width = 16,
                       .value_width = 32,
                       .sequences = {{2, 150}, {1, 1}, {1, 40}},
                       .storage = Storage::half}))
    expect_matches_reference<TypeParam>(c, true, false);
}

TYPED_TEST(AttendFew, HasTheSameBitsForAnyWorkers) {
  for (Storage storage : storages) {
    const Case c{.heads = 8,
                 .kv_heads = 2,
                 .width = 40,
                 .value_width = 40,
                 .sequences = {{1, 5000}, {1, 1024}, {1, 1025}},
                 .storage = storage};
    heed::Serial serial;
    Workers one(serial);
    Problem<TypeParam> expected(c, true);
    expected.forward(one);
    Backwards backwards(2);
    Threads two(2), three(3);
    for (heed::Executor* executor : {static_cast<heed::Executor*>(&backwards), static_cast<heed::Executor*>(&two),
                                     static_cast<heed::Executor*>(&three)}) {
      Workers workers(*executor);
      Problem<TypeParam> p(c, true);
      p.forward(workers);
      EXPECT_TRUE(same_bits(p.o, expected.o));
      EXPECT_TRUE(same_bits(p.log_sum_exp, expected.log_sum_exp));
    }
  }
}

TYPED_TEST(AttendFew, LeaksNoNaNFromBehindTheMask) {
  constexpr TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  heed::Serial serial;
  Workers workers(serial);
  for (Storage storage : storages)
    for (const Mask& mask : {heed::causal(), heed::window(5), Mask{3, 2}, heed::streaming(3, 7)})
      for (Index rows : {1, 2, 3})
        for (Index poisoned : {0, 20, 131, 136, 137, 138, 139}) {
          const Case c{.heads = rows == 2 ? 2 : 1,
                       .kv_heads = rows == 2 ? 2 : 1,
                       .width = 36,
                       .value_width = 20,
                       .mask = mask,
                       .sequences = {{rows, 140}},
                       .storage = storage};
          Problem<TypeParam> clean(c), p(c);
          p.k.row(poisoned).setConstant(nan);
          p.v.row(poisoned).setConstant(nan);
          if (storage != Storage::arithmetic) p.store(p.k, p.k_narrow), p.store(p.v, p.v_narrow);
          clean.forward(workers);
          p.forward(workers);
          for (Index i = 0; i < rows; ++i) {
            const bool sees = mask.visible(i + 140 - rows, 140).contains(poisoned);
            EXPECT_EQ(p.o.row(i).hasNaN(), sees) << i;
            if (sees) continue;
            EXPECT_TRUE((p.o.row(i).array() == clean.o.row(i).array()).all()) << i;
            EXPECT_TRUE((p.log_sum_exp.row(i).array() == clean.log_sum_exp.row(i).array()).all()) << i;
          }
        }
}

// What is read beside the rows of a head belongs to another one, or to nobody.
TYPED_TEST(AttendFew, TouchesNothingBesideTheRows) {
  constexpr TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  heed::Serial serial;
  Workers workers(serial);
  for (Index width : {5, 33, 64}) {
    const Case c{.heads = 4, .kv_heads = 4, .width = width, .value_width = width, .sequences = {{1, 50}}};
    Problem<TypeParam> clean(c), p(c);
    for (Index h : {0, 2}) {
      p.k.middleCols(h * width, width).setConstant(nan);
      p.v.middleCols(h * width, width).setConstant(nan);
    }
    clean.forward(workers);
    p.forward(workers);
    for (Index h : {1, 3})
      EXPECT_TRUE((p.o.middleCols(h * width, width).array() == clean.o.middleCols(h * width, width).array()).all());
  }
}

TEST(StoredRows, AreWidenedExactly) {
  using heed::detail::with_stored;
  std::vector<std::uint16_t> bits(65536);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  for (Storage storage : {Storage::bfloat16, Storage::half}) {
    HeadRows<float> rows{nullptr, nullptr, 1024, 64, 64, 0};
    rows.storage = storage;
    rows.narrow = bits.data();
    std::vector<float> buffer(65536), truth(65536);
    heed::widen(storage, bits.data(), 65536, truth.data());
    with_stored(rows, {0, 1024}, buffer.data(), [&]<class Rows>(Rows x) {
      constexpr Index step = heed::detail::load_width<Rows>, lanes = heed::detail::full_width<float>;
      for (Index i = 0; i < 65536; i += step) {
        float out[std::size_t(step)];
        const auto loaded = Rows::load(x.data + i);
        for (std::size_t p = 0; p < Rows::packets; ++p) loaded[p].store(out + Index(p) * lanes);
        for (Index e = 0; e < step; ++e) {
          const float widened = out[heed::detail::place_of<Rows>(e)], expected = truth[std::size_t(i + e)];
          EXPECT_TRUE(widened == expected || (std::isnan(widened) && std::isnan(expected)))
              << name_of(storage) << " " << i + e << ": " << widened << ", expected " << expected;
          EXPECT_EQ(std::signbit(widened), std::signbit(expected)) << i + e;
        }
      }
    });
  }
}

}  // namespace
