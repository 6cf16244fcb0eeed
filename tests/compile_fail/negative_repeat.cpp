// expect: heed: Repeat<n, Layer> needs n >= 0
#include <heed/mixers/variants.hpp>
#include <heed/model/stack.hpp>

using Standard = heed::Block<heed::StandardAttention>;

int main() {
  using None = heed::Stack<float, heed::Repeat<0, Standard>, Standard>;
  None::Config config{.width = 8, .heads = 2};
#if HEED_BAD
  using Negative = heed::Stack<float, heed::Repeat<-1, Standard>, Standard>;
  config.width += Negative::Config{}.width;
#endif
  return static_cast<int>(config.width) - 8;
}
