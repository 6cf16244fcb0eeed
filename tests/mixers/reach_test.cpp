#include "heed/mixers/reach.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/side_by_side.hpp"

namespace heed {
namespace {

using Heads = std::vector<unsigned char>;

constexpr Shape layer = {.width = 24, .head_width = 4, .group = 2, .heads = {0, 6}, .kv_heads = {0, 3}};
const Shape upper = layer.kv_range(1, 2);  // kv heads 1 and 2, query heads 2 to 5

template <class Consumes, class Publishes>
struct Plain {
  static constexpr std::string_view name = "plain";
  using consumes = Consumes;
  using publishes = Publishes;
  struct Config {};
};
using Standard = Plain<signals<>, signals<values, scores>>;
using Reuse = Plain<signals<nearest<scores>>, signals<values, scores>>;
using Residual = Plain<signals<first<values>>, signals<values, scores>>;
using Recurrent = Plain<signals<>, signals<>>;
using Reused = SideBySide<Standard, Reuse>;
using Mixed = SideBySide<Recurrent, Residual>;

/// Says everything itself.
struct Particular : Plain<signals<>, signals<values>> {
  static std::string describe(const Config&) { return "particular"; }
  static bool sees_ahead(const Config&) { return true; }
  static Index scratch_per_row(const Shape& shape, const Config&) { return 7 * shape.width; }
  static void check(const Shape& shape, const Config&, std::string_view name) {
    HEED_EXPECTS(ConfigError, shape.width == 0, name, ": no width will do");
  }
  static void mark_published(std::string_view, Alignment, const Shape&, const Config&, std::span<unsigned char> heads) {
    heads[0] = 1;
  }
  static void mark_read(const TapInfo&, Alignment, const Shape&, const Config&, std::span<unsigned char> heads) {
    heads[1] = 1;
  }
};

template <class Tap>
constexpr TapInfo tap = {Tap::name, Tap::signal::name, &Tap::source};

template <class Component>
Heads published(std::string_view signal, Alignment alignment, const Shape& shape,
                const typename Component::Config& config = {}) {
  Heads heads(static_cast<std::size_t>(own_heads(alignment, layer).count));
  mark_published<Component>(signal, alignment, shape, config, heads);
  return heads;
}
template <class Component, class Tap>
Heads read(const Shape& shape, const typename Component::Config& config = {}) {
  Heads heads(static_cast<std::size_t>(own_heads(Tap::signal::alignment, layer).count));
  mark_read<Component>(tap<Tap>, Tap::signal::alignment, shape, config, heads);
  return heads;
}

TEST(Reach, OwnHeadsAreThoseOfTheShape) {
  EXPECT_EQ(own_heads(Alignment::kv_heads, upper), (HeadRange{1, 2}));
  EXPECT_EQ(own_heads(Alignment::heads_from_first, upper), (HeadRange{2, 4}));
  EXPECT_EQ(own_heads(Alignment::layer, upper), (HeadRange{0, 1}));
}

TEST(Reach, ScoresAreReadFromHeadZeroAndValuesFromTheSameHeads) {
  EXPECT_EQ(read_heads(Alignment::heads_from_first, upper), (HeadRange{0, 4}));
  EXPECT_EQ(read_heads(Alignment::kv_heads, upper), (HeadRange{1, 2}));
  EXPECT_EQ(read_heads(Alignment::layer, upper), (HeadRange{0, 1}));
}

TEST(Reach, AMixerPublishesItsOwnHeads) {
  EXPECT_EQ(published<Standard>("scores", Alignment::heads_from_first, layer), (Heads{1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(published<Standard>("scores", Alignment::heads_from_first, upper), (Heads{0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(published<Standard>("values", Alignment::kv_heads, upper), (Heads{0, 1, 1}));
  EXPECT_EQ(published<Recurrent>("values", Alignment::kv_heads, layer), (Heads{0, 0, 0}));
}

TEST(Reach, AMixerReadsThroughItsOwnTapsOnly) {
  EXPECT_EQ((read<Reuse, nearest<scores>>(upper)), (Heads{1, 1, 1, 1, 0, 0}));
  EXPECT_EQ((read<Residual, first<values>>(upper)), (Heads{0, 1, 1}));
  EXPECT_EQ((read<Residual, nearest<values>>(layer)), (Heads{0, 0, 0}));
}

TEST(Reach, TwoMixersSideBySidePublishTheHeadsOfThoseThatPublish) {
  EXPECT_EQ(published<Mixed>("values", Alignment::kv_heads, layer, {.second_kv_heads = 2}), (Heads{0, 1, 1}));
  EXPECT_EQ(published<Reused>("scores", Alignment::heads_from_first, layer, {.second_kv_heads = 1}),
            (Heads{1, 1, 1, 1, 1, 1}));
}

TEST(Reach, PartialReuseReadsAsManyOfTheFirstHeadsAsItReplaces) {
  EXPECT_EQ((read<Reused, nearest<scores>>(layer, {.second_kv_heads = 1})), (Heads{1, 1, 0, 0, 0, 0}));
  EXPECT_EQ((read<Reused, nearest<scores>>(layer, {.second_kv_heads = 0})), (Heads{0, 0, 0, 0, 0, 0}));
}

TEST(Reach, TapsAreTheSameIfTheyFindTheSameSignalInTheSameWay) {
  EXPECT_TRUE(same_tap(tap<first<values>>, tap<first<values>>));
  EXPECT_FALSE(same_tap(tap<first<values>>, tap<nearest<values>>));
  EXPECT_FALSE(same_tap(tap<first<values>>, tap<first<scores>>));
}

TEST(Reach, AComponentIsDescribedByItsNameOrByItself) {
  EXPECT_EQ(describe<Standard>({}), "plain");
  EXPECT_EQ(describe<Particular>({}), "particular");
  EXPECT_EQ(describe<Mixed>({}), "plain | plain");
}

TEST(Reach, WhatAComponentDoesNotSayHasADefault) {
  EXPECT_FALSE(sees_ahead<Standard>({}));
  EXPECT_EQ(scratch_per_row<Standard>(layer, {}), 0);
  EXPECT_NO_THROW(check_config<Standard>(layer, {}, "layer 0"));
}

TEST(Reach, WhatAComponentSaysItselfHolds) {
  EXPECT_TRUE(sees_ahead<Particular>({}));
  EXPECT_EQ(whole_rows<Particular>({}), unbounded);
  EXPECT_EQ(scratch_per_row<Particular>(layer, {}), 7 * 24);
  EXPECT_THROW(check_config<Particular>(layer, {}, "layer 0"), ConfigError);
  EXPECT_EQ(published<Particular>("values", Alignment::kv_heads, layer), (Heads{1, 0, 0}));
  EXPECT_EQ((read<Particular, nearest<values>>(layer)), (Heads{0, 1, 0}));
}

TEST(Reach, APartPublishesTheHeadsOfItsKvRange) {
  HeadRows<float> rows[2 * 3] = {};
  Probabilities<float> kept[2 * 6];
  const unsigned char wanted[6] = {};
  const SignalTable of_values =
      published_part({rows, 2, 3, 3, wanted, Alignment::kv_heads, sizeof(HeadRows<float>)}, 1, 2, 2);
  EXPECT_EQ(of_values.entries, rows + 1);
  EXPECT_EQ(of_values.heads, 2);
  EXPECT_EQ(of_values.stride, 3);
  EXPECT_EQ(of_values.wanted, wanted + 1);
  const SignalTable of_scores =
      published_part({kept, 2, 6, 6, wanted, Alignment::heads_from_first, sizeof(Probabilities<float>)}, 1, 2, 2);
  EXPECT_EQ(of_scores.entries, kept + 2);
  EXPECT_EQ(of_scores.heads, 4);
  EXPECT_EQ(of_scores.stride, 6);
  EXPECT_EQ(of_scores.wanted, wanted + 2);
}

TEST(Reach, APartReadsTheValuesOfItsKvRangeAndTheProbabilitiesFromTheFirstOn) {
  HeadRows<float> rows[2 * 3] = {};
  Probabilities<float> kept[2 * 6];
  const SignalTable of_values = read_part({rows, 2, 3, 3, nullptr, Alignment::kv_heads, sizeof(HeadRows<float>)}, 1, 2, 2);
  EXPECT_EQ(of_values.entries, rows + 1);
  EXPECT_EQ(of_values.heads, 2);
  const SignalTable of_scores =
      read_part({kept, 2, 6, 6, nullptr, Alignment::heads_from_first, sizeof(Probabilities<float>)}, 1, 2, 2);
  EXPECT_EQ(of_scores.entries, kept);
  EXPECT_EQ(of_scores.heads, 4);
}

TEST(Reach, ATableOfAWholeLayerIsEveryPartsWhole) {
  HeadRows<float> rows[2];
  const SignalTable of_layer = {rows, 2, 1, 1, nullptr, Alignment::layer, sizeof(HeadRows<float>)};
  EXPECT_EQ(published_part(of_layer, 1, 2, 2).entries, rows);
  EXPECT_EQ(read_part(of_layer, 1, 2, 2).entries, rows);
  EXPECT_EQ(read_part(of_layer, 1, 2, 2).heads, 1);
}

TEST(Reach, ATableIsMadeAsItsSignalSays) {
  Arena arena;
  const unsigned char wanted[3] = {};
  for (const SignalInfo& info : signal_infos_of<Standard, float>({})) {
    const SignalTable table = make_table(arena, info, 2, wanted);
    EXPECT_EQ(table.alignment, info.alignment);
    EXPECT_EQ(table.entry_bytes, info.entry_bytes);
  }
}

}  // namespace
}  // namespace heed
