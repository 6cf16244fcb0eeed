// Whether this processor has tiles for products of bf16 operands (AMX), and this system lets us use them.
#pragma once

#include "kernels/tiles_amx.hpp"
#include "kernels/tiles_portable.hpp"

#if defined(HEED_AMX) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace heed::inline HEED_ABI {

namespace detail {

#if defined(HEED_AMX) && defined(HEED_EMULATED_TILES)  // tests/tiles: the program does what the processor cannot
inline bool machine_has_tiles() {
  return true;
}
inline bool ask_for_tiles() {
  return true;
}
#elif defined(HEED_AMX) && defined(__linux__)
/// The processor has AMX with bf16, and the system saves its registers.
inline bool machine_has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned saves_state = 1u << 27, bf16 = 1u << 22, tile = 1u << 24;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & saves_state) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & bf16) == 0 || (d & tile) == 0) return false;
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  constexpr unsigned config_and_data = 3u << 17;
  return (a & config_and_data) == config_and_data;
}
/// The system grants them to this process.
inline bool ask_for_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
inline bool machine_has_tiles() {
  return false;
}
inline bool ask_for_tiles() {
  return false;
}
#endif

}  // namespace detail

/// Whether products in the bf16 precisions run in the processor's tiles: the program is compiled for them (AMX), the
/// processor has them, and the system grants them. Asked once; if not, the same is computed in vectors. A program that
/// links heed::compiled need not be compiled for them: there `compiled::best().instruction_set` is `amx` where there are
/// some.
///
/// On Linux a process that was granted tiles needs alternate signal stacks of AT_MINSIGSTKSZ bytes, some 12 KB. If one is
/// too small when it asks, tiles are refused; afterwards the system refuses stacks that are too small. Calls in a bf16
/// precision leave the calling thread's tiles unconfigured.
inline bool tiles_available() {
  static const bool available = detail::machine_has_tiles() && detail::ask_for_tiles();
  return available;
}

}  // namespace heed::inline HEED_ABI
