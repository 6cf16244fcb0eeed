#include "amx.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
#include <immintrin.h>

#include <cstdint>
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
  if (!machine_has_tiles()) return "not on this machine: no AMX";
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
  constexpr long request_permission = 0x1023, tile_data = 18;
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0) return "not on this machine: its system refuses AMX";
  return {};
#else
  return "not in this program: it is compiled without AMX";
#endif
}

}  // namespace

const std::string& why_no_amx() {
  static const std::string why = ask_for_tiles();
  return why;
}

#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
void multiply_tiles() {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shape;
  _tile_loadconfig(&shape);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int n = 0; n < 4000; ++n) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}
#else
void multiply_tiles() {}
#endif

}  // namespace limits
