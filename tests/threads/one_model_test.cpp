// One model used by several threads at once. Built with the preset `tsan`, these tests are what ThreadSanitizer watches.
//
// A model is const in forward and backward: threads share it, and each has its own cache, tape and gradients. What each
// computes has the bits of the same calls made one after the other.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "heed/threads/pool.hpp"
#include "reference/bounds.hpp"

namespace heed {
namespace {

using Model = Stack<float, Block<StandardAttention>, Block<ResidualValueAttention>, Block<SharedValueAttention>,
                    Block<ScoreReuseAttention>, Block<RecurrentMixAttention>>;

constexpr Index width = 16, prompt = 40, steps = 6;
constexpr std::size_t threads = 3;

Model small_model() {
  return Model({.width = width, .heads = 4, .kv_heads = 2});
}

std::string name_of(std::size_t caller) {
  return "caller " + std::to_string(caller);
}

/// What one conversation answers: the prompt, some steps, a rollback, the last step again.
std::vector<Matrix<float>> converse(const Model& model, std::size_t caller, Executor* executor) {
  auto cache = model.make_cache({.positions = prompt + steps + 1, .rows = prompt, .checkpoints = 1, .executor = executor});
  const Matrix<float> x = reference::random_matrix<float>(prompt + steps, width, name_of(caller));
  std::vector<Matrix<float>> answers;
  answers.push_back(model.forward(x.topRows(prompt), cache));
  const Mark mark = cache.checkpoint();
  for (Index step = 0; step < steps; ++step) answers.push_back(model.forward(x.row(prompt + step), cache));
  if (cache.rollback(mark)) answers.push_back(model.forward(x.row(prompt + steps - 1), cache));
  return answers;
}

/// The output and all gradients of one training pass.
std::vector<Matrix<float>> learn(const Model& model, std::size_t caller, Executor* executor) {
  const Sequences sequences({prompt, 0, 3});
  auto tape = model.make_tape(sequences, {.executor = executor});
  std::vector<Matrix<float>> results;
  results.push_back(model.forward(reference::random_matrix<float>(sequences.rows(), width, name_of(caller)), tape));
  auto gradients = model.make_gradients();
  results.push_back(model.backward(reference::random_matrix<float>(sequences.rows(), width, "d_y of " + name_of(caller)),
                                   tape, gradients));
  visit([&](std::string_view, Role, const Matrix<float>& tensor) { results.push_back(tensor); }, gradients);
  return results;
}

/// Runs call(caller) for several callers, each on a thread of its own, and expects of each what it gives alone.
template <class Call>
void expect_the_bits_of_one_after_the_other(Call&& call) {
  using Results = std::vector<Matrix<float>>;
  std::vector<Results> alone, together(threads);
  for (std::size_t caller = 0; caller < threads; ++caller) alone.push_back(call(caller));

  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < threads; ++caller)
    callers.emplace_back([&, caller] { together[caller] = call(caller); });
  for (std::thread& caller : callers) caller.join();

  for (std::size_t caller = 0; caller < threads; ++caller) {
    ASSERT_EQ(together[caller].size(), alone[caller].size());
    for (std::size_t i = 0; i < alone[caller].size(); ++i)
      EXPECT_TRUE(reference::same_bits(together[caller][i], alone[caller][i])) << name_of(caller) << ", result " << i;
  }
}

TEST(OneModel, AnswersSeveralThreadsWithTheBitsOfOneAfterTheOther) {
  const Model model = small_model();
  expect_the_bits_of_one_after_the_other([&](std::size_t caller) { return converse(model, caller, nullptr); });
}

TEST(OneModel, AnswersSeveralThreadsThatShareAPool) {
  const Model model = small_model();
  Pool pool(2);
  expect_the_bits_of_one_after_the_other([&](std::size_t caller) { return converse(model, caller, &pool); });
}

TEST(OneModel, AnswersSeveralThreadsWithPoolsOfTheirOwn) {
  const Model model = small_model();
  expect_the_bits_of_one_after_the_other([&](std::size_t caller) {
    Pool pool(2);
    return converse(model, caller, &pool);
  });
}

TEST(OneModel, GivesSeveralThreadsGradientsOfTheirOwn) {
  const Model model = small_model();
  expect_the_bits_of_one_after_the_other([&](std::size_t caller) { return learn(model, caller, nullptr); });
}

TEST(OneModel, GivesSeveralThreadsThatShareAPoolGradientsOfTheirOwn) {
  const Model model = small_model();
  Pool pool(2);
  expect_the_bits_of_one_after_the_other([&](std::size_t caller) { return learn(model, caller, &pool); });
}

// A model also reads what several forks read: none of them owns what it views.
TEST(OneModel, ContinuesTheForksOfOneCacheOnThreadsOfTheirOwn) {
  const Model model = small_model();
  auto cache = model.make_cache({.positions = prompt + 1, .rows = prompt});
  static_cast<void>(model.forward(reference::random_matrix<float>(prompt, width, "prompt"), cache));
  expect_the_bits_of_one_after_the_other([&](std::size_t caller) {
    auto fork = cache.fork();
    return std::vector<Matrix<float>>{model.forward(reference::random_matrix<float>(1, width, name_of(caller)), fork)};
  });
}

TEST(OneModel, IsMadeByThreadsThatShareNothing) {
  expect_the_bits_of_one_after_the_other([](std::size_t caller) { return converse(small_model(), caller, nullptr); });
}

}  // namespace
}  // namespace heed
