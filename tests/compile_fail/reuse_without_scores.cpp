// expect: heed: a layer of this Stack consumes a signal that no layer below it publishes
#include <heed/mixers/variants.hpp>
#include <heed/model/stack.hpp>

using Reuse = heed::Block<heed::ScoreReuseAttention>;
using Standard = heed::Block<heed::StandardAttention>;
using Recurrent = heed::Block<heed::Mamba2>;  // publishes no scores

int main() {
  using Wired = heed::Stack<float, Standard, heed::Repeat<2, Recurrent>, Reuse>;
  int source = Wired::source<3, heed::nearest<heed::scores>>;
#if HEED_BAD
  using Unwired = heed::Stack<float, heed::Repeat<3, Recurrent>, Reuse>;
  source += Unwired::source<3, heed::nearest<heed::scores>>;
#endif
  return source;
}
