// expect: heed: InParallel<First, Second> publishes what First does: give the mixer that publishes as First
#include <heed/mixers/variants.hpp>

#if HEED_BAD
using Parallel = heed::InParallel<heed::Mamba2, heed::StandardAttention>;
#else
using Parallel = heed::InParallel<heed::StandardAttention, heed::Mamba2>;
#endif

static_assert(heed::Mixer<Parallel>);
