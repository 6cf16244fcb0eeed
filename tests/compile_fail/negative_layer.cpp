// expect: heed: at<N, Signal> counts layers from 0: N >= 0
#include <heed/signals/wiring.hpp>

int main() {
  constexpr bool publishes[] = {true};
  int source = heed::at<0, heed::values>::source(publishes);
#if HEED_BAD
  source += heed::at<-1, heed::values>::source(publishes);
#endif
  return source;
}
