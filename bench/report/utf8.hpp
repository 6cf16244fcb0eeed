// Is it text? UTF-8 without NUL bytes, as in RFC 3629: shortest forms only, no surrogates, nothing above U+10FFFF.
#pragma once

#include <string>
#include <string_view>

namespace report {

/// The length of the character that starts at `at`, or 0 if none does.
inline std::size_t character_at(std::string_view bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) -> unsigned { return static_cast<unsigned char>(bytes[i]); };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > bytes.size()) return 0;
  for (std::size_t i = at + 1; i < at + length; ++i)
    if ((byte(i) & 0xC0u) != 0x80u) return 0;
  const unsigned second = byte(at + 1);
  const bool wrong = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
                     (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
  return wrong ? 0 : length;
}

/// Why these bytes are not text; empty if they are.
inline std::string why_not_text(std::string_view bytes) {
  if (const std::size_t at = bytes.find('\0'); at != std::string_view::npos)
    return "a NUL byte at " + std::to_string(at) + ", as in binary files";
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = character_at(bytes, at);
    if (length == 0) return "a byte at " + std::to_string(at) + " that is not UTF-8";
    at += length;
  }
  return {};
}

/// What a model wrote, byte by byte, as text: bytes that are no character become U+FFFD, control characters spaces.
inline std::string readable(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = character_at(bytes, at);
    const auto first = static_cast<unsigned char>(bytes[at]);
    if (length == 0)
      text += "\xEF\xBF\xBD";
    else if ((first < 0x20 && first != '\n' && first != '\t') || first == 0x7F)
      text += ' ';
    else
      text += bytes.substr(at, length);
    at += length == 0 ? 1 : length;
  }
  return text;
}

}  // namespace report
