// Masks, scaled positions and forms of blocks against PyTorch.
#include <heed/mixers/variants.hpp>

#include "golden.hpp"

namespace heed {
namespace {

using golden::expect_golden;
using golden::expect_results;
using golden::Golden;
using Standard = StandardAttention;

void expect_standard(const std::string& name, const Standard::Config& config) {
  expect_golden<Standard, Standard>(Golden(name), "standard standard", config, config);
}

TEST(Golden, mask_prefix) {
  expect_standard("mask_prefix", {.scores = {.mask = prefix_lm(5)}});
}

TEST(Golden, mask_chunked) {
  expect_standard("mask_chunked", {.scores = {.mask = chunked(4)}});
}

TEST(Golden, mask_streaming) {
  expect_standard("mask_streaming", {.scores = {.mask = streaming(2, 3)}});
}

void expect_scaled(const std::string& name, const RotaryScaling& scaling) {
  expect_standard(name, {.scores = {.positions = Rotary{.scaling = scaling}}});
}

TEST(Golden, rotary_linear) {
  expect_scaled("rotary_linear", LinearScaling{4});
}

TEST(Golden, rotary_ntk) {
  expect_scaled("rotary_ntk", NtkScaling{4});
}

TEST(Golden, rotary_dynamic) {
  expect_scaled("rotary_dynamic", DynamicNtkScaling{.factor = 4, .original_positions = 8, .positions = 16});
}

TEST(Golden, rotary_llama3) {
  expect_scaled("rotary_llama3", Llama3Scaling{.factor = 4, .low = 1, .high = 4, .original_positions = 8});
}

TEST(Golden, rotary_longrope) {
  expect_scaled(
      "rotary_longrope",
      LongRopeScaling{
          .short_factors = {1, 1, 1}, .long_factors = {1.5, 2, 5}, .factor = 4, .original_positions = 8, .positions = 16});
}

/// Two blocks of a kind, as types and from a list.
template <class BlockType>
void expect_blocks(const std::string& name, const std::string& text, const typename BlockType::Config& block) {
  const Golden golden(name);
  EXPECT_EQ(golden.text("block"), text);
  const Sizes& sizes = golden.sizes;
  using Model = Stack<float, BlockType, BlockType>;
  typename Model::Config config{sizes.width,      sizes.heads,       sizes.kv_heads,
                                sizes.head_width, sizes.value_width, sizes.hidden};
  config.template layer<0>() = config.template layer<1>() = block;
  Model model(config);
  expect_results<float>(golden, model);
  const auto layer = choose_block<BlockType>(block);
  auto chosen = DynamicStack<double>::build(sizes, {layer, layer});
  expect_results<double>(golden, chosen);
}

TEST(Golden, block_post_norm) {
  using Relued = Block<Standard, FeedForward<Relu>, LayerNorm, PostNorm>;
  expect_blocks<Relued>("block_post_norm", "post_norm layer_norm relu", {.feed_forward = {.biases = true}});
}

TEST(Golden, block_parallel) {
  using Joint = Block<Standard, FeedForward<Gelu>, LayerNorm, ParallelForm>;
  expect_blocks<Joint>("block_parallel", "parallel layer_norm gelu", {.feed_forward = {.biases = true}});
}

TEST(Golden, block_sandwich) {
  expect_blocks<Block<Standard, GatedFeedForward<GeluTanh>, RmsNorm, Sandwich>>("block_sandwich",
                                                                                "sandwich rms_norm geglu_tanh", {});
}

}  // namespace
}  // namespace heed
