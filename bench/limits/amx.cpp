#include "amx.hpp"

#include <heed/ops/tiles.hpp>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#endif

namespace limits {
namespace {

bool machine_has_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & bf16) != 0 && (edx & tile) != 0;
#else
  return false;
#endif
}

std::string ask_for_tiles() {
  if (heed::tiles_available()) return {};
  if (!machine_has_tiles()) return "not on this machine: no AMX";
#if defined(HEED_AMX)
  return "not on this machine: its system refuses AMX";
#else
  return "not in this program: it is compiled without AMX";
#endif
}

}  // namespace

const std::string& why_no_amx() {
  static const std::string why = ask_for_tiles();
  return why;
}

#if defined(HEED_AMX)
void multiply_tiles() {
  heed::detail::TilesAmx tiles;
  tiles.zero();
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int n = 0; n < 4000; ++n) tiles.dot();
}
#else
void multiply_tiles() {}
#endif

}  // namespace limits
