#include "heed/mixers/mixer.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/reused_scores.hpp"
#include "heed/mixers/shared_values.hpp"

namespace heed {
namespace {

struct gates {
  static constexpr std::string_view name = "gates";
  static constexpr Alignment alignment = Alignment::layer;
};

static_assert(std::is_same_v<Entry<values, float>, HeadRows<float>>);
static_assert(std::is_same_v<Entry<scores, double>, Probabilities<double>>);
static_assert(std::is_same_v<Entry<gates, float>, HeadRows<float>>, "a user's signal is rows unless specialised");

static_assert(Mixer<SharedValues<>> && Mixer<ReusedScores>);
static_assert(!Mixer<NoParams>);

/// A published signal of 2 sequences and 3 heads.
template <class Signal>
struct Table {
  Entry<Signal, float> entries[6] = {};
  unsigned char wanted[3] = {1, 0, 1};
  SignalTable erased{entries, 2, 3, 3, wanted};
  Published<Signal, float> published{erased};
};

TEST(Published, KnowsWhichHeadsAreWanted) {
  const Table<values> of_values;
  EXPECT_TRUE(of_values.published.is_wanted(0));
  EXPECT_FALSE(of_values.published.is_wanted(1));
  SignalTable unread = of_values.erased;
  unread.wanted = nullptr;
  EXPECT_FALSE((Published<values, float>(unread).is_wanted(0)));
}

TEST(Published, GoesThroughErasureUnchanged) {
  Table<values> of_values;
  const SignalTable erased = of_values.published.erased();
  EXPECT_EQ(erased.entries, of_values.entries);
  EXPECT_EQ(erased.sequences, 2);
  EXPECT_EQ(erased.heads, 3);
  EXPECT_EQ(erased.stride, 3);
  EXPECT_EQ(erased.wanted, of_values.wanted);
  EXPECT_EQ(&of_values.published.table.at(1, 2), &of_values.entries[5]);
}

using Both = signals<first<values>, nearest<scores>>;

TEST(Inputs, FindWhatEachTapWasFedInAnyOrder) {
  Table<values> of_values;
  Table<scores> of_scores;
  const Inputs<float, Both> one = {feed<first<values>>(of_values.published), feed<nearest<scores>>(of_scores.published)};
  const Inputs<float, Both> other = {feed<nearest<scores>>(of_scores.published), feed<first<values>>(of_values.published)};
  for (const auto& inputs : {one, other}) {
    EXPECT_EQ(inputs.get<first<values>>().entries, of_values.entries);
    EXPECT_EQ(inputs.get<nearest<scores>>().entries, of_scores.entries);
  }
}

TEST(Inputs, TakeTablesInTheOrderOfTheList) {
  Table<values> of_values;
  Table<scores> of_scores;
  const SignalTable tables[] = {of_values.erased, of_scores.erased};
  const Inputs<float, Both> inputs{std::span<const SignalTable>(tables)};
  EXPECT_EQ(inputs.get<first<values>>().entries, of_values.entries);
  EXPECT_EQ(inputs.get<nearest<scores>>().entries, of_scores.entries);
}

TEST(Inputs, TwoTapsOfOneSignalAreFedApart) {
  Table<values> low, high;
  const Inputs<float, signals<first<values>, nearest<values>>> inputs = {feed<nearest<values>>(high.published),
                                                                         feed<first<values>>(low.published)};
  EXPECT_EQ(inputs.get<first<values>>().entries, low.entries);
  EXPECT_EQ(inputs.get<nearest<values>>().entries, high.entries);
}

TEST(Inputs, APartTakesItsShare) {
  Table<values> of_values;
  Table<scores> of_scores;
  const Inputs<float, Both> whole = {feed<first<values>>(of_values.published), feed<nearest<scores>>(of_scores.published)};
  const Inputs<float, signals<nearest<scores>>> part(whole);
  EXPECT_EQ(part.get<nearest<scores>>().entries, of_scores.entries);
}

TEST(Outputs, FindTheTableOfEachSignal) {
  Table<values> of_values;
  Table<scores> of_scores;
  const SignalTable tables[] = {of_scores.erased, of_values.erased};
  const Outputs<float, signals<scores, values>> outputs{std::span<const SignalTable>(tables)};
  EXPECT_EQ(outputs.get<values>().table.entries, of_values.entries);
  EXPECT_EQ(outputs.get<scores>().table.entries, of_scores.entries);
  const Outputs<float, signals<values>> part(outputs);
  EXPECT_EQ(part.get<values>().table.entries, of_values.entries);
  EXPECT_EQ(part.tables().size(), 1u);
}

TEST(SignalInfos, SayHowToMakeTheTablesOfAList) {
  constexpr auto& infos = signal_infos<float, signals<values, gates>>::table;
  EXPECT_EQ(infos[0].name, "values");
  EXPECT_EQ(infos[0].alignment, Alignment::kv_heads);
  EXPECT_EQ(infos[0].entry_bytes, sizeof(HeadRows<float>));
  EXPECT_EQ(infos[1].name, "gates");
  EXPECT_EQ(infos[1].alignment, Alignment::layer);
  alignas(HeadRows<float>) unsigned char raw[2 * sizeof(HeadRows<float>)];
  std::fill(std::begin(raw), std::end(raw), static_cast<unsigned char>(0xFF));
  infos[0].construct(raw, 2);
  EXPECT_EQ(reinterpret_cast<const HeadRows<float>*>(raw)[1].rows, 0);
  EXPECT_EQ(reinterpret_cast<const HeadRows<float>*>(raw)[1].data, nullptr);
}

/// A component of one part.
struct Part {
  using consumes = signals<first<values>>;
  using publishes = signals<scores>;
  struct Config {
    int number = 0;
  };
  template <class Scalar>
  using Params = NoParams;
  template <class Scalar>
  using Cache = NoCache;
  template <class Scalar>
  struct Record {
    int seen = 0;
  };
};
struct Whole : Part {
  using consumes = Both;
  using publishes = signals<values, scores>;
};

TEST(PartOf, HandsOnTheCircumstancesAndThePartsOwnCompanions) {
  Table<values> in_values, out_values;
  Table<scores> in_scores, out_scores;
  const SignalTable tables[] = {out_values.erased, out_scores.erased};
  const Shape shape;
  const Part::Config config, part_config{.number = 5};
  const NoParams params;
  NoCache cache;
  Part::Record<float> record, part_record;
  const Sequences rows{1};
  const Index past[] = {0};
  const StateSlots slots[] = {{}};
  Arena kept, scratch;
  Workers workers;
  const Pass pass{rows.division(), past, {slots}, Purpose::inference, kept, scratch, workers};
  const Call<Whole, float> whole = {shape,
                                    config,
                                    params,
                                    {feed<first<values>>(in_values.published), feed<nearest<scores>>(in_scores.published)},
                                    Outputs<float, Whole::publishes>(std::span<const SignalTable>(tables)),
                                    cache,
                                    record,
                                    pass};
  const Call<Part, float> part = part_of<Part>(whole, part_config, params, cache, part_record);
  EXPECT_EQ(&part.shape, &shape);
  EXPECT_EQ(part.config.number, 5);
  EXPECT_EQ(&part.record, &part_record);
  EXPECT_EQ(&part.pass, &pass);
  EXPECT_EQ(part.inputs.get<first<values>>().entries, in_values.entries);
  EXPECT_EQ(part.outputs.get<scores>().table.entries, out_scores.entries);
}

}  // namespace
}  // namespace heed
