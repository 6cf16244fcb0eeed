// All of heed, and a stack of all five variants forward and backward.
#include <heed/heed.hpp>

using Model = heed::Stack<float, heed::Block<heed::StandardAttention>,               //
                          heed::Block<heed::ResidualValueAttention>,                 //
                          heed::Repeat<2, heed::Block<heed::SharedValueAttention>>,  //
                          heed::Block<heed::ScoreReuseAttention>,                    //
                          heed::Block<heed::RecurrentMixAttention>
#if HEED_ONE_MORE_LAYER
                          ,
                          heed::Block<heed::ResidualValueAttention>
#endif
                          >;

int main() {
  const Model model({.width = 32, .heads = 4, .kv_heads = 2});
  const heed::Matrix<float> x = heed::Matrix<float>::Ones(8, 32);  // [T x D]

  auto cache = model.make_cache({.positions = 8, .rows = 8});
  heed::Index rows = model.forward(x, cache).rows();

  auto tape = model.make_tape({8});
  const heed::Matrix<float> d_out = model.forward(x, tape);
  auto gradients = model.make_gradients();
  rows += model.backward(d_out, tape, gradients).rows();
  return rows == 16 ? 0 : 1;
}
