// expect: heed: this tap reads another signal than the one it is fed (are two inputs swapped?)
#include <heed/mixers/variants.hpp>

using Consumes = heed::Attention<heed::ReusedScores, heed::SharedValues<>>::consumes;

heed::Inputs<float, Consumes> inputs_of(const heed::Published<heed::values, float>& values,
                                        const heed::Published<heed::scores, float>& scores) {
#if HEED_BAD
  return {heed::feed<heed::first<heed::values>>(scores), heed::feed<heed::nearest<heed::scores>>(values)};
#else
  return {heed::feed<heed::first<heed::values>>(values), heed::feed<heed::nearest<heed::scores>>(scores)};
#endif
}
