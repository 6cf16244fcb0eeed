// The same bits for any number of threads: outputs, gradients, and weights after a step of the optimizer.
//
// This file is compiled twice, the second time with -fopenmp, which has Eigen thread by itself; both programs print the
// hash of all results, which tests/openmp compares.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "heed/threads/pool.hpp"
#include "heed/training/adamw.hpp"
#include "model/guarantees/variants.hpp"
#include "reference/bounds.hpp"
#include "reference/executors.hpp"

namespace heed::guarantees {
namespace {

struct Result {
  std::string name;
  Matrix<float> value;
};

/// What the model computes for a prompt longer than one cut of keys and for the rows after it, a batch's output and
/// gradients, and the weights after one step.
template <class Model>
std::vector<Result> results_of(Model model, Executor* executor) {
  const Index width = model.shape().width;
  std::vector<Result> results;
  {
    const Index prompt = 1100;
    auto cache = model.make_cache({.sequences = 3, .positions = prompt + 3, .rows = prompt + 7, .executor = executor});
    const Matrix<float> x = reference::random_matrix<float>(prompt + 7, width, "x");
    results.push_back({"prefill", model.forward(x, Sequences({7, prompt, 0}), cache)});
    results.push_back({"few rows", model.forward(x.topRows(5), Sequences({1, 2, 2}), cache)});
    results.push_back({"decode", model.forward(x.topRows(3), Sequences({1, 1, 1}), cache)});
  }
  const Sequences sequences({150, 0, 1, 70});
  auto tape = model.make_tape(sequences, {.executor = executor});
  results.push_back({"output", model.forward(reference::random_matrix<float>(sequences.rows(), width, "x"), tape)});
  auto gradients = model.make_gradients();
  const Matrix<float> d_output = reference::random_matrix<float>(sequences.rows(), width, "d_output");
  results.push_back({"gradient of x", model.backward(d_output, tape, gradients)});
  const auto add_all = [&](const std::string& what, const auto& params) {
    visit(
        [&](std::string_view name, Role, const Matrix<float>& tensor) {
          results.push_back({what + std::string(name), tensor});
        },
        params);
  };
  add_all("gradient of ", gradients);
  AdamW optimizer(model.make_gradients(), {}, executor);
  optimizer.step(model.params(), gradients, 1e-2);
  add_all("weight ", model.params());
  return results;
}

void add_to_hash(std::uint64_t& hash, const Matrix<float>& value) {
  std::vector<unsigned char> bytes(static_cast<std::size_t>(value.size()) * sizeof(float));
  if (!bytes.empty()) std::memcpy(bytes.data(), value.data(), bytes.size());
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001B3u;
}

TEST(ThreadBits, NothingDependsOnTheNumberOfThreads) {
  Pool two(2), three(3);
  reference::Backwards backwards(3);
  std::uint64_t hash = 0xCBF29CE484222325u;
  for_each_chosen_variant(
      {.width = 32, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 80}, [&](const char* variant, const auto& model) {
        const std::vector<Result> alone = results_of(model, nullptr);
        for (const Result& result : alone) add_to_hash(hash, result.value);
        for (Executor* executor :
             {static_cast<Executor*>(&two), static_cast<Executor*>(&three), static_cast<Executor*>(&backwards)}) {
          const std::vector<Result> together = results_of(model, executor);
          ASSERT_EQ(together.size(), alone.size());
          for (std::size_t i = 0; i < alone.size(); ++i)
            EXPECT_TRUE(reference::same_bits(together[i].value, alone[i].value))
                << variant << ", " << alone[i].name << ", " << executor->workers() << " workers";
        }
      });
  std::printf("hash of all results: %016llx\n", static_cast<unsigned long long>(hash));
}

TEST(ThreadBits, EigenThreadsByItselfWhereThisIsCompiledWithOpenMp) {
#if defined(_OPENMP)
  EXPECT_GT(Eigen::nbThreads(), 1) << "set OMP_NUM_THREADS";
#else
  EXPECT_EQ(Eigen::nbThreads(), 1);
#endif
}

}  // namespace
}  // namespace heed::guarantees
