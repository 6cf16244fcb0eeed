// A stack in which every kind of thing is cached: rows, states of Mamba-1 and Mamba-2, and scores that are read above.
#pragma once

#include "../reference/bounds.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed::cached_stacks {

using Model = DynamicStack<float>;

inline const Model& mixed() {
  static const Model model = [] {
    Model made =
        Model::build({.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 8},
                     {choose<StandardAttention>(), choose<Mamba>({.state_width = 2}), choose<SharedValueAttention>(),
                      choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>({.state_width = 3}), 1),
                      choose<PartialScoreReuseAttention>({.second_kv_heads = 1})});
    testing::detail::randomise(made.params(), 3);
    return made;
  }();
  return model;
}

/// The rows of a text: row t depends on the text's name and t alone.
inline Matrix<float> rows_of_text(std::string_view name, Index begin, Index count) {
  return reference::random_matrix<float>(64, 8, name).middleRows(begin, count);
}
/// Feeds the next `count` rows of one text to every sequence: rows of sequence b are those of texts[b].
inline Matrix<float> feed(Model::Cache& cache, const std::vector<std::string>& texts, const std::vector<Index>& counts) {
  const Sequences rows{std::span<const Index>(counts)};
  Matrix<float> x(rows.rows(), 8);
  for (Index b = 0; b < rows.size(); ++b)
    x.middleRows(rows.begin(b), rows.rows(b)) =
        rows_of_text(texts[static_cast<std::size_t>(b)], cache.length(b), rows.rows(b));
  return mixed().forward(x, rows, cache);
}

}  // namespace heed::cached_stacks
