// AMX on processors without it. Its instructions raise SIGILL there, and a handler does what the manual says of them: Intel
// 64 and IA-32 Architectures Software Developer's Manual, volume 2, LDTILECFG to TDPBF16PS. What the manual lets fault ends
// the program, and so does a configuration that is loaded while another is there: every one is to be released.
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "heed/core/abi.hpp"

#if !defined(HEED_AMX)
#error "expected flags for AMX: without them the tests of tiles would skip what is emulated here"
#endif

namespace {

struct Configuration {
  std::uint8_t palette, start_row, reserved[14];
  std::uint16_t row_bytes[16];
  std::uint8_t rows[16];
};
static_assert(sizeof(Configuration) == 64);

struct Tile {
  std::uint8_t rows[16][64];
};

struct Thread {
  Configuration configuration;  // palette 0: none is loaded
  Tile tiles[8];
};
thread_local Thread thread;

[[noreturn]] void fault(const char* why, const std::uint8_t* at) {
  std::fprintf(stderr, "emulated tiles: %s, at", why);
  for (int i = 0; i < 8; ++i) std::fprintf(stderr, " %02x", unsigned(at[i]));
  std::fprintf(stderr, "\n");
  _exit(1);
}

std::int64_t displacement(const std::uint8_t*& p) {
  std::int32_t value;
  std::memcpy(&value, p, 4);
  p += 4;
  return value;
}

/// VEX.128.0F38.W0, three bytes of prefix: C4 RXBmmmmm WvvvvLpp opcode ModRM [SIB] [displacement].
struct Instruction {
  std::uint8_t opcode;
  int prefix;            // pp: 0 none, 1 66, 2 F3, 3 F2
  bool of_memory;        // else rm is a register
  bool has_index;        // a memory operand with an index: rows lie `stride` bytes apart
  int reg, rm, vvvv;     // registers
  std::uint8_t* memory;  // without the index
  std::int64_t stride;
  const std::uint8_t* end;

  Instruction(const std::uint8_t* at, const ucontext_t& context) {
    const std::uint8_t* p = at;
    if (p[0] != 0xC4 || (p[1] & 31) != 2 || (p[2] & 0x84) != 0) fault("expected an instruction of AMX", at);
    const bool r = (p[1] & 0x80) == 0, x = (p[1] & 0x40) == 0, b = (p[1] & 0x20) == 0;
    vvvv = (~p[2] >> 3) & 15, prefix = p[2] & 3, opcode = p[3];
    const int mode = p[4] >> 6, low = p[4] & 7;
    reg = (p[4] >> 3 & 7) + 8 * r, rm = low + 8 * b;
    p += 5;
    of_memory = mode != 3, has_index = false, stride = 0;
    std::int64_t address = 0;
    const auto general = [&](int number) {
      constexpr int places[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
      return std::int64_t(context.uc_mcontext.gregs[places[number]]);
    };
    bool from_end = false;
    if (of_memory && low == 4) {
      const std::uint8_t sib = *p++;
      const int index = (sib >> 3 & 7) + 8 * x;
      has_index = index != 4;
      if (has_index) stride = general(index) << (sib >> 6);
      address = (sib & 7) == 5 && mode == 0 ? displacement(p) : general((sib & 7) + 8 * b);
    } else if (of_memory && low == 5 && mode == 0) {
      from_end = true;
      address = displacement(p);
    } else if (of_memory) {
      address = general(rm);
    }
    if (mode == 1) address += static_cast<std::int8_t>(*p++);
    if (mode == 2) address += displacement(p);
    end = p;
    if (from_end) address += static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p));
    memory = reinterpret_cast<std::uint8_t*>(address);
  }
};

void load_configuration(const Instruction& in, const std::uint8_t* at) {
  if (thread.configuration.palette != 0) fault("expected the configuration before to be released", at);
  Configuration c;
  std::memcpy(&c, in.memory, sizeof(c));
  if (c.palette != 1 || c.start_row != 0) fault("#GP: palette or first row", at);
  for (const std::uint8_t byte : c.reserved)
    if (byte != 0) fault("#GP: reserved bytes", at);
  for (int i = 0; i < 16; ++i)
    if (c.row_bytes[i] > 64 || c.rows[i] > 16 || (c.row_bytes[i] == 0) != (c.rows[i] == 0) || (i >= 8 && c.rows[i] != 0))
      fault("#GP: rows and their bytes", at);
  thread = {};
  thread.configuration = c;
}

float flushed(float x) {
  return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}
/// The halves of a row of pairs: the lower first.
struct Halves {
  float lower[16], upper[16];
  explicit Halves(const std::uint8_t* row) {
    for (int i = 0; i < 16; ++i) {
      std::uint32_t pair;
      std::memcpy(&pair, row + 4 * i, 4);
      lower[i] = flushed(std::bit_cast<float>(pair << 16)), upper[i] = flushed(std::bit_cast<float>(pair & 0xffff0000u));
    }
  }
};

/// TDPBF16PS: c += a b in pairs, two sums from zero on for each element; denormal numbers are zero wherever they come up.
void add_dot_products(Tile& c, int rows, int columns, const Tile& a, const Tile& b, int pairs) {
  for (int m = 0; m < rows; ++m) {
    const Halves a_m(a.rows[m]);
    float lower[16] = {}, upper[16] = {};
    for (int k = 0; k < pairs; ++k) {
      const Halves b_k(b.rows[k]);
      for (int n = 0; n < 16; ++n) {
        lower[n] = flushed(std::fma(a_m.lower[k], b_k.lower[n], lower[n]));
        upper[n] = flushed(std::fma(a_m.upper[k], b_k.upper[n], upper[n]));
      }
    }
    for (int n = 0; n < columns; ++n) {
      float element;
      std::memcpy(&element, c.rows[m] + 4 * n, 4);
      element = flushed(flushed(element) + flushed(lower[n] + upper[n]));
      std::memcpy(c.rows[m] + 4 * n, &element, 4);
    }
  }
}

void run(const Instruction& in, const std::uint8_t* at) {
  const Configuration& c = thread.configuration;
  const auto checked = [&](int tile) {
    if (c.palette == 0 || tile >= 8 || c.rows[tile] == 0) fault("#UD: a tile that is not configured", at);
    return tile;
  };
  if (in.opcode == 0x49 && in.prefix == 0 && in.of_memory) return load_configuration(in, at);
  if (in.opcode == 0x49 && in.prefix == 0) return void(thread = {});                                          // TILERELEASE
  if (in.opcode == 0x49 && in.prefix == 3 && !in.of_memory) return void(thread.tiles[checked(in.reg)] = {});  // TILEZERO
  if (in.opcode == 0x4B && in.of_memory) {
    if (!in.has_index) fault("expected a stride", at);
    Tile& tile = thread.tiles[checked(in.reg)];
    const bool stores = in.prefix == 2;  // TILESTORED; else TILELOADD, with or without T1
    if (!stores) tile = {};
    for (int row = 0; row < c.rows[in.reg]; ++row) {
      std::uint8_t* there = in.memory + row * in.stride;
      std::memcpy(stores ? there : tile.rows[row], stores ? tile.rows[row] : there, c.row_bytes[in.reg]);
    }
    return;
  }
  if (in.opcode == 0x5C && in.prefix == 2 && !in.of_memory) {
    const int to = checked(in.reg), a = checked(in.rm), b = checked(in.vvvv);
    if (to == a || to == b || a == b) fault("#UD: tiles that are the same", at);
    if (c.row_bytes[to] != c.row_bytes[b] || c.rows[to] != c.rows[a] || c.row_bytes[a] != 4 * c.rows[b])
      fault("#UD: tiles whose sizes do not match", at);
    return add_dot_products(thread.tiles[to], c.rows[to], c.row_bytes[to] / 4, thread.tiles[a], thread.tiles[b], c.rows[b]);
  }
  fault("expected an instruction of AMX that is known", at);
}

void on_illegal_instruction(int, siginfo_t*, void* raised) {
  ucontext_t& context = *static_cast<ucontext_t*>(raised);
  const auto* at = reinterpret_cast<const std::uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
  const Instruction instruction(at, context);
  run(instruction, at);
  context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<std::uintptr_t>(instruction.end));
}

[[noreturn]] void skip(const char* why) {
  std::printf("skipped: %s\n", why);
  std::fflush(stdout);
  _exit(0);
}

// Before the tests register: they are compiled for these instructions.
__attribute__((constructor(101))) void begin() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bf16"))
    skip("this processor has no AVX512-BF16, which everything around tiles is compiled for");
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned tile = 1u << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & tile) != 0)  // it would do a part of them itself
    skip("this processor has tiles, see tests/ops/kernels/tiles_test.cpp");
  struct sigaction action = {};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGILL, &action, nullptr);
}

}  // namespace
