// Every variant as a small stack, for guarantees that hold whatever the layers are.
#pragma once

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/model/stack.hpp"

namespace heed::guarantees {

using Standard = StandardAttention;

/// f(name, model) for every variant, its layers as types. Weights are as a new model has them.
template <class F>
void for_each_variant(const Sizes& sizes, F&& f) {
  const auto pass = [&]<class... Mixers>(const char* name, signals<Mixers...>) {
    f(name, Stack<float, Block<Mixers>...>(
                {sizes.width, sizes.heads, sizes.kv_heads, sizes.head_width, sizes.value_width, sizes.hidden}));
  };
  pass("standard", signals<Standard, Standard>());
  pass("residual values", signals<Standard, ResidualValueAttention>());
  pass("learned residual values", signals<Standard, LearnedResidualValueAttention>());
  pass("shared values", signals<Standard, SharedValueAttention>());
  pass("score reuse", signals<Standard, ScoreReuseAttention>());
  pass("partial score reuse", signals<Standard, PartialScoreReuseAttention>());
  pass("Mamba-1", signals<Mamba, SideBySide<Standard, Mamba>>());
  pass("Mamba-2", signals<Mamba2, Mamba2>());
  pass("recurrent heads", signals<RecurrentMixAttention, RecurrentMixAttention>());
  pass("all five",
       signals<Standard, ResidualValueAttention, ScoreReuseAttention, SharedValueAttention, RecurrentMixAttention>());
}

/// The same layers, chosen at run time.
template <class F>
void for_each_chosen_variant(const Sizes& sizes, F&& f) {
  using Model = DynamicStack<float>;
  const Model::Layer standard = choose<Standard>(), reuse = choose<ScoreReuseAttention>(),
                     residual = choose<ResidualValueAttention>(), shared = choose<SharedValueAttention>(),
                     recurrent = choose_side_by_side(choose<Standard>(), choose<Mamba2>());
  const auto pass = [&](const char* name, const std::vector<Model::Layer>& layers) {
    f(name, Model::build(sizes, layers));
  };
  pass("standard", {standard, standard});
  pass("residual values", {standard, residual});
  pass("learned residual values", {standard, choose<LearnedResidualValueAttention>()});
  pass("shared values", {standard, shared});
  pass("score reuse", {standard, reuse});
  pass("partial score reuse", {standard, choose_side_by_side(choose<Standard>(), choose<ScoreReuseAttention>())});
  pass("Mamba-1", {choose<Mamba>(), choose_side_by_side(choose<Standard>(), choose<Mamba>())});
  pass("Mamba-2", {choose<Mamba2>(), choose<Mamba2>()});
  pass("recurrent heads", {recurrent, recurrent});
  pass("all five", {standard, residual, reuse, shared, recurrent});
}

}  // namespace heed::guarantees
