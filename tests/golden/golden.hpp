// A golden file beside heed: the same layers as types and by choice, in float and in double. README.md describes the files.
//
//   err(r) = max |r - R| / max |R|          R the file's float64 result
//   float    err <= 2 max(err32, eps n)     err32: PyTorch's own float32 run, n: the longest sum that feeds the tensor
//   double   err <= 3 max(err32 eps / eps_float, eps n)     as above, and R is itself the result of such a run
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <heed/io/safetensors.hpp>
#include <heed/mixers/in_parallel.hpp>
#include <heed/mixers/shared_softmax.hpp>
#include <heed/mixers/side_by_side.hpp>
#include <heed/model/dynamic_stack.hpp>
#include <heed/model/stack.hpp>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

namespace heed::golden {

class Golden {
 public:
  explicit Golden(const std::string& name)
      : file(io::read_safetensors(std::string(HEED_GOLDEN_DIR) + "/" + name + ".safetensors")),
        sizes{number("width"),      number("heads"),          number("kv_heads"),
              number("head_width"), number("value_width", 0), number("hidden")},
        sequences(Sequences(std::span<const Index>(numbers("sequences")))),
        state_width_(number("state_width")) {}

  /// n: the longest sum that feeds the tensor. With T rows, S of them in the longest sequence, F hidden and N state
  /// features:
  ///   output        rows times weights: D, F, H E; probabilities times values: S; the read-out of a state: N
  ///   a gradient    these, the rows that a weight meets: T, and the state that a recurrent head's step scales: N E
  ///   ... of a number that a head or a layer shares: all that it scales,
  ///                 from_first, from_own, from_layers: T G E;   logits, scale: that of every reader;   d: T E;   a_log,
  ///                 dt_bias: T N E;   q_norm, k_norm: T H
  Index longest_sum(std::string_view result) const {
    const bool recurs = text("layers").find("mamba") != std::string::npos;
    const Shape shape = sizes.shape();
    const Index T = sequences.rows(), E = shape.value_width, N = recurs ? state_width_ : 0;
    Index S = 0;
    for (Index b = 0; b < sequences.size(); ++b) S = (std::max)(S, sequences.rows(b));
    const Index n = (std::max)({sizes.width, sizes.hidden, shape.q_width(), shape.o_width(), S, N});
    if (result == "output") return n;
    const std::string_view last = result.substr(result.rfind('.') + 1);
    Index readers = 0;
    for (auto at = text("layers").find("plus"); at != std::string::npos; at = text("layers").find("plus", at + 1))
      ++readers;
    const Index scaled = last == "from_first" || last == "from_own" || last == "from_layers" ? sizes.kv_heads * E
                         : last == "logits" || last == "scale"                               ? readers * sizes.kv_heads * E
                         : last == "d"                                                       ? E
                         : last == "q_norm" || last == "k_norm"                              ? sizes.heads
                         : last == "a_log" || last == "dt_bias"                              ? N * E
                                                                                             : 1;
    return (std::max)({n, N * E, T * scaled});
  }

  /// What the file says of the case, as `layers`, `mask` and `coefficients`.
  const std::string& text(const std::string& key) const { return file.metadata.at(key); }
  Index state_width() const { return state_width_; }

  template <class Scalar>
  Matrix<Scalar> input(std::string_view name) const {
    return file.matrix<float>(name).template cast<Scalar>();
  }

  /// Expects the result to be as exact as the bound above; `worst` becomes the largest error / bound so far.
  template <class Scalar>
  void expect(const std::string& result, const Matrix<Scalar>& found, double& worst) const {
    const Matrix<double> exact = file.matrix<double>(result);
    ASSERT_EQ(found.rows(), exact.rows()) << result;
    ASSERT_EQ(found.cols(), exact.cols()) << result;
    constexpr double eps = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
    constexpr double eps_float = static_cast<double>(std::numeric_limits<float>::epsilon());
    const double runs = std::is_same_v<Scalar, float> ? 2 : 3;
    const double error_of_torch = std::stod(file.metadata.at("err32." + result)) * (eps / eps_float);
    const double bound = runs * (std::max)(error_of_torch, eps * static_cast<double>(longest_sum(result)));
    const double scale = exact.cwiseAbs().maxCoeff();
    const double error = (found.template cast<double>() - exact).cwiseAbs().maxCoeff() / (scale > 0 ? scale : 1);
    EXPECT_LE(error, bound) << result;
    if (!(error / bound <= worst)) worst = error / bound;
  }

  io::TensorFile file;
  Sizes sizes;
  Sequences sequences;

 private:
  std::vector<Index> numbers(const std::string& key) const {
    std::istringstream text(file.metadata.at(key));
    std::vector<Index> all;
    for (Index number = 0; text >> number;) all.push_back(number);
    return all;
  }
  Index number(const std::string& key) const { return numbers(key).at(0); }
  Index number(const std::string& key, Index unless_said) const {
    return file.metadata.contains(key) ? number(key) : unless_said;
  }

  Index state_width_;
};

/// The file's weights run through the model: the output, the gradient of x and that of every weight. Returns the largest
/// error / bound.
template <class Scalar, class Model>
double expect_results(const Golden& golden, Model& model) {
  std::set<std::string> named{"x", "d_output", "output", "grad.x"};
  visit(
      [&](std::string_view name, Role, Matrix<Scalar>& tensor) {
        const Matrix<Scalar> loaded = golden.input<Scalar>(name);
        EXPECT_TRUE(loaded.rows() == tensor.rows() && loaded.cols() == tensor.cols()) << name;
        tensor = loaded;
        EXPECT_TRUE(named.insert(std::string(name)).second) << name;
        EXPECT_TRUE(named.insert("grad." + std::string(name)).second) << name;
      },
      model.params());
  for (const auto& [name, tensor] : golden.file.tensors) EXPECT_TRUE(named.contains(name)) << name << " is not the model's";

  double worst = 0;
  auto tape = model.make_tape(golden.sequences);
  golden.expect<Scalar>("output", model.forward(golden.input<Scalar>("x"), tape), worst);
  auto gradients = model.make_gradients();
  golden.expect<Scalar>("grad.x", model.backward(golden.input<Scalar>("d_output"), tape, gradients), worst);
  visit([&](std::string_view name, Role,
            const Matrix<Scalar>& gradient) { golden.expect<Scalar>("grad." + std::string(name), gradient, worst); },
        gradients);
  return worst;
}

/// The block of a mixer, and the mixer with its config as a layer of a dynamic stack.
template <class Mixer>
struct Chosen {
  using BlockType = Block<Mixer>;
  static auto choice(const typename Mixer::Config& config) { return choose<Mixer>(config); }
};
template <>
struct Chosen<CoefficientHolder> {
  using BlockType = Block<CoefficientHolder, NoFeedForward, NoNorm>;
  static auto choice(const CoefficientHolder::Config& config) { return choose_block<BlockType>({.mixer = config}); }
};
template <class First, class Second>
struct Chosen<InParallel<First, Second>> {
  using BlockType = Block<InParallel<First, Second>>;
  static auto choice(const typename InParallel<First, Second>::Config& config) {
    return choose_in_parallel(choose<First>(config.first), choose<Second>(config.second));
  }
};
template <class First, class Second>
struct Chosen<SideBySide<First, Second>> {
  using BlockType = Block<SideBySide<First, Second>>;
  static auto choice(const typename SideBySide<First, Second>::Config& config) {
    return choose_side_by_side(choose<First>(config.first), choose<Second>(config.second), config.second_kv_heads);
  }
};

/// The layers as types, in float.
template <class... Mixers, std::size_t... I>
void expect_static(const Golden& golden, std::index_sequence<I...>, const typename Mixers::Config&... configs) {
  using Model = Stack<float, typename Chosen<Mixers>::BlockType...>;
  const Sizes& sizes = golden.sizes;
  typename Model::Config config{sizes.width,      sizes.heads,       sizes.kv_heads,
                                sizes.head_width, sizes.value_width, sizes.hidden};
  ((config.template layer<I>().mixer = configs), ...);
  Model model(config);
  SCOPED_TRACE("Stack<float>");
  ::testing::Test::RecordProperty("worst_static", std::to_string(expect_results<float>(golden, model)));
}

/// The layers from a list.
template <class Scalar, class... Mixers>
void expect_dynamic(const Golden& golden, const char* scalar, const typename Mixers::Config&... configs) {
  using Model = DynamicStack<Scalar>;
  auto model = Model::build(golden.sizes, {typename Model::Layer(Chosen<Mixers>::choice(configs))...});
  SCOPED_TRACE(std::string("DynamicStack, ") + scalar);
  ::testing::Test::RecordProperty(std::string("worst_dynamic_") + scalar,
                                  std::to_string(expect_results<Scalar>(golden, model)));
}

/// Expects that the layers Mixers..., with these configs, give the results of the file, whose `layers` are `text`.
template <class... Mixers>
void expect_golden(const Golden& golden, const std::string& text, const typename Mixers::Config&... configs) {
  EXPECT_EQ(golden.text("layers"), text);
  expect_static<Mixers...>(golden, std::index_sequence_for<Mixers...>(), configs...);
  expect_dynamic<float, Mixers...>(golden, "float", configs...);
  expect_dynamic<double, Mixers...>(golden, "double", configs...);
}

}  // namespace heed::golden
