// Numbers and bytes as a reader wants them: 12,345  0.1234  1.2e-06  3.00 MiB  4:05, and text that is safe to print.
#pragma once

#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

#include <heed/core/matrix.hpp>

namespace bench {

using heed::Index;

inline constexpr std::string_view no_figure = "–";

/// 1234567 -> 1,234,567
inline std::string grouped(Index number) {
  std::string digits = std::to_string(number < 0 ? -number : number);
  for (std::size_t place = digits.size(); place > 3; place -= 3) digits.insert(place - 3, ",");
  return number < 0 ? "-" + digits : digits;
}

inline std::string printed(const char* format, double number) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, number);
  return buffer.data();
}
inline std::string fixed(double number, int digits) {
  return printed(("%." + std::to_string(digits) + "f").c_str(), number);
}
inline std::string scientific(double number) {
  return printed("%.1e", number);
}

/// Three digits and their separators: nobody times four. 23456 -> 23,500
inline std::string speed(double per_second) {
  if (!(per_second > 0) || !std::isfinite(per_second)) return std::string(no_figure);
  const double unit = std::pow(10.0, std::floor(std::log10(per_second)) - 2);
  return unit >= 1 ? grouped(static_cast<Index>(std::lround(per_second / unit) * std::lround(unit))) : fixed(per_second, 1);
}

inline std::string mebibytes(Index bytes) {
  return fixed(static_cast<double>(bytes) / (1 << 20), 2);
}

/// 245 -> 4:05
inline std::string minutes(double seconds) {
  const auto whole = static_cast<Index>(std::lround(seconds < 0 ? 0 : seconds));
  const std::string rest = std::to_string(whole % 60);
  return std::to_string(whole / 60) + (rest.size() < 2 ? ":0" : ":") + rest;
}

/// Characters on a screen, if every code point is one wide.
inline std::size_t width_of(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u ? 1 : 0;
  return count;
}

inline std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  return html;
}

}  // namespace bench
