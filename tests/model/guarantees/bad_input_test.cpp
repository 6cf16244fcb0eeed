// A call that cannot be done says what was expected and what was found, and changes nothing.
#include <gtest/gtest.h>

#include <string>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

// Keys, values, scores that are read above, and recurrent states.
using Model = Stack<float, Block<StandardAttention>, Block<ScoreReuseAttention>, Block<RecurrentMixAttention>>;
const Model::Config config{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};

Matrix<float> rows(Index count, Index width = 8) {
  return random_matrix<float>(count, width, "x");
}

/// Two sequences, of 3 and 1 positions, room for 6 each.
Model::Cache filled_cache(const Model& model) {
  auto cache = model.make_cache({.sequences = 2, .positions = 6, .rows = 4});
  static_cast<void>(model.forward(rows(4), Sequences({3, 1}), cache));
  return cache;
}

/// Expects that bad(model, cache) raises a ShapeError of this text, and that the cache goes on as one that never saw it.
template <class Bad>
void expect_refused(const std::string& text, Bad&& bad) {
  const Model model(config);
  auto cache = filled_cache(model), untouched = filled_cache(model);
  const Mark mark = cache.checkpoint();
  static_cast<void>(untouched.checkpoint());
  EXPECT_EQ(error_text<ShapeError>([&] { bad(model, cache); }), text);
  EXPECT_EQ(cache.length(0), 3);
  EXPECT_EQ(cache.length(1), 1);
  EXPECT_TRUE(cache.can_rollback(mark));
  const auto next = [&](Model::Cache& at) { return Matrix<float>(model.forward(rows(3), Sequences({1, 2}), at)); };
  EXPECT_TRUE(same_bits(next(cache), next(untouched)));
  EXPECT_TRUE(cache.rollback(mark));
  EXPECT_TRUE(same_bits(next(cache), next(untouched = filled_cache(model))));
}

TEST(BadInput, AnotherNumberOfColumnsIsRefused) {
  expect_refused("x: expected [2 x 8], found [2 x 7]", [](const Model& model, Model::Cache& cache) {
    static_cast<void>(model.forward(rows(2, 7), Sequences({1, 1}), cache));
  });
}

TEST(BadInput, AnotherNumberOfRowsThanTheSequencesSayIsRefused) {
  expect_refused("x: expected [3 x 8], found [2 x 8]", [](const Model& model, Model::Cache& cache) {
    static_cast<void>(model.forward(rows(2), Sequences({1, 2}), cache));
  });
}

TEST(BadInput, AnotherNumberOfSequencesThanTheCacheHasIsRefused) {
  expect_refused("cache: expected rows for 2 sequences, found 3", [](const Model& model, Model::Cache& cache) {
    static_cast<void>(model.forward(rows(2), Sequences({1, 1, 0}), cache));
  });
}

TEST(BadInput, ManySequencesWithoutADivisionAreRefused) {
  expect_refused(
      "forward(x, cache): expected a cache of one sequence, found 2; say how rows divide: forward(x, sequences, cache)",
      [](const Model& model, Model::Cache& cache) { static_cast<void>(model.forward(rows(2), cache)); });
}

TEST(BadInput, RowsBeyondTheCapacityAreRefused) {
  expect_refused("sequence 0: expected at most 6 positions, found 3 cached + 4 new",
                 [](const Model& model, Model::Cache& cache) {
                   static_cast<void>(model.forward(rows(5), Sequences({4, 1}), cache));
                 });
}

TEST(BadInput, NoRowsAtAllAreRefused) {
  expect_refused("x: expected at least one new row, found none", [](const Model& model, Model::Cache& cache) {
    static_cast<void>(model.forward(rows(0), Sequences({0, 0}), cache));
  });
}

TEST(BadInput, NegativeRowsAreRefused) {
  expect_refused("sequence 1: expected 0 rows or more, found -1", [](const Model& model, Model::Cache& cache) {
    static_cast<void>(model.forward(rows(1), Sequences({2, -1}), cache));
  });
}

TEST(BadInput, ACacheOfAnotherModelIsRefused) {
  expect_refused("cache: expected one that this model has made, found another model's",
                 [](const Model&, Model::Cache& cache) {
                   auto wider = config;
                   wider.hidden = 16;
                   static_cast<void>(Model(wider).forward(rows(2), Sequences({1, 1}), cache));
                 });
}

TEST(BadInput, AMaskThatSeesAheadNeedsTheWholeSequence) {
  using Bidirectional = Stack<float, Block<StandardAttention>>;
  Bidirectional::Config options{.width = 8, .heads = 2};
  options.layer<0>().mixer.scores.mask = bidirectional();
  const Bidirectional model(options);
  auto cache = model.make_cache({.sequences = 2, .positions = 4, .rows = 4});
  static_cast<void>(model.forward(rows(2), Sequences({2, 0}), cache));
  EXPECT_EQ(error_text<ShapeError>([&] {
              static_cast<void>(model.forward(rows(2), Sequences({1, 1}), cache));
            }),
            "sequence 0: a mask that sees ahead needs the whole sequence in one call, found 2 cached positions");
  EXPECT_EQ(cache.length(0), 2);
  EXPECT_EQ(cache.length(1), 0);
  const Matrix<float> other = model.forward(rows(3), Sequences({0, 3}), cache);
  auto fresh = model.make_cache({.positions = 4});
  EXPECT_TRUE(same_bits(other, Matrix<float>(model.forward(rows(3), fresh))));
}

TEST(BadInput, ACacheWithoutSequencesPositionsOrRowsIsRefused) {
  const Model model(config);
  const auto text = [&](const CacheOptions& options) {
    return error_text<ShapeError>([&] { static_cast<void>(model.make_cache(options)); });
  };
  EXPECT_EQ(text({.sequences = 0, .positions = 1}), "sequences: expected 1 or more, found 0");
  EXPECT_EQ(text({}), "positions: expected 1 or more, found 0");
  EXPECT_EQ(text({.positions = 1, .rows = 0}), "rows: expected 1 or more, found 0");
  EXPECT_EQ(text({.positions = 1, .checkpoints = -1}), "checkpoints: expected 0 or more, found -1");
  constexpr Index vast = Index(1) << 60;
  EXPECT_EQ(text({.sequences = vast, .positions = 1}), "sequences: expected at most 1048576, found 1152921504606846976");
  EXPECT_EQ(text({.positions = vast}), "positions: expected at most 2147483648, found 1152921504606846976");
  EXPECT_EQ(text({.positions = 1, .rows = vast}), "rows: expected at most 2147483648, found 1152921504606846976");
  EXPECT_EQ(text({.positions = 1, .checkpoints = vast}),
            "checkpoints: expected at most 1048576, found 1152921504606846976");
  EXPECT_EQ(text({.positions = 1, .recent_states = vast}),
            "recent_states: expected at most 1048576, found 1152921504606846976");
  EXPECT_EQ(text({.positions = 1, .score_bytes = vast}),
            "score_bytes: expected at most 70368744177664, found 1152921504606846976");
  // Each may be had, but not all.
  EXPECT_TRUE(text({.sequences = 1 << 20, .positions = CacheOptions::longest})
                  .starts_with("cache: expected options of at most 70368744177664 bytes in all, found about "));
}

TEST(BadInput, ATapeWithoutRowsIsRefused) {
  const Model model(config);
  for (const Sequences& sequences : {Sequences({}), Sequences({0, 0})})
    EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(model.make_tape(sequences)); }),
              "sequences: expected at least one row, found none");
}

/// Expects that bad(model, tape, gradients) raises a ShapeError of this text after forward, that gradients stay as they
/// are, and that backward then does as if nothing had been.
template <class Bad>
void expect_refused_by_tape(const std::string& text, Bad&& bad) {
  const Model model(config);
  const Sequences sequences({3, 1});
  const auto recorded = [&] {
    auto tape = model.make_tape(sequences);
    static_cast<void>(model.forward(rows(4), tape));
    return tape;
  };
  auto tape = recorded(), untouched = recorded();
  auto gradients = model.make_gradients(), expected = model.make_gradients();
  EXPECT_EQ(error_text<ShapeError>([&] { bad(model, tape, gradients); }), text);
  visit([](std::string_view name, Role, const auto& gradient) { EXPECT_TRUE(gradient.isZero(0)) << name; }, gradients);
  EXPECT_TRUE(same_bits(Matrix<float>(model.backward(rows(4), tape, gradients)),
                        Matrix<float>(model.backward(rows(4), untouched, expected))));
  visit([](std::string_view name, Role, const auto& a, const auto& b) { EXPECT_TRUE(same_bits(a, b)) << name; }, gradients,
        expected);
}

TEST(BadInput, AGradientOfAnotherShapeIsRefused) {
  expect_refused_by_tape("d_out: expected [4 x 8], found [3 x 8]",
                         [](const Model& model, Model::Tape& tape, Model::Params& gradients) {
                           static_cast<void>(model.backward(rows(3), tape, gradients));
                         });
}

TEST(BadInput, GradientsOfAnotherModelAreRefused) {
  expect_refused_by_tape("gradients: expected those that this model has made, found another model's",
                         [](const Model& model, Model::Tape& tape, Model::Params&) {
                           auto wider = config;
                           wider.hidden = 16;
                           auto foreign = Model(wider).make_gradients();
                           static_cast<void>(model.backward(rows(4), tape, foreign));
                         });
}

TEST(BadInput, ATapeOfAnotherModelIsRefused) {
  expect_refused_by_tape("tape: expected one that this model has made, found another model's",
                         [](const Model&, Model::Tape& tape, Model::Params&) {
                           auto wider = config;
                           wider.hidden = 16;
                           static_cast<void>(Model(wider).forward(rows(4), tape));
                         });
}

TEST(BadInput, RowsThatAreNotTheTapesAreRefused) {
  expect_refused_by_tape("x: expected [4 x 8], found [5 x 8]", [](const Model& model, Model::Tape& tape, Model::Params&) {
    static_cast<void>(model.forward(rows(5), tape));
  });
}

constexpr const char* nothing_recorded =
    "backward: expected a tape that forward has recorded and no backward has used, found none";

TEST(BadInput, BackwardWithoutForwardIsRefused) {
  const Model model(config);
  auto tape = model.make_tape(Sequences({3, 1}));
  auto gradients = model.make_gradients();
  EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(model.backward(rows(4), tape, gradients)); }), nothing_recorded);
  static_cast<void>(model.forward(rows(4), tape));
  EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(model.backward(rows(4), tape, gradients)); }), "no error");
}

TEST(BadInput, BackwardTwiceIsRefusedAndAddsNothing) {
  const Model model(config);
  auto tape = model.make_tape(Sequences({3, 1}));
  auto gradients = model.make_gradients();
  static_cast<void>(model.forward(rows(4), tape));
  static_cast<void>(model.backward(rows(4), tape, gradients));
  const auto before = gradients;
  EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(model.backward(rows(4), tape, gradients)); }), nothing_recorded);
  visit([](std::string_view name, Role, const auto& a, const auto& b) { EXPECT_TRUE(same_bits(a, b)) << name; }, gradients,
        before);
}

}  // namespace
}  // namespace heed
