// expect: heed: this signal is not in the mixer's publishes list
// Recurrent heads form no probabilities, so there are none to hand to a layer above.
#include <heed/heed.hpp>

int main() {
  const heed::MixerLayer<float, heed::Mamba2> layer({.width = 8, .heads = 2});
  const heed::Workspace work({.positions = 4});
  const auto state = layer.make_state(work);
#if defined(HEED_BAD)
  static_cast<void>(state.published<heed::scores>());
#endif
  return static_cast<int>(state.bytes() == 0);
}
