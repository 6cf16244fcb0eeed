// Products of bf16 tiles (AMX), where the compiler's flags and the running machine have them.
#pragma once

#include <string>

namespace limits {

/// Empty, or what is missing. The system is asked once: it hands out room for tiles only to those who ask.
const std::string& why_no_amx();

/// Products of tiles that stay in registers, four sums of products of two tiles with two.
void multiply_tiles();
inline constexpr double amx_flops = 2.0 * 16 * 16 * 32 * 4 * 4000;  // of that

}  // namespace limits
