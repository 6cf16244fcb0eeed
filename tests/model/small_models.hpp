// The language models that the tests of model/ share: two kinds of layers, small enough to differentiate every weight.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../reference/bounds.hpp"
#include "heed/mixers/attention.hpp"
#include "heed/mixers/cross_attention.hpp"
#include "heed/mixers/shared_values.hpp"
#include "heed/model/language_model.hpp"
#include "heed/model/stack.hpp"

namespace heed::small_models {

using StandardBlock = Block<Attention<ComputedScores, ProjectedValues>>;
using SharingBlock = Block<Attention<ComputedScores, SharedValues<>>>;
template <class Scalar>
using Layers = Stack<Scalar, StandardBlock, SharingBlock>;
template <class Scalar>
using Tied = LanguageModel<Layers<Scalar>>;
template <class Scalar>
using Untied = LanguageModel<Layers<Scalar>, UntiedHead>;

inline constexpr Index V = 11;

template <class Scalar = double>
Layers<Scalar> small() {
  return Layers<Scalar>({.width = 8, .heads = 2, .kv_heads = 1, .hidden = 12});
}
/// Big enough for every product to be cut into several jobs.
template <class Scalar = double>
Layers<Scalar> medium() {
  return Layers<Scalar>({.width = 48, .heads = 4, .kv_heads = 2});
}

/// A layer below that attends to a memory of at most four rows.
template <class Scalar>
using Reader = LanguageModel<Stack<Scalar, Block<CrossAttention>, StandardBlock>>;
template <class Scalar>
Reader<Scalar> reader() {
  typename Stack<Scalar, Block<CrossAttention>, StandardBlock>::Config config{.width = 8, .heads = 2, .hidden = 12};
  config.template layer<0>().mixer.memory_positions = 4;
  return Reader<Scalar>(V, Stack<Scalar, Block<CrossAttention>, StandardBlock>(config));
}

inline std::vector<int> some_tokens(Index count, Index vocabulary, std::string_view name = "tokens") {
  Random random(3, name);
  std::vector<int> tokens;
  for (Index i = 0; i < count; ++i) tokens.push_back(static_cast<int>(random.uniform() * static_cast<double>(vocabulary)));
  return tokens;
}

/// Weights large enough for attention to matter.
template <class Model>
void enlarge(Model& model) {
  visit([](std::string_view name, Role, auto& tensor) { Random(5, name).normal(tensor, 0.5); }, model.params());
}

template <class A, class B>
void expect_same_tensors(const A& a, const B& b) {
  visit([](std::string_view name, Role, const auto& x, const auto& y) { EXPECT_TRUE(reference::same_bits(x, y)) << name; },
        a, b);
}

/// The text of the ShapeError that f raises.
template <class F>
std::string shape_error(F&& f) {
  try {
    f();
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "no ShapeError";
}

}  // namespace heed::small_models
