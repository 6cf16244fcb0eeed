// What a model is, in words: who reads whom, parameters by layer, the cache plan, and the work on a token.
//
//   std::cout << heed::inspect(model);
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "language_model.hpp"
#include "layered.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

/// 1234567 as 1,234,567.
inline std::string grouped(Index number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

/// Lines of cells under a heading, in columns as wide as their widest cell. The first two columns are text, the rest
/// numbers.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> heading) { add(std::move(heading)); }
  void add(std::vector<std::string> cells) {
    widths_.resize((std::max)(widths_.size(), cells.size()));
    for (std::size_t i = 0; i < cells.size(); ++i) widths_[i] = (std::max)(widths_[i], cells[i].size());
    lines_.push_back(std::move(cells));
  }
  std::string text(std::size_t text_columns) const {
    std::string all;
    for (const std::vector<std::string>& line : lines_) {
      std::string row;
      for (std::size_t i = 0; i < line.size(); ++i) {
        const std::string gap(widths_[i] - line[i].size(), ' ');
        row += (i == 0 ? "" : "  ") + (i < text_columns ? line[i] + gap : gap + line[i]);
      }
      all += row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
    }
    return all;
  }

 private:
  std::vector<std::size_t> widths_;
  std::vector<std::vector<std::string>> lines_;
};

/// "first<values> from layer 0, ..." for the taps of one layer.
inline std::string readings(const LayerWiring& layer) {
  std::string all;
  for (std::size_t tap = 0; tap < layer.taps.size(); ++tap) {
    const TapInfo& info = layer.signals.consumes[tap];
    const int source = layer.taps[tap].layer;
    all += (all.empty() ? "" : ", ") + std::string(info.name) + "<" + std::string(info.signal) + "> from " +
           (source == nowhere ? "outside" : "layer " + std::to_string(source));
  }
  return all.empty() ? "-" : all;
}

/// Numbers in matrices that rows are multiplied with.
template <class Params>
Index matrix_numbers(const Params& params) {
  Index count = 0;
  visit(
      [&](std::string_view, Role role, const auto& tensor) {
        if (role == Role::matrix || role == Role::output) count += tensor.size();
      },
      params);
  return count;
}

}  // namespace detail

/// The bytes that a cache with these options allocates for the layers of a model. ShapeError for those that make_cache
/// refuses.
template <class Scalar, class... Kinds>
Index planned_cache_bytes(const Layered<Scalar, Kinds...>& model, const CacheOptions& options) {
  model.expects_countable(options);
  const Index slots = options.checkpoints + 2 * (options.recent_states + 1);
  Index bytes = 0;
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(model.layers()); ++layer) {
    const CachePlan plan = model.plan().cache(layer);
    bytes += options.positions * plan.per_position * bytes_of<Scalar>(options.storage) +
             (plan.per_sequence + slots * plan.per_state) * bytes_of<Scalar>(Storage::arithmetic);
  }
  return options.sequences * bytes;
}
/// The same for a cache of one sequence, with one checkpoint.
template <class Scalar, class... Kinds>
Index planned_cache_bytes(const Layered<Scalar, Kinds...>& model, Index positions) {
  return planned_cache_bytes(model, {.positions = positions});
}

/// Floating-point operations of the layers for one new token of a sequence that is `positions` long then: two for every
/// number of a matrix, and what the mixers say (see `flops` in mixers/reach.hpp).
template <class Scalar, class... Kinds>
Index flops_per_token(const Layered<Scalar, Kinds...>& model, Index positions) {
  Index count = 2 * detail::matrix_numbers(model.params());
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(model.layers()); ++layer)
    count += model.plan().flops(layer, positions);
  return count;
}

struct InspectOptions {
  std::vector<Index> positions = {1024, 8192, 32768};  // of a sequence, for its cache and the work on its next token
};

/// A page of text on the layers of a model. ShapeError for positions that no cache has.
template <class Scalar, class... Kinds>
std::string inspect(const Layered<Scalar, Kinds...>& model, const InspectOptions& options = {}) {
  using detail::grouped;
  const Shape& shape = model.shape();
  const auto bytes = static_cast<Index>(sizeof(Scalar));
  std::string text = "width " + std::to_string(shape.width) + ", " + std::to_string(shape.heads.count) + " heads, " +
                     std::to_string(shape.kv_heads.count) + " kv heads, head width " + std::to_string(shape.head_width) +
                     (shape.value_width == shape.head_width ? "" : ", value width " + std::to_string(shape.value_width)) +
                     ", hidden " + std::to_string(shape.hidden) + "\n\n";

  const auto count = static_cast<std::size_t>(model.layers());
  Index parameters = 0;
  CachePlan sum;
  for (std::size_t layer = 0; layer < count; ++layer) {
    sum = sum + model.plan().cache(layer);
    parameters += model.parameters(layer);
  }
  // What a sequence takes whatever its length is rare: it has a column where there is some.
  const auto cells = [&](std::vector<std::string> line, const CachePlan& plan) {
    line.insert(line.end(), {grouped(plan.per_position * bytes), grouped(plan.per_state * bytes)});
    if (sum.per_sequence > 0) line.push_back(grouped(plan.per_sequence * bytes));
    return line;
  };
  std::vector<std::string> heading = {"layer", "mixer", "reads", "parameters", "bytes/position", "bytes/state slot"};
  if (sum.per_sequence > 0) heading.emplace_back("bytes/sequence");
  detail::TextTable layers(std::move(heading));
  for (std::size_t layer = 0; layer < count; ++layer)
    layers.add(cells({std::to_string(layer), model.plan().describe(layer), detail::readings(model.plan().wiring[layer]),
                      grouped(model.parameters(layer))},
                     model.plan().cache(layer)));
  layers.add(cells({"all", "", "", grouped(parameters)}, sum));
  text += layers.text(3) + "\n";
  if (model.weight_bytes() != parameters * bytes)
    text += grouped(model.weight_bytes()) + " bytes of weights: projections in 16 bits\n\n";

  detail::TextTable plan({"positions", "cache bytes of one sequence, one checkpoint", "FLOPs of the next token"});
  for (const Index positions : options.positions)
    plan.add(
        {grouped(positions), grouped(planned_cache_bytes(model, positions)), grouped(flops_per_token(model, positions))});
  return text + plan.text(0);
}

/// The same of a language model, with what stands around its layers.
template <class StackType, class Head, class Norm>
std::string inspect(const LanguageModel<StackType, Head, Norm>& model, const InspectOptions& options = {}) {
  const auto params = model.params();
  return "vocabulary " + std::to_string(model.vocabulary()) + ", parameters: embedding " +
         detail::grouped(params.embedding.size()) + ", norm " + detail::grouped(count_parameters(params.norm)) + ", head " +
         detail::grouped(count_parameters(params.head)) + ", all " + detail::grouped(count_parameters(params)) + "\n" +
         inspect(model.stack(), options);
}

}  // namespace heed::inline HEED_ABI
