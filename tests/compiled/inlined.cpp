// The same model without heed::compiled, in the same program.
#undef HEED_COMPILED
#include "inlined.hpp"

ModelErrors inlined_errors() {
  return heed::compiled_kernels::model_errors();
}
