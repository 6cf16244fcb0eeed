#include <gtest/gtest.h>

#include <heed/ops/attend.hpp>
#include <limits>
#include <string>
#include <vector>

#include "../reference/errors.hpp"
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

// One worker, who takes of all jobs the first, or the last, or every one. The first is the heaviest: it sees the most keys.
enum class Run { all, heaviest, lightest };
struct Chosen final : heed::Executor {
  Run which;

  explicit Chosen(Run run) : which(run) {}
  int workers() const override { return 1; }
  void run(Index jobs, heed::Job job) override {
    if (which == Run::heaviest) return job(0, 0);
    for (Index index = which == Run::lightest ? jobs - 1 : 0; index < jobs; ++index) job(index, 0);
  }
};

// Causal prefill of 16 heads x 64, whose rows are all the same. A job of it takes the same scratch whether others run or
// not.
struct LongPrefill {
  static constexpr Index heads = 16, width = 64;
  Index positions;
  heed::Precision precision;
  Matrix<float> row = heed::reference::random_matrix<float>(1, heads*width, "row"), y{positions, heads*width};
  std::size_t log_sum_exp = sizeof(float) * std::size_t(positions * heads);  // bytes; of the call's arena too

  explicit LongPrefill(Index n, heed::Precision p = heed::Precision::full) : positions(n), precision(p) {}
  /// An arena of so many bytes is enough.
  bool fits(std::size_t bytes, Run which) {
    const Eigen::Map<const Matrix<float>, 0, Eigen::OuterStride<>> x(row.data(), positions, row.cols(),
                                                                     Eigen::OuterStride<>(0));
    Chosen executor(which);
    Workers workers(&executor, bytes);
    heed::attend_into(x, x, x, {.heads = heads, .precision = precision}, y, workers);
    return workers.blocks() == 1;
  }
  std::size_t predicted() const {
    return log_sum_exp + heed::attend_scratch_bytes<float>(1, positions, positions, heads, heads, width, width, precision);
  }
  /// What the call takes from its arena, to a thousandth.
  std::size_t taken() {
    std::size_t enough = 2 * predicted(), few = 0;
    while (enough - few > predicted() / 1000) {
      const std::size_t bytes = (enough + few) / 2;
      (fits(bytes, Run::lightest) ? enough : few) = bytes;
    }
    return enough;
  }
};

TEST(OperandMemory, OfPrefillGrowsByNoMoreThanItsRows) {
  LongPrefill small(512), middle(8192), large(32768);
  EXPECT_TRUE(small.fits(small.taken(), Run::all)) << "one job takes more than another";
  const std::size_t of_middle = middle.taken(), of_large = large.taken();
  EXPECT_TRUE(middle.fits(of_middle, Run::heaviest));
  EXPECT_LE(of_middle, middle.predicted());
  EXPECT_LE(of_large, large.predicted());
  EXPECT_LE(of_large, 4 * of_middle);
  // All that grows is the log-sum-exp.
  EXPECT_LE(of_large - large.log_sum_exp, of_middle - middle.log_sum_exp + large.predicted() / 500);
  RecordProperty("bytes_at_8192", std::to_string(of_middle));
  RecordProperty("bytes_at_32768", std::to_string(of_large));

  ASSERT_TRUE(large.fits(of_large, Run::heaviest));
  const Index last = large.positions - 1;  // the mean of equal rows
  const auto found = large.y.row(last).head(LongPrefill::width), expected = large.row.row(0).head(LongPrefill::width);
  EXPECT_LE((found - expected).cwiseAbs().maxCoeff(),
            float(large.positions) * std::numeric_limits<float>::epsilon() * expected.cwiseAbs().maxCoeff());
}

TEST(OperandMemory, OfPrefillInTermsGrowsByNoMoreThanItsRows) {
  for (const heed::Precision precision : {heed::Precision::bf16, heed::Precision::bf16x2, heed::Precision::bf16x3}) {
    LongPrefill small(150, precision), middle(8192, precision), large(32768, precision);
    EXPECT_TRUE(small.fits(small.taken(), Run::all)) << "one job takes more than another";
    EXPECT_TRUE(small.fits(small.predicted(), Run::all));
    // The lightest job sees no keys but those the lightest job of packing packs.
    EXPECT_TRUE(middle.fits(middle.predicted(), Run::lightest));
    EXPECT_TRUE(large.fits(large.predicted(), Run::lightest));
    EXPECT_LE(large.taken(), 4 * middle.taken());
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
