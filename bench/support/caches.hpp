// How large the caches are.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

#include <heed/core/matrix.hpp>

namespace bench {

/// The bytes of the cache of this level that the first processor reads data through, as Linux tells; else a guess.
inline heed::Index cache_bytes(int level, heed::Index guess) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const auto read = [&](const char* name) {
      std::string word;
      std::ifstream(folder + name) >> word;
      return word;
    };
    if (read("level") != std::to_string(level) || read("type") == "Instruction") continue;
    const std::string size = read("size");  // 1024K
    if (size.empty()) continue;
    const heed::Index unit = size.back() == 'M' ? 1 << 20 : size.back() == 'K' ? 1 << 10 : 1;
    if (const heed::Index bytes = std::atoll(size.c_str()) * unit; bytes > 0) return bytes;
  }
  return guess;
}

}  // namespace bench
