// Keys and values in 16 bits: how much is saved, and how far a row may be from the one that nothing was rounded for.
//
// With d the relative error of storing (2^-8 for bfloat16, 2^-11 for half) and K, V replaced by what is read back, per head
//   |ds_ij| <= scale |q_i| |k_j| d =: D            every p_ij changes by a factor in [e^-2D, e^2D], so
//   |do_i|  <= (e^2D - 1 + d e^2D) max |v|         y = o W_o adds it up along the rows of W_o
#include <gtest/gtest.h>

#include <cmath>

#include "cached_stacks.hpp"
#include "heed/model/inspect.hpp"
#include "heed/model/mixer_layer.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

constexpr Sizes sizes = {.width = 16, .heads = 4, .kv_heads = 2, .head_width = 8, .hidden = 8};
constexpr Index T = 20;

double relative_error(Storage storage) {
  return storage == Storage::bfloat16 ? std::ldexp(1, -8) : std::ldexp(1, -11);
}

template <class Scalar>
MixerLayer<Scalar, StandardAttention> layer() {
  MixerLayer<Scalar, StandardAttention> made(sizes);
  visit([](std::string_view name, Role, auto& tensor) { Random(5, name).normal(tensor, 0.25); }, made.params);
  return made;
}
/// What the layer makes of the rows of x, prefilled and then one by one.
template <class Scalar>
Matrix<Scalar> rows_of_layer(const Matrix<double>& x, Storage storage) {
  const auto standard = layer<Scalar>();
  Workspace work({.positions = T});
  auto state = standard.make_state(work, storage);
  Matrix<Scalar> y = Matrix<Scalar>::Zero(T, sizes.width);
  for (Index done = 0, rows = T / 2; done < T; done += rows, rows = 1) {
    const Matrix<Scalar> fed = x.middleRows(done, rows).template cast<Scalar>();
    standard.apply(work.begin(Sequences({rows})), fed, y.middleRows(done, rows), state);
    work.commit();
  }
  return y;
}

class CacheStorage : public ::testing::TestWithParam<Storage> {};

TEST_P(CacheStorage, ErrsNoMoreThanRoundingKeysAndValuesExplains) {
  const Matrix<double> x = random_matrix<double>(T, sizes.width, "x");
  const auto exact = layer<double>();
  const auto weight = [&](std::string_view name) {
    Matrix<double> found;
    visit(
        [&](std::string_view tensor_name, Role, const Matrix<double>& tensor) {
          if (tensor_name == name) found = tensor;
        },
        exact.params);
    return found;
  };
  const Matrix<double> q = x * weight("w_q"), k = x * weight("w_k"), v = x * weight("w_v");
  const Index E = sizes.head_width, group = sizes.heads / sizes.kv_heads;
  const double d = relative_error(GetParam());
  double largest = 0;  // of |do|
  for (Index h = 0; h < sizes.heads; ++h) {
    const double q_norm = q.middleCols(h * E, E).rowwise().norm().maxCoeff();  // turning keeps norms
    const double k_norm = k.middleCols(h / group * E, E).rowwise().norm().maxCoeff();
    const double D = q_norm * k_norm * d / std::sqrt(double(E));
    const double factor = std::exp(2 * D);
    largest = (std::max)(largest, (factor - 1 + d * factor) * v.middleCols(h / group * E, E).cwiseAbs().maxCoeff());
  }
  const double bound = largest * weight("w_o").cwiseAbs().colwise().sum().maxCoeff();

  const Matrix<double> oracle = rows_of_layer<double>(x, Storage::arithmetic);
  const auto error = [&](Storage storage) {
    return (rows_of_layer<float>(x, storage).cast<double>() - oracle).cwiseAbs().maxCoeff();
  };
  EXPECT_LE(error(GetParam()), bound + 2 * error(Storage::arithmetic));
  EXPECT_GT(error(GetParam()), 4 * error(Storage::arithmetic)) << "nothing was rounded";
  EXPECT_GT(error(GetParam()), bound / 1000) << "the bound says nothing";
}

TEST_P(CacheStorage, ReadsBackWhatWasRounded) {
  CachedRows<float> rows({{T}, 0, GetParam()}, 2, 4);
  Workspace work({.positions = T});
  const Matrix<float> x = random_matrix<float>(T, 8, "x");
  Arena arena;
  const auto table = rows.append(work.begin(Sequences({T})), view_of(x), arena);
  float buffer[4];
  for (Index head = 0; head < 2; ++head)
    for (Index t = 0; t < T; ++t) {
      const float* read = table.at(0, head).row(t, buffer);
      for (Index e = 0; e < 4; ++e) {
        const double appended = static_cast<double>(x(t, head * 4 + e));
        ASSERT_LE(std::abs(static_cast<double>(read[e]) - appended),
                  relative_error(GetParam()) * std::abs(appended) + std::ldexp(1, -25));
      }
    }
}

TEST_P(CacheStorage, TakesTheBytesThatWerePlanned) {
  const auto model =
      DynamicStack<double>::build(sizes, {choose<StandardAttention>(), choose<SharedValueAttention>(), choose<Mamba2>()});
  const CacheOptions options{.sequences = 2, .positions = 40, .storage = GetParam()};
  EXPECT_EQ(model.make_cache(options).bytes(), planned_cache_bytes(model, options));
  CacheOptions more = options;
  more.positions = 41;
  EXPECT_EQ(planned_cache_bytes(model, more) - planned_cache_bytes(model, options), 2 * 3 * 16 * 2)
      << "K, V and K of 2 bytes a number; states do not grow";
}

TEST_P(CacheStorage, OfASavedCacheGoesOnAsBefore) {
  const CacheOptions options{.sequences = 2, .positions = 30, .rows = 12, .storage = GetParam()};
  auto saved = cached_stacks::mixed().make_cache(options);
  auto loaded = cached_stacks::mixed().make_cache(options);
  static_cast<void>(cached_stacks::feed(saved, {"a", "b"}, {4, 7}));
  loaded.load(saved.save());
  EXPECT_TRUE(same_bits(cached_stacks::feed(loaded, {"a", "b"}, {2, 1}), cached_stacks::feed(saved, {"a", "b"}, {2, 1})));
}

TEST_P(CacheStorage, IsNotForTraining) {
  const auto standard = layer<float>();
  Workspace work({.positions = T});
  auto state = standard.make_state(work, GetParam());
  const Matrix<float> x = random_matrix<float>(1, sizes.width, "x");
  Matrix<float> y = Matrix<float>::Zero(1, sizes.width);
  try {
    standard.apply(work.begin(Sequences({1}), Purpose::training), x, y, state);
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_EQ(std::string(error.what()),
              "state: expected one that stores as it computes, for training; found one that stores in " +
                  std::string(name_of(GetParam())));
  }
}

INSTANTIATE_TEST_SUITE_P(, CacheStorage, ::testing::Values(Storage::bfloat16, Storage::half),
                         [](const auto& chosen) { return std::string(name_of(chosen.param)); });

}  // namespace
}  // namespace heed
