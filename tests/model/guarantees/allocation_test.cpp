// Once a cache is made, calls of no more than its `rows` rows take nothing from the heap.
#include <gtest/gtest.h>

#include <memory>

#include "heed/threads/pool.hpp"
#include "model/guarantees/variants.hpp"
#include "support/allocations.hpp"

namespace heed::guarantees {
namespace {

constexpr Index prompt = 5;

/// Expects prefill, decode, checkpoints and rollbacks of `sequences` sequences to allocate nothing.
template <class Model>
void expect_no_allocation(const Model& model, Index sequences, Executor* executor) {
  const Index width = model.shape().width;
  const Matrix<float> x = Matrix<float>::Random(sequences * prompt, width);
  const Sequences prefill = Sequences::each(sequences, prompt), step = Sequences::each(sequences, 1);
  std::vector<Index> only_first(static_cast<std::size_t>(sequences), 0);
  only_first[0] = 1;
  const Sequences first_alone{std::span<const Index>(only_first)};
  auto cache = model.make_cache({.sequences = sequences,
                                 .positions = 4 * prompt,
                                 .rows = sequences * prompt,
                                 .checkpoints = 2,
                                 .executor = executor});
  const std::size_t blocks = cache.scratch_blocks();

  const std::size_t before = allocations_so_far();
  bool rolled_back = true;
  static_cast<void>(model.forward(x, prefill, cache));
  const std::size_t after_prefill = allocations_so_far();
  for (int round = 0; round < 2; ++round) {
    const Mark mark = cache.checkpoint();
    for (int i = 0; i < 2; ++i) static_cast<void>(model.forward(x.topRows(sequences), step, cache));
    rolled_back = cache.rollback(mark) && rolled_back;
    static_cast<void>(model.forward(x.topRows(sequences), step, cache));
    static_cast<void>(model.forward(x.topRows(1), first_alone, cache));
    rolled_back = cache.rollback(mark, 0) && rolled_back;
  }
  static_cast<void>(model.forward(x.topRows(sequences), step, cache));
  const std::size_t after = allocations_so_far();

  EXPECT_EQ(after_prefill, before) << "prefill";
  EXPECT_EQ(after, after_prefill) << "decode";
  EXPECT_EQ(cache.scratch_blocks(), blocks);
  EXPECT_TRUE(rolled_back);

  auto fork = cache.fork();
  const std::size_t at_fork = allocations_so_far();
  static_cast<void>(model.forward(x.topRows(sequences), step, fork));
  EXPECT_EQ(allocations_so_far(), at_fork) << "decode on a fork";
}

void expect_no_allocation_at(const Sizes& sizes) {
  Pool pool(3);
  const auto expect = [&](const std::string& name, const auto& model) {
    for (const Index sequences : {1, 4}) {
      SCOPED_TRACE(name + ", " + std::to_string(sequences) + " sequences");
      expect_no_allocation(model, sequences, nullptr);
      SCOPED_TRACE("3 threads");
      expect_no_allocation(model, sequences, &pool);
    }
  };
  for_each_variant(sizes, expect);
  expect("by choice", DynamicStack<float>::build(sizes, {choose<Standard>(), choose<ScoreReuseAttention>(),
                                                         choose_side_by_side(choose<Standard>(), choose<Mamba2>())}));
}

TEST(Allocation, NoCallAllocatesAtWidth256) {
  expect_no_allocation_at({.width = 256, .heads = 8, .kv_heads = 4, .hidden = 256});
}

TEST(Allocation, NoCallAllocatesAtWidth1024) {
  expect_no_allocation_at({.width = 1024, .heads = 16, .kv_heads = 4, .head_width = 32, .hidden = 128});
}

// Longer than a tile, a chunk and a query block, and cut into slices where scores are wanted and `score_bytes` is small.
TEST(Allocation, NoPrefillOfTheRowsACacheIsMadeForAllocates) {
  const Sequences rows({300, 0, 1, 99});
  const Matrix<float> x = Matrix<float>::Random(rows.rows(), 16);
  Pool pool(3);
  for_each_variant({.width = 16, .heads = 4, .kv_heads = 2}, [&](const char* name, const auto& model) {
    for (const Index score_bytes : {Index(1) << 24, Index(1) << 14, Index(1)})
      for (Executor* executor : {static_cast<Executor*>(nullptr), static_cast<Executor*>(&pool)})
        for (const Storage storage : {Storage::arithmetic, Storage::bfloat16}) {
          auto cache = model.make_cache({.sequences = rows.size(),
                                         .positions = 300,
                                         .rows = rows.rows(),
                                         .score_storage = storage,
                                         .executor = executor,
                                         .score_bytes = score_bytes});
          const std::size_t before = allocations_so_far();
          static_cast<void>(model.forward(x, rows, cache));
          EXPECT_EQ(allocations_so_far(), before)
              << name << ", " << score_bytes << " bytes of scores in " << name_of(storage);
        }
  });
}

// Their rows see ahead, so they cannot be cut into slices.
TEST(Allocation, ScoresOfWholeSequencesAreAccountedFor) {
  using Model = Stack<float, Block<Standard>, Block<ScoreReuseAttention>>;
  Model::Config config{.width = 8, .heads = 4};
  config.layer<0>().mixer.scores.mask = bidirectional();
  const Model model(config);
  const Sequences rows({200, 100});
  auto cache = model.make_cache({.sequences = 2, .positions = 200, .rows = rows.rows(), .score_bytes = 1});
  const Matrix<float> x = Matrix<float>::Random(rows.rows(), 8);
  const std::size_t before = allocations_so_far();
  static_cast<void>(model.forward(x, rows, cache));
  EXPECT_EQ(allocations_so_far(), before);
}

// Keys and values are packed whole where products are formed of bf16 terms.
TEST(Allocation, PackedTermsAreAccountedFor) {
  using Model = Stack<float, Block<StandardAttention>>;
  Model::Config config{.width = 64, .heads = 4, .kv_heads = 2};
  config.layer<0>().mixer.scores.precision = Precision::bf16x3;
  const Model model(config);
  const Sequences rows({300, 0, 1, 99});
  auto cache = model.make_cache({.sequences = rows.size(), .positions = 2000, .rows = rows.rows()});
  const Matrix<float> x = Matrix<float>::Random(rows.rows(), 64);
  const std::size_t before = allocations_so_far();
  for (int i = 0; i < 6; ++i) static_cast<void>(model.forward(x, rows, cache));
  EXPECT_EQ(allocations_so_far(), before);
}

// The scratch of a recurrent head grows with the square of its chunk.
TEST(Allocation, LongChunksAreAccountedFor) {
  using Model = Stack<float, Block<Mamba2>>;
  Model::Config config{.width = 8, .heads = 2};
  config.layer<0>().mixer = {.state_width = 4, .chunk = 1024};
  const Model model(config);
  const Matrix<float> x = Matrix<float>::Random(1024, 8);
  auto cache = model.make_cache({.positions = x.rows(), .rows = x.rows()});
  const std::size_t before = allocations_so_far();
  static_cast<void>(model.forward(x, cache));
  EXPECT_EQ(allocations_so_far(), before);
}

// Decoding many long sequences takes more than the products do; filling such caches would take too long here.
TEST(Allocation, ManyLongSequencesAreAccountedFor) {
  const Sizes sizes{.width = 8, .heads = 16, .kv_heads = 4, .head_width = 64, .hidden = 8};
  const std::size_t needed = attend_scratch_bytes<float>(64, 64, 8192, 16, 4, 64, 64);
  EXPECT_GT(needed, std::size_t(1) << 20);
  const auto model = DynamicStack<float>::build(sizes, {choose<Mamba2>(), choose<Standard>()});
  EXPECT_EQ(model.plan().job_bytes({.sequences = 64, .rows = 64, .keys = 8192}), needed);
}

// Every table of probabilities begins at an address of its own alignment.
TEST(Allocation, ManySmallTablesOfScoresAreAccountedFor) {
  const Stack<float, Block<Standard>, Block<ScoreReuseAttention>> model(
      {.width = 4, .heads = 64, .head_width = 2, .hidden = 4});
  const Sequences step = Sequences::each(8, 1);
  auto cache = model.make_cache({.sequences = step.size(), .positions = 3, .score_bytes = 8 * 3 * 64 * 4});
  const Matrix<float> x = Matrix<float>::Random(step.rows(), 4);
  const std::size_t before = allocations_so_far();
  for (int i = 0; i < 3; ++i) static_cast<void>(model.forward(x, step, cache));
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed::guarantees
