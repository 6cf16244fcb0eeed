// Cells in aligned columns, for a terminal.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "format.hpp"

namespace bench {

/// The first column to the left, the others to the right. Every line has as many cells as the first.
inline std::string aligned(const std::vector<std::vector<std::string>>& lines) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const auto& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = (std::max)(widths[i], width_of(line[i]));
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const std::string space(widths[i] - width_of(line[i]), ' ');
      text += i == 0 ? line[i] + space : "  " + space + line[i];
    }
    text += "\n";
  }
  return text;
}

}  // namespace bench
