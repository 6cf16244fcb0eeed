// The same code of heed, compiled for two instruction sets in one program. The inline namespace keeps its functions apart;
// those of Eigen have one name for both, so nothing that heed keeps may depend on which of them the linker took: matrices
// are allocated alike.
#pragma once

#include <vector>

/// The output and the gradient of a small model, optimised, so that some of Eigen's functions are inlined and some are not.
std::vector<double> model_base();
std::vector<double> model_avx2();

#if defined(MODEL)
#include <heed/mixers/variants.hpp>
#include <heed/model/stack.hpp>

std::vector<double> MODEL() {
  using Model = heed::Stack<double, heed::Block<heed::StandardAttention>>;
  const Model model({.width = 32, .heads = 4, .kv_heads = 2});
  heed::Matrix<double> x(9, 32);  // [T x D]
  heed::Random(1, "x").normal(x, 1);
  auto cache = model.make_cache({.positions = 9, .rows = 9});
  const heed::Matrix<double> y = model.forward(x, cache);
  auto tape = model.make_tape({9});
  const heed::Matrix<double> taped = model.forward(x, tape);
  auto gradients = model.make_gradients();
  const heed::Matrix<double> d_x = model.backward(taped, tape, gradients);
  const heed::Matrix<double> all = y + taped + d_x;  // made by Eigen, freed by Eigen
  return std::vector<double>(all.data(), all.data() + all.size());
}
#endif
