// Which of the compiled kernels a machine runs.
#include <heed/compiled/kernels.hpp>

namespace heed::compiled::inline HEED_COMPILED_VERSION {

const Kernels& best() {
  static const Kernels* const chosen = [] {
    const Kernels* best = &baseline();
    for (const Kernels* kernels = best; kernels != nullptr; kernels = kernels->better)
      if (kernels->runs_here()) best = kernels;
    return best;
  }();
  return *chosen;
}

}  // namespace heed::compiled::inline HEED_COMPILED_VERSION
