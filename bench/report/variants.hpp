// What is compared, and how it is shown. Their layers: layers.hpp.
#pragma once

#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <heed/core/matrix.hpp>

namespace report {

using heed::Index;

struct Variant {
  std::string_view key;     // on the command line and in files
  std::string_view name;    // on the page
  std::string_view colour;  // of its curves; black is the colour of the page's text
  std::string_view dashes;  // of its curves, as gnuplot writes them
  std::string_view sentence;
  std::string_view source;
};

/// All variants, in the order of the page.
inline std::span<const Variant> all_variants() {
  static constexpr Variant menu[] = {
      {"standard", "Standard", "black", "1", "Every layer computes its own scores and projects its own values.",
       "Vaswani et al. 2017"},
      {"resformer", "ResFormer (fixed)", "#2f7ed8", "(14,6)",
       "Above the first layer, values are half the layer's own and half the first layer's.", "Zhou et al. 2024"},
      {"resformer-learned", "ResFormer (learned)", "#9a4fe0", "(3,5)",
       "The same, with both coefficients learned: a pair for each layer.", "Zhou et al. 2024"},
      {"svformer", "SVFormer", "#d99a00", "(14,4,3,4)",
       "All layers attend over the first layer's values: those above have no W_v and cache K only.", "Zhou et al. 2024"},
      {"score-reuse", "Score reuse", "#d6402f", "(8,4)",
       "Every second layer takes the probabilities of the layer below: it has no W_q and W_k and caches V only.",
       "Bhojanapalli et al. 2021"},
      {"recurrent-mix", "Recurrent mix", "#3a9d3a", "(20,4,3,4,3,4)",
       "In every layer half of the kv groups attend; Mamba-2 heads with states of constant size replace the others.",
       "Yan et al. 2024; Dao and Gu 2024"},
  };
  return menu;
}

/// The variants of these keys, in the order of the page; all of them if none is given. Raises std::invalid_argument for a
/// key that is not on the menu.
inline std::vector<const Variant*> pick_variants(const std::vector<std::string>& keys) {
  std::string menu;
  for (const Variant& variant : all_variants()) menu += (menu.empty() ? "" : ", ") + std::string(variant.key);
  for (const std::string& key : keys)
    if (std::ranges::none_of(all_variants(), [&](const Variant& variant) { return variant.key == key; }))
      throw std::invalid_argument("variants: expected names among " + menu + "; found '" + key + "'");
  std::vector<const Variant*> picked;
  for (const Variant& variant : all_variants())
    if (keys.empty() || std::ranges::find(keys, variant.key) != keys.end()) picked.push_back(&variant);
  return picked;
}

}  // namespace report
