// All five variants forward, decoded and backward, and the rest of the menu built, decoded, saved and loaded: what
// scripts/toolchains builds with every compiler, standard library and macro of Eigen's that it knows. It prints what it
// found wrong, and needs no test framework.
#if defined(SMOKE_MIN_MAX_MACROS)  // as windows.h does
#include <bits/stdc++.h>

#include <Eigen/Core>
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#endif

#include <cstdio>
#include <cstdlib>
#include <heed/heed.hpp>
#include <heed/testing/finite_difference.hpp>
#include <heed/threads/pool.hpp>

#if !defined(__cpp_exceptions)
void heed::fail_without_exceptions(const char* kind, const char* text) {
  std::printf("%s: %s\n", kind, text);
  std::abort();
}
#endif

namespace {

using heed::Index;
using Model = heed::Stack<double, heed::Block<heed::StandardAttention>, heed::Block<heed::ResFormer>,
                          heed::Block<heed::SVFormer>, heed::Block<heed::ReuseTransformer>, heed::Block<heed::RecurFormer>>;

constexpr Index rows = 21, prompt = 19, width = 32;  // T, of which so many are fed at once; D
constexpr double epsilon = std::numeric_limits<double>::epsilon();

int wrong = 0;

void expect_at_most(const char* what, double found, double bound) {
  if (found <= bound) return;  // not so if it is NaN
  std::printf("%s: expected at most %g, found %g\n", what, bound, found);
  ++wrong;
}

heed::Matrix<double> normal(Index count, const char* name) {
  heed::Matrix<double> matrix(count, width);  // [T x D]
  heed::Random(1, name).normal(matrix, 1);
  return matrix;
}

double largest_difference(const heed::Matrix<double>& a, const heed::Matrix<double>& b) {
  double largest = 0;
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < a.cols(); ++j) {
      const double difference = std::abs(a(i, j) - b(i, j));
      if (!(difference <= largest)) largest = difference;
    }
  return largest;
}

/// Prefill and decode give what one call gives, up to the rounding of sums as long as `width` through some forty products.
/// forward(rows, cache) calls a model; in between the cache is saved and loaded.
template <class Model, class Forward>
void decode(const char* what, const Model& model, heed::CacheOptions options, Forward&& forward) {
  const heed::Matrix<double> x = normal(rows, "x");
  options.positions = options.rows = rows;
  auto whole = model.make_cache(options);
  const heed::Matrix<double> expected = forward(x, whole);

  auto prefilled = model.make_cache(options), cache = model.make_cache(options);
  heed::Matrix<double> found(rows, width);
  found.topRows(prompt) = forward(heed::Matrix<double>(x.topRows(prompt)), prefilled);
  cache.load(prefilled.save());
  for (Index row = prompt; row < rows; ++row) {
    const heed::Matrix<double> one = x.row(row);
#if defined(EIGEN_RUNTIME_NO_MALLOC)
    Eigen::internal::set_is_malloc_allowed(false);
#endif
    const heed::View<double> y = forward(one, cache);
#if defined(EIGEN_RUNTIME_NO_MALLOC)
    Eigen::internal::set_is_malloc_allowed(true);
#endif
    found.row(row) = y.row(0);
  }
  expect_at_most(what, largest_difference(found, expected), 40 * width * epsilon * expected.cwiseAbs().maxCoeff());
}
template <class Model>
void decode(const char* what, const Model& model, const heed::CacheOptions& options) {
  decode(what, model, options, [&](const heed::Matrix<double>& x, auto& cache) { return model.forward(x, cache); });
}

/// What else the menu has: chosen at run time, described and built again, its rows cached in every storage.
void menu() {
  using Dynamic = heed::DynamicStack<double>;
  using History = heed::Attention<heed::ComputedScores, heed::HistoryValues>;
  using Dense = heed::Attention<heed::ComputedScores, heed::DenseResidualValues>;
  using Normed = heed::Attention<heed::ComputedScores, heed::ProjectedValues, heed::NormedOutput>;
  heed::StandardAttention::Config slopes;
  slopes.scores.positions = heed::Alibi();
  slopes.scores.sinks = true;
  slopes.scores.soft_cap = 20;
  const Dynamic chosen = Dynamic::build(
      {.width = width, .heads = 4, .kv_heads = 2},
      {heed::choose_block<heed::Block<History, heed::FeedForward<heed::Relu>, heed::LayerNorm, heed::PostNorm>>(),
       heed::choose<Dense>(), heed::choose<heed::StandardAttention>(slopes), heed::choose<heed::Mamba>(),
       heed::choose_in_parallel(heed::choose<Normed>(), heed::choose<heed::Mamba2>())});
  const auto registry = heed::standard_registry<double>();
  Dynamic model = Dynamic::build(registry.described(chosen), registry);
  model.initialise(2);
  for (const heed::Storage storage : {heed::Storage::arithmetic, heed::Storage::bfloat16, heed::Storage::half})
    decode("the menu", model, {.storage = storage});

  using Reader = heed::Stack<double, heed::Block<heed::StandardAttention>, heed::Block<heed::CrossAttention>>;
  Reader::Config config{.width = width, .heads = 4, .kv_heads = 2};
  config.layer<1>().mixer.memory_positions = 5;
  Reader reader(config);
  reader.initialise(3);
  const heed::Matrix<double> memory = normal(5, "memory");
  decode("cross-attention", reader, {},
         [&](const heed::Matrix<double>& x, auto& cache) { return reader.forward(x, heed::MemoryRows(memory), cache); });
}

/// The gradient of dot(y, d_y) along one direction of x and of every parameter of the model.
void backward(Model& model) {
  heed::Matrix<double> x = normal(rows, "x");
  const heed::Matrix<double> d_y = normal(rows, "d_y"), along = normal(rows, "along");
  auto tape = model.make_tape(heed::Sequences({rows}));
  static_cast<void>(model.forward(x, tape));
  auto gradients = model.make_gradients();
  const heed::Matrix<double> d_x = model.backward(d_y, tape, gradients);

  // p moves x and all parameters w by p along, and p w.
  double slope = (d_x.array() * along.array()).sum();
  heed::visit(
      [&](std::string_view, heed::Role, const auto& w, const auto& d_w) { slope += (d_w.array() * w.array()).sum(); },
      model.params(), gradients);
  const heed::Matrix<double> x_at_0 = x;
  const auto params_at_0 = model.params();
  double p = 0;
  const auto difference = heed::testing::central_difference(p, 40 * width, [&] {
    x = x_at_0 + p * along;
    heed::visit([&](std::string_view, heed::Role, auto& w, const auto& w_at_0) { w = (1 + p) * w_at_0; }, model.params(),
                params_at_0);
    auto at_p = model.make_tape(heed::Sequences({rows}));
    return heed::testing::dot_loss(model.forward(x, at_p), heed::view_of(d_y));
  });
  model.params() = params_at_0;
  expect_at_most("backward", std::abs(slope - difference.value), difference.bound);
}

}  // namespace

int main() {
  Model model({.width = width, .heads = 4, .kv_heads = 2});
  model.initialise(1);
  heed::Pool pool(2);
  decode("decode", model, {});
  decode("decode on two threads", model, {.executor = &pool});
  backward(model);
  menu();

  const heed::Matrix<float> q = heed::Matrix<float>::Ones(1, 8), v = heed::Matrix<float>::Constant(3, 8, 2);
  const heed::Matrix<float> o = heed::attend(q, heed::Matrix<float>(v), v, {.heads = 2});  // of equal rows, their mean
  expect_at_most("attend", static_cast<double>((o.array() - 2.0f).abs().maxCoeff()), 0);
  return wrong == 0 ? 0 : 1;
}
