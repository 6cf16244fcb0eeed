#include "heed/testing/signal_source.hpp"

#include <gtest/gtest.h>

#include "reference/bounds.hpp"

namespace heed::testing {
namespace {

/// One training call of a source, by hand.
struct Source {
  std::vector<Index> lengths = {3, 0, 2};
  Shape shape{.width = 8, .head_width = 2, .value_width = 2, .group = 2, .heads = {0, 4}, .kv_heads = {0, 2}};
  SignalSource::Config config{lengths};
  SignalSource::Params<double> params{shape, config};
  NoCache cache;
  SignalSource::Record<double> record;
  Arena kept, scratch;
  Workers workers;
  Sequences rows = Sequences(std::span<const Index>(lengths));
  std::vector<Index> past = {0, 0, 0};
  std::vector<StateSlots> slots = {{}, {}, {}};
  Pass pass{rows.division(), past, {slots}, Purpose::training, kept, scratch, workers};
  HeadTable<HeadRows<double>> values = HeadTable<HeadRows<double>>::make(kept, 3, 2);
  HeadTable<Probabilities<double>> scores = HeadTable<Probabilities<double>>::make(kept, 3, 4);
  SignalTable tables[2] = {{values.entries, 3, 2, 2, nullptr}, {scores.entries, 3, 4, 4, nullptr}};
  Matrix<double> x = Matrix<double>::Ones(5, 8);
  Matrix<double> y = Matrix<double>::Zero(5, 8);

  Source() {
    Random(1, "values").normal(params.values, 1);
    Random(1, "scores").normal(params.scores, 1);
  }
  Call<SignalSource, double> call() {
    return {shape,
            config,
            params,
            Inputs<double, signals<>>(),
            Outputs<double, SignalSource::publishes>(std::span<const SignalTable>(tables)),
            cache,
            record,
            pass};
  }
};

TEST(SignalSource, HasAParameterForEveryValueAndEveryScore) {
  const Source source;
  EXPECT_EQ(source.params.values.rows(), 5);
  EXPECT_EQ(source.params.values.cols(), 2 * 2);
  EXPECT_EQ(source.params.scores.rows(), 4);
  EXPECT_EQ(source.params.scores.cols(), 3 * 3 + 2 * 2);
}

TEST(SignalSource, PublishesItsValues) {
  Source source;
  SignalSource::apply<double>(source.call(), view_of(source.x), mutable_view_of(source.y));
  for (Index b = 0; b < 3; ++b)
    for (Index g = 0; g < 2; ++g)
      EXPECT_TRUE(reference::same_bits(
          source.values.at(b, g).view(),
          Matrix<double>(source.params.values.block(source.rows.begin(b), 2 * g, source.rows.rows(b), 2))));
}

TEST(SignalSource, PublishesTheScoresOfEveryVisiblePair) {
  Source source;
  SignalSource::apply<double>(source.call(), view_of(source.x), mutable_view_of(source.y));
  for (Index h = 0; h < 4; ++h) {
    Index at = 0;
    for (Index b = 0; b < 3; ++b)
      for (Index t = 0; t < source.rows.rows(b); ++t)
        for (Index key = 0; key < source.rows.rows(b); ++key, ++at)
          EXPECT_EQ(source.scores.at(b, h)(t, key), key <= t ? source.params.scores(h, at) : 0);
  }
}

TEST(SignalSource, AddsNothingToItsOutput) {
  Source source;
  SignalSource::apply<double>(source.call(), view_of(source.x), mutable_view_of(source.y));
  EXPECT_TRUE((source.y.array() == 0).all());
}

TEST(SignalSource, ReturnsTheGradientsThatItsReadersLeft) {
  Source source;
  SignalSource::apply<double>(source.call(), view_of(source.x), mutable_view_of(source.y));
  double next = 1;
  for (Index b = 0; b < 3; ++b) {
    for (Index g = 0; g < 2; ++g)
      for (Index t = 0; t < source.rows.rows(b); ++t)
        for (Index e = 0; e < 2; ++e) source.values.at(b, g).gradient_view()(t, e) += next++;
    for (Index h = 0; h < 4; ++h)
      for (Index t = 0; t < source.rows.rows(b); ++t) {
        const std::vector<double> row(static_cast<std::size_t>(source.rows.rows(b)), next++);
        source.scores.at(b, h).add_gradient_row(t, row.data());
      }
  }

  SignalSource::Params<double> gradients = zeros_like(source.params);
  gradients.values.setConstant(100);  // backward adds
  Matrix<double> d_x = Matrix<double>::Zero(5, 8);
  SignalSource::backward<double>(source.call(), view_of(source.x), view_of(source.y), mutable_view_of(d_x), gradients);
  next = 1;
  Index at = 0;
  for (Index b = 0; b < 3; ++b) {
    for (Index g = 0; g < 2; ++g)
      for (Index t = 0; t < source.rows.rows(b); ++t)
        for (Index e = 0; e < 2; ++e) EXPECT_EQ(gradients.values(source.rows.begin(b) + t, 2 * g + e), 100 + next++);
    for (Index h = 0; h < 4; ++h)
      for (Index t = 0; t < source.rows.rows(b); ++t, ++next)
        for (Index key = 0; key < source.rows.rows(b); ++key)
          EXPECT_EQ(gradients.scores(h, at + t * source.rows.rows(b) + key), key <= t ? next : 0);
    at += source.rows.rows(b) * source.rows.rows(b);
  }
  EXPECT_TRUE((d_x.array() == 0).all());
}

}  // namespace
}  // namespace heed::testing
