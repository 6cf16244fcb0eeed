// Where the figures come from: the processor, the compiler, the day.
#pragma once

#include <ctime>
#include <fstream>
#include <string>
#include <thread>

namespace bench {

inline std::string machine() {
  std::string processor = "an unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) {
      processor = line.substr(line.find(": ") + 2);
      break;
    }
  return processor + ", " + std::to_string(std::thread::hardware_concurrency()) + " hardware threads";
}

inline std::string compiler() {
#if defined(__clang__)
  std::string name = "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#elif defined(__GNUC__)
  std::string name = "g++ " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#else
  std::string name = "an unknown compiler";
#endif
#if defined(HEED_BENCH_FLAGS)
  name += " " HEED_BENCH_FLAGS;
#endif
  return name;
}

inline std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

}  // namespace bench
