// One variant's header, run forward. HEED_LAYERS of them: an array, whose length costs nothing to compile.
#include <heed/mixers/attention.hpp>
#include <heed/mixers/computed_scores.hpp>
#include <heed/mixers/projected_values.hpp>
#include <heed/model/stack.hpp>

#if !defined(HEED_LAYERS)
#define HEED_LAYERS 1
#endif

using Model =
    heed::Stack<float,
                heed::Repeat<HEED_LAYERS, heed::Block<heed::Attention<heed::ComputedScores, heed::ProjectedValues>>>>;

int main() {
  const Model model({.width = 32, .heads = 4});
  auto cache = model.make_cache({.positions = 8, .rows = 8});
  const heed::Matrix<float> x = heed::Matrix<float>::Ones(8, 32);  // [T x D]
  return model.forward(x, cache).rows() == 8 ? 0 : 1;
}
