#include <heed/heed.hpp>
#include <iostream>

int main() {
  heed::Stack<float, heed::Block<heed::StandardAttention>,  // publishes its values and scores
              heed::Block<heed::ResFormer>,                 // mixes its values with those of the first layer
              heed::Block<heed::SVFormer>,                  // takes the values of the first layer
              heed::Block<heed::ReuseTransformer>,          // takes the scores of the layer below
              heed::Block<heed::RecurFormer>>               // attends with half of its heads, recurs with the others
      model({.width = 64, .heads = 4, .kv_heads = 2});
  auto cache = model.make_cache({.positions = 1024, .rows = 16});

  heed::Matrix<float> x(17, 64);  // rows are positions
  heed::Random(1, "x").normal(x, 1);
  heed::Matrix<float> h = model.forward(x.topRows(16), cache);  // prefill
  h = model.forward(x.bottomRows(1), cache);                    // decode: the same function

  std::cout << heed::inspect(model) << "\n" << cache.length() << " positions cached, of " << cache.capacity() << "\n";
}
