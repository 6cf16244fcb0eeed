// expect: heed: this Stack has no layer of that number
#include <heed/mixers/variants.hpp>
#include <heed/model/stack.hpp>

using Model = heed::Stack<float, heed::Repeat<2, heed::Block<heed::StandardAttention>>>;

int main() {
  Model::Config config{.width = 8, .heads = 2};
  config.layer<1>().mixer = {};
#if HEED_BAD
  config.layer<2>().mixer = {};
#endif
  return static_cast<int>(config.heads) - 2;
}
