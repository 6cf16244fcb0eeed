// The less common members of the ResFormer family, each as a list of layers: sparse, learnable plus, dense, and NeuTRENO on
// residual values. Then SVFormer with anchors.
#include <heed/heed.hpp>
#include <iostream>

using Model = heed::DynamicStack<float>;
using Layer = Model::Layer;

void describe(const char* name, const Model& model) {
  std::cout << name << ", " << heed::count_parameters(model.params()) << " parameters\n";
  for (std::size_t layer = 0; layer < model.plan().layers(); ++layer)
    std::cout << "  " << model.plan().describe(layer) << "\n";
}

int main() {
  const heed::Sizes sizes{.width = 32, .heads = 4, .kv_heads = 2};

  const Layer standard = heed::choose<heed::StandardAttention>();
  const Layer strong = heed::choose<heed::ResFormer>({.values = {.coefficients = {.from_first = 5, .from_own = 1}}});
  const Model sparse = Model::build(sizes, {standard, standard, standard, standard, strong, strong});
  describe("sparse", sparse);

  using Plus = heed::Attention<heed::ComputedScores, heed::ResidualValues<heed::SharedSoftmax>>;
  const auto reader = [](heed::Index r) { return heed::choose<Plus>({.values = {.coefficients = {.reader = r}}}); };
  const Model plus =
      Model::build(sizes, {heed::choose_block<heed::Block<heed::CoefficientHolder, heed::NoFeedForward, heed::NoNorm>>(
                               {.mixer = {.readers = 2}}),
                           standard, reader(0), reader(1)});
  describe("learnable plus", plus);

  using History = heed::Attention<heed::ComputedScores, heed::HistoryValues>;
  using Dense = heed::Attention<heed::ComputedScores, heed::DenseResidualValues>;
  const auto above = [](heed::Index layers) { return heed::choose<Dense>({.values = {.below = layers}}); };
  const Model dense = Model::build(sizes, {heed::choose<History>(), above(1), above(2), above(3)});
  describe("dense", dense);

  using Neutreno = heed::Attention<heed::ComputedScores, heed::ResidualValues<heed::Fixed>, heed::Neutreno>;
  const Layer both = heed::choose<Neutreno>({.output = {.lambda = 0.2}});
  const Model neutreno = Model::build(sizes, {standard, both, both});
  describe("NeuTRENO on residual values", neutreno);

  using Anchored = heed::Attention<heed::ComputedScores, heed::SharedValues<heed::nearest<heed::values>>>;
  const Layer anchored = heed::choose<Anchored>();
  const Model anchors = Model::build(sizes, {standard, anchored, anchored, standard, anchored});
  describe("anchors", anchors);
}
