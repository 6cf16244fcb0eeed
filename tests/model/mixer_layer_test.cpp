#include "heed/model/mixer_layer.hpp"

#include <gtest/gtest.h>

#include <string>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"
#include "reference/central_difference.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

constexpr Sizes sizes{.width = 8, .heads = 4, .kv_heads = 2, .hidden = 12};

using Bottom = StandardAttention;
using Top = Attention<ReusedScores, ResidualValues<Learned>>;

// Two layers, the upper one reading values and scores of the lower one: y = x + bottom(x), z = y + top(y).
template <class Scalar>
struct Model {
  MixerLayer<Scalar, Bottom> bottom{sizes, {}, 1, "bottom", 2};
  MixerLayer<Scalar, Top> top{sizes, {}, 1, "top", 2};

  Model() {
    enlarge(bottom.params);
    enlarge(top.params);
  }
  // Weights large enough for attention to matter.
  template <class Params>
  static void enlarge(Params& params) {
    visit([](std::string_view name, Role, auto& tensor) { Random(5, name).normal(tensor, 0.5); }, params);
  }
};

template <class Scalar>
struct Memory {
  Workspace work;
  typename MixerLayer<Scalar, Bottom>::State bottom;
  typename MixerLayer<Scalar, Top>::State top;

  Memory(const Model<Scalar>& model, const WorkspaceOptions& options)
      : work(options), bottom(model.bottom.template make_state<scores>(work)), top(model.top.make_state(work)) {}
  auto fed_values() const { return feed<first<values>>(bottom.template published<values>()); }
  auto fed_scores() const { return feed<nearest<scores>>(bottom.template published<scores>()); }
};

template <class Scalar>
void apply(const Model<Scalar>& model, const Pass& pass, const Matrix<Scalar>& x, Matrix<Scalar>& y, Matrix<Scalar>& z,
           Memory<Scalar>& memory) {
  y = x;
  model.bottom.apply(pass, x, y, memory.bottom);
  z = y;
  model.top.apply(pass, y, z, memory.top, memory.fed_values(), memory.fed_scores());
}

template <class Scalar>
Matrix<Scalar> forward(const Model<Scalar>& model, const Matrix<Scalar>& x, const Sequences& rows, Memory<Scalar>& memory) {
  const Pass pass = memory.work.begin(rows);
  Matrix<Scalar> y, z;
  apply(model, pass, x, y, z, memory);
  memory.work.commit();
  return z;
}

template <class Error, class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(MixerLayer, GivesTheBitsOfTheSameMixersInAStack) {
  using Layers = Stack<float, Block<Bottom>, Block<Top>>;
  Layers stack({.width = 8, .heads = 4, .kv_heads = 2, .hidden = 12});
  Model<float> model;
  // The blocks' norms and feed-forwards are taken out: weights 1, and an output matrix of zeros.
  visit(
      [&](std::string_view name, Role, Matrix<float>& tensor) {
        const auto take_from = [&](const auto& params) {
          visit(
              [&](std::string_view own, Role, const auto& from) {
                if (name.ends_with(own)) tensor = from;
              },
              params);
        };
        if (name.starts_with("layers.0.mixer.")) take_from(model.bottom.params);
        if (name.starts_with("layers.1.mixer.")) take_from(model.top.params);
        if (name.ends_with("w_down")) tensor.setZero();
      },
      stack.params());

  const Matrix<float> x = reference::random_matrix<float>(6, 8, "x");
  auto cache = stack.make_cache({.positions = 6, .rows = 6});
  const Matrix<float> expected = stack.forward(x, cache);

  Memory<float> memory(model, {.positions = 6});
  const Pass pass = memory.work.begin(Sequences({6}));
  const Matrix<float> ones = Matrix<float>::Ones(1, 8);
  const double epsilon = RmsNorm::Config().epsilon;
  Matrix<float> h = x, normed(6, 8);
  rms_norm(h, ones, epsilon, normed, pass.workers);
  model.bottom.apply(pass, normed, h, memory.bottom);
  rms_norm(h, ones, epsilon, normed, pass.workers);
  model.top.apply(pass, normed, h, memory.top, memory.fed_values(), memory.fed_scores());
  EXPECT_TRUE(reference::same_bits(h, expected));
}

TEST(MixerLayer, AddsToY) {
  const Model<float> model;
  const Matrix<float> x = reference::random_matrix<float>(4, 8, "x");
  Workspace work({.positions = 4});
  auto state = model.bottom.make_state(work);
  Matrix<float> from_zero = Matrix<float>::Zero(4, 8), from_one = Matrix<float>::Ones(4, 8);
  model.bottom.apply(work.begin(Sequences({4})), x, from_zero, state);
  model.bottom.apply(work.begin(Sequences({4})), x, from_one, state);
  // An element takes the H E = 8 terms of A V W_o one after another, each with a rounding.
  const double eps = static_cast<double>(std::numeric_limits<float>::epsilon());
  const double largest = reference::largest(from_one);
  EXPECT_LE((from_one - from_zero - Matrix<float>::Ones(4, 8)).cwiseAbs().maxCoeff(), 2 * 8 * eps * largest);
}

TEST(MixerLayer, RowsFedInChunksAreThoseFedAtOnce) {
  const Model<float> model;
  const Model<double> exact_model = [&] {
    Model<double> copy;
    const auto cast = [](auto& to, const auto& from) {
      visit([](std::string_view, Role, Matrix<double>& a, const Matrix<float>& b) { a = b.cast<double>(); }, to, from);
    };
    cast(copy.bottom.params, model.bottom.params);
    cast(copy.top.params, model.top.params);
    return copy;
  }();
  const Matrix<float> x = reference::random_matrix<float>(9, 8, "x");
  Memory<double> exact_memory(exact_model, {.positions = 9});
  const Matrix<double> exact = forward(exact_model, Matrix<double>(x.cast<double>()), {9}, exact_memory);
  Memory<float> whole_memory(model, {.positions = 9});
  const Matrix<float> whole = forward(model, x, {9}, whole_memory);
  Memory<float> memory(model, {.positions = 9});
  Matrix<float> chunks(9, 8);
  Index done = 0;
  for (const Index count : {4, 1, 1, 3}) {
    chunks.middleRows(done, count) = forward(model, Matrix<float>(x.middleRows(done, count)), {count}, memory);
    done += count;
  }
  reference::expect_as_exact_as_naive(chunks, whole, exact, 9);
}

TEST(MixerLayer, APackedBatchGivesWhatItsSequencesGiveAlone) {
  const Model<double> model;
  const Matrix<double> x = reference::random_matrix<double>(6, 8, "x");
  Memory<double> memory(model, {.sequences = 3, .positions = 5});
  const Matrix<double> packed = forward(model, x, {5, 0, 1}, memory);
  Memory<double> first(model, {.positions = 5});
  EXPECT_TRUE(
      reference::same_bits(Matrix<double>(packed.topRows(5)), forward(model, Matrix<double>(x.topRows(5)), {5}, first)));
  Memory<double> last(model, {.positions = 5});
  EXPECT_TRUE(reference::same_bits(Matrix<double>(packed.bottomRows(1)),
                                   forward(model, Matrix<double>(x.bottomRows(1)), {1}, last)));
}

TEST(MixerLayer, APassThatIsNotCommittedChangesNothing) {
  const MixerLayer<float, RecurFormer> layer(sizes);
  const Matrix<float> x = reference::random_matrix<float>(6, 8, "x");
  const auto run = [&](bool with_a_pass_that_is_dropped) {
    Workspace work({.positions = 8});
    auto state = layer.make_state(work);
    Matrix<float> y = Matrix<float>::Zero(3, 8);
    layer.apply(work.begin(Sequences({3})), x.topRows(3), y, state);
    work.commit();
    if (with_a_pass_that_is_dropped) {
      Matrix<float> dropped = Matrix<float>::Zero(2, 8);
      layer.apply(work.begin(Sequences({2})), x.bottomRows(2), dropped, state);
    }
    y = Matrix<float>::Zero(1, 8);
    layer.apply(work.begin(Sequences({1})), x.middleRows(3, 1), y, state);
    work.commit();
    EXPECT_EQ(work.timeline.length(0), 4);
    return y;
  };
  EXPECT_TRUE(reference::same_bits(run(true), run(false)));
}

TEST(MixerLayer, GoesBackToAMark) {
  const MixerLayer<float, RecurFormer> layer(sizes);
  const Matrix<float> x = reference::random_matrix<float>(6, 8, "x");
  const auto run = [&](bool with_rows_that_are_rejected) {
    Workspace work({.positions = 8});
    auto state = layer.make_state(work);
    const auto feed_row = [&](Index row) {
      Matrix<float> y = Matrix<float>::Zero(1, 8);
      layer.apply(work.begin(Sequences({1})), x.row(row), y, state);
      work.commit();
      return y;
    };
    static_cast<void>(feed_row(0));
    static_cast<void>(feed_row(1));
    const Mark mark = work.timeline.checkpoint();
    if (with_rows_that_are_rejected) {
      static_cast<void>(feed_row(4));
      static_cast<void>(feed_row(5));
      EXPECT_TRUE(work.timeline.rollback(mark));
    }
    return feed_row(2);
  };
  EXPECT_TRUE(reference::same_bits(run(true), run(false)));
}

TEST(MixerLayer, BackwardIsTheGradientOfForwardThroughWhatIsHandedOn) {
  Model<double> model;
  const Sequences rows({5, 0, 2});
  Matrix<double> x = reference::random_matrix<double>(7, 8, "x");
  const Matrix<double> d_z = reference::random_matrix<double>(7, 8, "d_z");
  Memory<double> tape(model, {.sequences = 3, .positions = 5});
  Matrix<double> y, z;
  const auto loss = [&] {
    apply(model, tape.work.begin(rows, Purpose::training), x, y, z, tape);
    return reference::dot(z, d_z);
  };

  const Pass pass = tape.work.begin(rows, Purpose::training);
  apply(model, pass, x, y, z, tape);
  auto d_bottom = model.bottom.make_gradients();
  auto d_top = model.top.make_gradients();
  Matrix<double> d_y = d_z;
  model.top.backward(pass, y, d_z, d_y, d_top, tape.top, tape.fed_values(), tape.fed_scores());
  Matrix<double> d_x = d_y;
  model.bottom.backward(pass, x, d_y, d_x, d_bottom, tape.bottom);

  constexpr Index operations = 8 * 8;  // two layers of projections, scores, values and a projection, 8 terms each at most
  reference::expect_gradient(x, d_x, operations, loss);
  const auto expect = [&](std::string_view name, Role, Matrix<double>& tensor, const Matrix<double>& gradient) {
    SCOPED_TRACE(std::string(name));
    reference::expect_gradient(tensor, gradient, operations, loss);
  };
  visit(expect, model.bottom.params, d_bottom);
  visit(expect, model.top.params, d_top);
}

TEST(MixerLayer, BackwardAddsToTheGradients) {
  const Model<double> model;
  const Matrix<double> x = reference::random_matrix<double>(3, 8, "x");
  Workspace work({.positions = 3});
  auto state = model.bottom.make_state(work);
  Matrix<double> y = x;
  const Pass pass = work.begin(Sequences({3}), Purpose::training);
  model.bottom.apply(pass, x, y, state);
  auto gradients = model.bottom.make_gradients();
  gradients.w_o.setOnes();
  Matrix<double> d_x = Matrix<double>::Ones(3, 8);
  const Matrix<double> no_gradient = Matrix<double>::Zero(3, 8);
  model.bottom.backward(pass, x, no_gradient, d_x, gradients, state);
  EXPECT_TRUE((gradients.w_o.array() == 1).all());
  EXPECT_TRUE((d_x.array() == 1).all());
}

TEST(MixerLayer, WithoutCoefficientsFromTheFirstLayerResidualValueIsStandard) {
  MixerLayer<float, StandardAttention> standard(sizes, {}, 3, "a");
  MixerLayer<float, ResFormer> residual(sizes, {.values = {.coefficients = {.from_first = 0, .from_own = 1}}}, 3, "a");
  const Matrix<float> x = reference::random_matrix<float>(5, 8, "x");
  Workspace work({.positions = 5});
  auto standard_state = standard.make_state(work);
  auto residual_state = residual.make_state(work);
  Matrix<float> y = Matrix<float>::Zero(5, 8), same = y;
  const Pass pass = work.begin(Sequences({5}));
  standard.apply(pass, x, y, standard_state);
  residual.apply(pass, x, same, residual_state, feed<first<values>>(standard_state.published<values>()));
  EXPECT_TRUE(reference::same_bits(same, y));
}

TEST(MixerLayer, StartsFromSeedAndNameAlone) {
  const MixerLayer<float, StandardAttention> one(sizes, {}, 1, "a"), same(sizes, {}, 1, "a");
  const MixerLayer<float, StandardAttention> other_seed(sizes, {}, 2, "a"), other_name(sizes, {}, 1, "b");
  EXPECT_TRUE(reference::same_bits(one.params.scores.q.w, same.params.scores.q.w));
  EXPECT_FALSE(reference::same_bits(one.params.scores.q.w, other_seed.params.scores.q.w));
  EXPECT_FALSE(reference::same_bits(one.params.scores.q.w, other_name.params.scores.q.w));
}

TEST(MixerLayer, ScalesWhatAddsToTheResidualStreamByTheDepth) {
  const MixerLayer<double, StandardAttention> shallow(sizes, {}, 1, "a", 1), deep(sizes, {}, 1, "a", 9);
  const Matrix<double> expected = shallow.params.w_o / 3;
  EXPECT_LE((deep.params.w_o - expected).cwiseAbs().maxCoeff(),
            4 * std::numeric_limits<double>::epsilon() * expected.cwiseAbs().maxCoeff());
  EXPECT_TRUE(reference::same_bits(shallow.params.scores.q.w, deep.params.scores.q.w));
}

TEST(MixerLayer, KeepsProbabilitiesOnlyIfTheyAreWanted) {
  const Model<float> model;
  const Matrix<float> x = reference::random_matrix<float>(3, 8, "x");
  Workspace work({.positions = 3});
  auto wanted = model.bottom.make_state<scores>(work);
  auto unwanted = model.bottom.make_state(work);
  Matrix<float> y = x;
  const Pass pass = work.begin(Sequences({3}));
  model.bottom.apply(pass, x, y, wanted);
  model.bottom.apply(pass, x, y, unwanted);
  EXPECT_EQ(wanted.published<scores>().table.at(0, 3).rows(), 3);
  EXPECT_FALSE(unwanted.published<scores>().table.at(0, 3).kept());
  EXPECT_EQ(unwanted.published<values>().table.at(0, 1).rows, 3);
}

TEST(MixerLayer, TheStateCountsTheBytesOfItsPlan) {
  const MixerLayer<double, StandardAttention> standard(sizes);
  const MixerLayer<double, SVFormer> shared(sizes);
  const MixerLayer<double, ScoreReuseAttention> reuse(sizes);
  const MixerLayer<double, Mamba2> recurrent(sizes);
  const Workspace work({.sequences = 2, .positions = 10, .checkpoints = 3});
  constexpr Index row = 2 * 2 * Index(sizeof(double));  // G E
  EXPECT_EQ(standard.make_state(work).bytes(), 2 * 10 * 2 * row);
  EXPECT_EQ(shared.make_state(work).bytes(), 2 * 10 * row);
  EXPECT_EQ(reuse.make_state(work).bytes(), 2 * 10 * row);
  EXPECT_EQ(recurrent.make_state(work).bytes(), 2 * (3 + 2) * (8 * 64 + 3 * (8 + 2 * 64)) * Index(sizeof(double)));
}

TEST(MixerLayer, DecodingAllocatesNothing) {
  const MixerLayer<float, RecurFormer> layer(sizes);
  Workspace work({.positions = 16});
  auto state = layer.make_state(work);
  const Matrix<float> x = reference::random_matrix<float>(1, 8, "x");
  Matrix<float> y = Matrix<float>::Zero(1, 8);
  const Sequences row({1});
  std::size_t before = 0;
  for (int step = 0; step < 8; ++step) {
    layer.apply(work.begin(row), x, y, state);
    work.commit();
    if (step == 0) before = allocations_so_far();
  }
  EXPECT_EQ(allocations_so_far(), before);
}

// What is wrong is said, with what was expected and what was found, before anything changes.

TEST(MixerLayerErrors, SizesThatDoNotFitAreRefused) {
  EXPECT_EQ(error_of<ConfigError>(
                [] { const MixerLayer<float, StandardAttention> layer({.width = 8, .heads = 4, .kv_heads = 3}); }),
            "kv_heads: expected a divisor of heads = 4, found 3");
}

TEST(MixerLayerErrors, SizesThatTheMixerCannotWorkWithAreRefusedByTheLayersName) {
  EXPECT_EQ(error_of<ConfigError>(
                [] { const MixerLayer<float, StandardAttention> layer({.width = 6, .heads = 2}, {}, 0, "encoder"); }),
            "encoder: head_width: expected an even number (rotary pairs), found 3");
  EXPECT_EQ(error_of<ConfigError>(
                [] { const MixerLayer<float, RecurFormer> layer(sizes, {.second_kv_heads = 3}, 0, "encoder"); }),
            "encoder: second_kv_heads: expected 0 to 2, found 3");
}

struct OneCall {
  Model<float> model;
  Workspace work{{.positions = 5}};
  MixerLayer<float, Bottom>::State state = model.bottom.make_state(work);
  Matrix<float> x = Matrix<float>::Ones(3, 8);
};

TEST(MixerLayerErrors, AnXOfAnotherShapeIsRefusedAndYIsAsItWas) {
  OneCall call;
  Matrix<float> y = Matrix<float>::Ones(3, 8);
  const Pass pass = call.work.begin(Sequences({3}));
  const Matrix<float> short_x = Matrix<float>::Ones(2, 8), narrow_x = Matrix<float>::Ones(3, 7);
  EXPECT_EQ(error_of<ShapeError>([&] { call.model.bottom.apply(pass, short_x, y, call.state); }),
            "x: expected [3 x 8], found [2 x 8]");
  EXPECT_EQ(error_of<ShapeError>([&] { call.model.bottom.apply(pass, narrow_x, y, call.state); }),
            "x: expected [3 x 8], found [3 x 7]");
  EXPECT_TRUE((y.array() == 1).all());
  EXPECT_EQ(call.work.timeline.length(0), 0);
}

TEST(MixerLayerErrors, AYOfAnotherShapeIsRefused) {
  OneCall call;
  Matrix<float> y = Matrix<float>::Ones(3, 9);
  EXPECT_EQ(error_of<ShapeError>([&] { call.model.bottom.apply(call.work.begin(Sequences({3})), call.x, y, call.state); }),
            "y: expected [3 x 8], found [3 x 9]");
}

TEST(MixerLayerErrors, BackwardOfAnInferencePassIsRefused) {
  OneCall call;
  Matrix<float> y = call.x, d_x = call.x;
  const Pass pass = call.work.begin(Sequences({3}));
  call.model.bottom.apply(pass, call.x, y, call.state);
  auto gradients = call.model.bottom.make_gradients();
  EXPECT_EQ(error_of<ShapeError>([&] { call.model.bottom.backward(pass, call.x, y, d_x, gradients, call.state); }),
            "backward: expected a pass of Purpose::training, found one of inference");
}

TEST(MixerLayerErrors, GradientsOfAnotherShapeAreRefusedAndNothingIsAdded) {
  OneCall call;
  Matrix<float> y = call.x, d_x = Matrix<float>::Zero(3, 8);
  const Matrix<float> other = Matrix<float>::Ones(4, 8);
  Matrix<float> other_d_x = other;
  const Pass pass = call.work.begin(Sequences({3}), Purpose::training);
  call.model.bottom.apply(pass, call.x, y, call.state);
  auto gradients = call.model.bottom.make_gradients();
  const auto backward = [&](const Matrix<float>& x, const Matrix<float>& d_y, Matrix<float>& to) {
    return error_of<ShapeError>([&] { call.model.bottom.backward(pass, x, d_y, to, gradients, call.state); });
  };
  EXPECT_EQ(backward(other, y, d_x), "x: expected [3 x 8], found [4 x 8]");
  EXPECT_EQ(backward(call.x, other, d_x), "d_y: expected [3 x 8], found [4 x 8]");
  EXPECT_EQ(backward(call.x, y, other_d_x), "d_x: expected [3 x 8], found [4 x 8]");
  EXPECT_TRUE((d_x.array() == 0).all());
  visit([](std::string_view name, Role, const auto& tensor) { EXPECT_TRUE((tensor.array() == 0).all()) << name; },
        gradients);
}

TEST(MixerLayerErrors, BackwardWithoutItsForwardInTheSamePassIsRefused) {
  OneCall call;
  Matrix<float> y = call.x, d_x = Matrix<float>::Zero(3, 8);
  auto gradients = call.model.bottom.make_gradients();
  const auto backward = [&](const Pass& pass) {
    return error_of<ShapeError>([&] { call.model.bottom.backward(pass, call.x, y, d_x, gradients, call.state); });
  };
  const std::string none =
      "backward: expected a state that apply has recorded in this pass and no backward has used, found none";
  EXPECT_EQ(backward(call.work.begin(Sequences({3}), Purpose::training)), none);

  call.model.bottom.apply(call.work.begin(Sequences({3}), Purpose::training), call.x, y, call.state);
  const Pass later = call.work.begin(Sequences({3}), Purpose::training);
  EXPECT_EQ(backward(later), none);
  EXPECT_TRUE((d_x.array() == 0).all());

  call.model.bottom.apply(later, call.x, y, call.state);
  EXPECT_EQ(backward(later), "no error");
  EXPECT_EQ(backward(later), none);
  call.model.bottom.apply(later, call.x, y, call.state);
  EXPECT_EQ(backward(later), "no error");
}

TEST(MixerLayerErrors, GradientsOfAnotherLayerAreRefused) {
  OneCall call;
  const MixerLayer<float, Bottom> wide({.width = 16, .heads = 4, .kv_heads = 2});
  Matrix<float> y = call.x, d_x = call.x;
  const Pass pass = call.work.begin(Sequences({3}), Purpose::training);
  call.model.bottom.apply(pass, call.x, y, call.state);
  auto gradients = wide.make_gradients();
  EXPECT_EQ(error_of<ShapeError>([&] { call.model.bottom.backward(pass, call.x, y, d_x, gradients, call.state); }),
            "gradients: w_q: expected [8 x 8], found [16 x 16]");
  EXPECT_EQ(d_x, call.x);
}

TEST(MixerLayerErrors, AStateOfAnotherWorkspaceIsRefused) {
  const Model<float> model;
  Memory<float> small(model, {.positions = 2}), large(model, {.positions = 8}),
      two(model, {.sequences = 2, .positions = 8});
  const Matrix<float> x = Matrix<float>::Ones(3, 8);
  Matrix<float> y = x;
  const Pass pass = large.work.begin({3});
  EXPECT_EQ(error_of<ShapeError>([&] { model.bottom.apply(pass, x, y, small.bottom); }),
            "state: sequence 0: expected room for 3 positions, found 2");
  EXPECT_EQ(error_of<ShapeError>([&] { model.bottom.apply(pass, x, y, two.bottom); }),
            "state: expected one for 1 sequences, made by the workspace of the pass, found one for 2");
  EXPECT_EQ(y, x);
}

TEST(MixerLayerErrors, WhatNoMixerHasPublishedYetIsRefused) {
  const Model<float> model;
  Memory<float> memory(model, {.positions = 8});
  const Matrix<float> x = Matrix<float>::Ones(3, 8);
  Matrix<float> y = x;
  const Pass pass = memory.work.begin({3});
  EXPECT_EQ(
      error_of<ShapeError>([&] { model.top.apply(pass, x, y, memory.top, memory.fed_values(), memory.fed_scores()); }),
      "feed<first<values>>: expected what a mixer has published in this pass, found nothing: apply it first");
}

TEST(MixerLayerErrors, ScoresThatWereNotAskedForAreRefused) {
  const Model<float> model;
  Memory<float> memory(model, {.positions = 8});
  auto without_scores = model.bottom.make_state(memory.work);
  const Matrix<float> x = Matrix<float>::Ones(3, 8);
  Matrix<float> y = x;
  const Pass pass = memory.work.begin({3});
  model.bottom.apply(pass, x, y, without_scores);
  EXPECT_EQ(error_of<ShapeError>([&] {
              model.top.apply(pass, x, y, memory.top, feed<first<values>>(without_scores.published<values>()),
                              feed<nearest<scores>>(without_scores.published<scores>()));
            }),
            "feed<nearest<scores>>: expected head 0, found that its layer does not keep it: make its state with "
            "make_state<scores>(work)");
}

TEST(MixerLayerErrors, ASourceWithFewerHeadsThanTheReaderIsRefused) {
  const Model<float> model;
  const MixerLayer<float, Bottom> narrow(Sizes{.width = 8, .heads = 2, .kv_heads = 1, .head_width = 2});
  Memory<float> memory(model, {.positions = 8});
  auto state = narrow.make_state<scores>(memory.work);
  const Matrix<float> x = Matrix<float>::Ones(3, 8);
  Matrix<float> y = x;
  const Pass pass = memory.work.begin({3});
  narrow.apply(pass, x, y, state);
  EXPECT_EQ(error_of<ShapeError>([&] {
              model.top.apply(pass, x, y, memory.top, feed<first<values>>(state.published<values>()),
                              feed<nearest<scores>>(state.published<scores>()));
            }),
            "feed<first<values>>: expected head 1, found 1 heads");
}

}  // namespace
}  // namespace heed
