// expect: heed: this mixer consumes a signal that it was not given: pass feed<Tap>(...) for every tap it consumes
#include <heed/mixers/variants.hpp>

using Consumes = heed::ResidualValueAttention::consumes;

heed::Inputs<float, Consumes> inputs_of(const heed::Published<heed::values, float>& values) {
#if HEED_BAD
  static_cast<void>(values);
  return {};
#else
  return {heed::feed<heed::first<heed::values>>(values)};
#endif
}
