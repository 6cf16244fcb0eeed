// Files appear whole or not at all: written beside their place, then renamed into it.
#pragma once

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace bench {

/// Every `from`.
inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// A word as a shell reads it.
inline std::string shell_word(std::string word) {
  if (!word.empty() && word.find_first_of(" \t\n'\"\\$&;|<>()*?[]#~`!{}") == std::string::npos) return word;
  replace_all(word, "'", "'\\''");
  return "'" + word + "'";
}

inline void write_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path beside = path.string() + ".new";
  std::ofstream file(beside, std::ios::binary);
  file << content;
  file.close();
  if (!file) throw std::runtime_error("expected to write '" + path.string() + "', found no way to");
  std::filesystem::rename(beside, path);
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace bench
