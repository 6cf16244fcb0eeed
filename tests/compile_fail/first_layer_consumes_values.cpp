// expect: heed: a layer of this Stack consumes a signal that no layer below it publishes
#include <heed/mixers/variants.hpp>
#include <heed/model/stack.hpp>

using Shared = heed::Block<heed::SharedValueAttention>;
using Standard = heed::Block<heed::StandardAttention>;

int main() {
  using Wired = heed::Stack<float, Standard, Shared>;
  int source = Wired::source<1, heed::first<heed::values>>;
#if HEED_BAD
  using Unwired = heed::Stack<float, Shared, Standard>;
  source += Unwired::source<0, heed::first<heed::values>>;
#endif
  return source;
}
