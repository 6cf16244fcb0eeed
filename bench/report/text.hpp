// The text that is learned: one file, or all files of a folder in the order of their names. Its bytes are the tokens.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "shared.hpp"
#include "utf8.hpp"

namespace report {

struct TextError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Skipped {
  std::string name;
  std::string reason;
};

struct Text {
  std::string name;
  std::string bytes = {};
  Index files = 0;
  std::vector<Skipped> skipped = {};
};

/// What is learned, and what is held out: the last tenth.
struct Parts {
  std::span<const unsigned char> learned;
  std::span<const unsigned char> held_out;
};

namespace detail {

namespace fs = std::filesystem;

/// Reads a file whole. Returns why it is not text, or nothing.
inline std::string read_text(const fs::path& path, std::string& bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "no permission to read it";
  bytes.assign(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return "an error while reading it";
  return why_not_text(bytes);
}

/// The regular files below a folder, by name. Hidden ones are left out, and links to folders are not followed.
inline std::vector<fs::path> files_below(const fs::path& folder, std::vector<Skipped>& skipped) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  if (error)
    throw TextError("text: expected a folder that can be read at '" + folder.string() + "', found: " + error.message());
  for (; entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (error) break;
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (name.front() == '.') {
      if (entry->is_directory(ignored)) entry.disable_recursion_pending();
      skipped.push_back({entry->path().lexically_relative(folder).string(), "a hidden name"});
    } else if (entry->is_regular_file(ignored)) {
      files.push_back(entry->path());
    } else if (!entry->is_directory(ignored)) {
      skipped.push_back({entry->path().lexically_relative(folder).string(), "neither a file nor a folder"});
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

inline void add_file(Text& text, const fs::path& file, const fs::path& folder) {
  std::string bytes;
  const std::string reason = read_text(file, bytes);
  if (!reason.empty()) {
    text.skipped.push_back({file.lexically_relative(folder).string(), reason});
    return;
  }
  text.bytes += bytes;
  ++text.files;
}

inline void expects_something(const Text& text, const fs::path& folder) {
  if (!text.bytes.empty()) return;
  std::string found = text.files == 0 ? "no text files" : "only empty files";
  if (!text.skipped.empty())
    found += " and " + std::to_string(text.skipped.size()) + " skipped (" + text.skipped.front().name + ": " +
             text.skipped.front().reason + ")";
  throw TextError("text: expected a folder with some text at '" + folder.string() + "', found " + found);
}

}  // namespace detail

/// Loads a file or a folder. Inside a folder what is not text is skipped and listed; a named file that is not text, and a
/// folder where nothing remains, are a TextError that says what was expected and what was found.
inline Text load_text(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  const std::string where = "'" + path.string() + "'";
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(path, error);
  Text text{.name = whole.filename().string()};
  if (fs::is_directory(path, error)) {
    for (const fs::path& file : detail::files_below(path, text.skipped)) detail::add_file(text, file, path);
    detail::expects_something(text, path);
    return text;
  }
  if (!fs::exists(path, error)) throw TextError("text: expected a file or a folder at " + where + ", found nothing there");
  if (const std::string reason = detail::read_text(path, text.bytes); !reason.empty())
    throw TextError("text: expected UTF-8 text in " + where + ", found " + reason);
  if (text.bytes.empty()) throw TextError("text: expected UTF-8 text in " + where + ", found an empty file");
  text.files = 1;
  return text;
}

/// The sources and documents of this repository.
inline Text load_repository(const std::filesystem::path& root) {
  constexpr std::array folders{"bench", "cmake", "docs", "examples", "include", "scripts", "tests"};
  constexpr std::array endings{"", ".cmake", ".cpp", ".hpp", ".md", ".py", ".txt"};
  Text text{.name = "heed's own source and docs"};
  for (const std::string_view folder : folders) {
    std::error_code error;
    if (!std::filesystem::is_directory(root / folder, error)) continue;
    for (const auto& file : detail::files_below(root / folder, text.skipped))
      if (std::find(endings.begin(), endings.end(), file.extension()) != endings.end()) detail::add_file(text, file, root);
  }
  detail::expects_something(text, root);
  return text;
}

/// Cuts a text in two. TextError if it is too short to learn `length` bytes ahead and to hold something out.
inline Parts divide(const Text& text, Index length) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.bytes.data());
  const std::size_t held_out = text.bytes.size() / 10;
  const Parts parts{{bytes, text.bytes.size() - held_out}, {bytes + text.bytes.size() - held_out, held_out}};
  const auto enough = static_cast<std::size_t>(length) + 1;
  if (parts.learned.size() < enough || held_out < 2)
    throw TextError("text: expected at least " + grouped((std::max)(Index(20), 10 * length / 9 + 1)) +
                    " bytes (a window of " + grouped(length) + " to learn from, and a tenth held out), found " +
                    grouped(static_cast<Index>(text.bytes.size())) + " in " + text.name);
  return parts;
}

/// FNV-1a, 64 bits, over the bytes.
inline std::string hash_of(std::string_view bytes) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3u;
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash));
  return digits.data();
}

}  // namespace report
