#include <gtest/gtest.h>

#include <heed/ops/attend.hpp>
#include <limits>
#include <vector>

#include "attend_problem.hpp"

namespace {

using namespace attend_problem;

TEST(OperandMemory, Of32kPositionsIsBounded) {
  heed::Serial serial;
  constexpr Index positions = 32768;
  for (Index rows : {Index(1), Index(200), positions}) {
    Case c{.heads = 2, .kv_heads = 1, .width = 4, .value_width = 4, .sequences = {{rows, positions}}};
    if (rows == positions) c.mask = heed::window(300);
    Workers workers(&serial, std::size_t(1) << 18);
    Problem<float> p(c);
    p.forward(workers);
    EXPECT_EQ(workers.blocks(), 1u) << "256 KiB were not enough";
    EXPECT_TRUE(p.o.allFinite());
  }
}

// Keys are zero, so that all scores are equal, and values are 0 and 1 in turn: sums are whole numbers, and exact.
TEST(OperandMemory, OfLongSequencesIsBoundedAndTheirMeansAreRight) {
  struct Long {
    Mask mask;
    Index rows, keys;
  };
  for (const Long& c : {Long{heed::causal(), 32768, 32768}, Long{heed::window(300), 100000, 100000},
                        Long{heed::streaming(5, 200), 100000, 100000}, Long{heed::causal(), 1, 100000},
                        Long{heed::streaming(5, 200), 1, 100000}, Long{heed::prefix_lm(100000), 1, 100000}}) {
    const Matrix<float> q = Matrix<float>::Ones(c.rows, 1), k = Matrix<float>::Zero(c.keys, 1);
    Matrix<float> v(c.keys, 1), y(c.rows, 1);
    for (Index j = 0; j < c.keys; ++j) v(j, 0) = static_cast<float>(j % 2);
    Workers workers(nullptr, std::size_t(1) << 18);
    heed::attend_into(q, k, v, {.mask = c.mask}, y, workers);
    // scratch and one log-sum-exp a row; an arena that was too small at most doubles
    EXPECT_LE(workers.capacity(), 2 * ((std::size_t(1) << 18) + sizeof(float) * std::size_t(c.rows)));
    Index wrong = 0;
    for (Index i = 0; i < c.rows; ++i) {
      Index ones = 0, seen = 0;
      for (const heed::Interval part : c.mask.visible(i + c.keys - c.rows, c.keys)) {
        ones += part.end / 2 - part.begin / 2;
        seen += part.size();
      }
      const float mean = static_cast<float>(ones) / static_cast<float>(seen);
      wrong += std::abs(y(i, 0) - mean) <= 2 * std::numeric_limits<float>::epsilon() * mean ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0) << c.rows << " rows over " << c.keys << " keys";
  }
}

TEST(OperandMemory, RepeatedCallsDoNotGrow) {
  heed::Serial serial;
  const Case c{.heads = 32, .kv_heads = 8, .width = 64, .value_width = 64, .sequences = {{1, 8192}}};
  Problem<float> p(c);
  Workers workers(&serial, heed::attend_scratch_bytes<float>(1, 1, 8192, 32, 8, 64, 64));
  for (int i = 0; i < 2; ++i) p.forward(workers);
  EXPECT_EQ(workers.blocks(), 1u);
}

TEST(OperandMemory, IsWhatWasPredicted) {
  heed::Serial serial;
  for (const Case& c :
       {Case{.heads = 2, .kv_heads = 2, .width = 1, .value_width = 1, .sequences = {{2, 1020}}},
        Case{.heads = 8, .kv_heads = 2, .width = 24, .value_width = 40, .sequences = {{100, 100}}},
        Case{.heads = 70, .kv_heads = 1, .width = 64, .value_width = 64, .sequences = {{2, 5000}, {0, 3}}},
        Case{.heads = 6, .kv_heads = 3, .width = 128, .value_width = 128, .sequences = {{1, 9000}, {30, 8000}}},
        Case{.heads = 8, .kv_heads = 1, .width = 8, .value_width = 64, .sequences = {{30, 3000}, {32, 3000}}},
        Case{.heads = 8,
        .kv_heads = 2,
        .width = 24,
        .value_width = 40,
        .sequences = {{100, 100}, {1, 3000}},
        .soft_cap = 2,
        .slopes = true,
        .sinks = true,
        .storage = Storage::half}}) {
    Index rows = 0, keys = 0;
    for (const Lengths& s : c.sequences) rows += s.rows, keys = std::max(keys, s.keys);
    Problem<double> p(c, true);
    Workers workers(&serial, heed::attend_scratch_bytes<double>(Index(c.sequences.size()), rows, keys, c.heads, c.kv_heads,
                                                                c.width, c.value_width));
    p.forward(workers);
    p.backward(workers);
    heed::attend(heed::Given<double>{p.kept}, p.v_heads, p.sequences, heed::mutable_view_of(p.o), workers);
    heed::attend_backward(heed::Given<double>{p.kept}, p.v_heads, p.sequences, heed::view_of(p.d_o), workers);
    EXPECT_EQ(workers.blocks(), 1u) << c;
  }
}

TEST(OperandMemory, OfProbabilitiesKeptIn16BitsIsWhatWasPredicted) {
  heed::Serial serial;
  for (Case c : {Case{.heads = 2, .kv_heads = 2, .width = 8, .value_width = 8, .sequences = {{2, 1020}}},
                 Case{.heads = 8, .kv_heads = 2, .width = 24, .value_width = 40, .sequences = {{100, 100}}},
                 Case{.heads = 70, .kv_heads = 1, .width = 8, .value_width = 8, .sequences = {{2, 3000}, {0, 3}}},
                 Case{.heads = 6, .kv_heads = 3, .width = 16, .value_width = 16, .sequences = {{1, 9000}, {30, 4000}}}}) {
    c.kept = Storage::bfloat16;
    Index rows = 0, keys = 0;
    for (const Lengths& s : c.sequences) rows += s.rows, keys = std::max(keys, s.keys);
    Problem<double> p(c, true);
    Workers workers(&serial, heed::attend_scratch_bytes<double>(Index(c.sequences.size()), rows, keys, c.heads, c.kv_heads,
                                                                c.width, c.value_width) +
                                 heed::kept_scratch_bytes<double>(rows, keys, c.heads, c.kv_heads));
    p.forward(workers);
    heed::attend(heed::Given<double>{p.kept}, p.v_heads, p.sequences, heed::mutable_view_of(p.o), workers);
    EXPECT_EQ(workers.blocks(), 1u) << c;
  }
}

}  // namespace
