#include "heed/compiled/kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "../ops/attend_problem.hpp"
#include "../support/allocations.hpp"
#include "inlined.hpp"

namespace heed {
namespace {

std::vector<const compiled::Kernels*> sets() {
  std::vector<const compiled::Kernels*> all;
  for (const compiled::Kernels* set = &compiled::baseline(); set != nullptr; set = set->better) all.push_back(set);
  return all;
}

TEST(CompiledKernels, BeginWithTheBaselineAndHaveTheBestThatRunsHere) {
  EXPECT_STREQ(sets().front()->instruction_set, "baseline");
  EXPECT_TRUE(compiled::best().runs_here());
  for (const compiled::Kernels* better = compiled::best().better; better != nullptr; better = better->better)
    EXPECT_FALSE(better->runs_here()) << better->instruction_set;
}

TEST(CompiledKernels, OfEverySetAttendAsTheFormulaSays) {
  using namespace attend_problem;
  for (const compiled::Kernels* set : sets()) {
    if (!set->runs_here()) continue;
    for (const Mask& mask : masks) {
      SCOPED_TRACE(set->instruction_set);
      Case c;
      c.sequences = {{67, 131}, {1, 40}, {0, 9}};
      c.heads = 4, c.kv_heads = 2, c.width = 19, c.value_width = 7;
      c.mask = mask;
      Problem<float> p(c, false);
      Workers workers;
      p.o.setZero();
      detail::run_compiled<float>(*set, compiled::Operation::attend, p.computed(), p.v_heads, Division(p.sequences),
                                  mutable_view_of(p.o), workers);
      const auto oracle = p.expected<double>();
      const auto naive = p.expected<float>();
      expect_as_good_as_naive<float>("o", p.o, naive.o, oracle.o, p.longest_sum());
      detail::run_compiled<float>(*set, compiled::Operation::attend_backward, p.computed(), p.v_heads,
                                  Division(p.sequences), view_of(p.o), view_of(p.d_o), mutable_view_of(p.d_q), workers);
      expect_as_good_as_naive<float>("d_q", p.d_q, naive.d_q, oracle.d_q, p.longest_sum());
      expect_as_good_as_naive<float>("d_k", p.d_k, naive.d_k, oracle.d_k, p.longest_sum());
      expect_as_good_as_naive<float>("d_v", p.d_v, naive.d_v, oracle.d_v, p.longest_sum());
    }
  }
}

TEST(CompiledKernels, GiveModelsTheExactnessOfInlinedOnes) {
  const ModelErrors errors = compiled_kernels::model_errors();
  const ModelErrors inlined = inlined_errors();
  const double floor = double(std::numeric_limits<float>::epsilon()) * 75;
  EXPECT_LE(errors.forward, 2 * std::max(inlined.forward, floor));
  EXPECT_LE(errors.decoded, 2 * std::max(inlined.decoded, floor));
  EXPECT_LE(errors.gradient, 2 * std::max(inlined.gradient, floor));
}

TEST(CompiledKernels, AllocateNothingInADecodeStep) {
  const Stack<float, Block<StandardAttention>, Block<ReuseTransformer>, Block<Mamba2>, Block<Mamba>> model(
      {.width = 64, .heads = 4});
  auto cache = model.make_cache({.positions = 300, .rows = 100});
  const Matrix<float> x = reference::random_matrix<float>(101, 64, "x");
  model.forward(x.topRows(100), cache);
  const Matrix<float> row = x.bottomRows(1);
  const std::size_t before = allocations_so_far();
  for (int step = 0; step < 3; ++step) model.forward(row, cache);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
