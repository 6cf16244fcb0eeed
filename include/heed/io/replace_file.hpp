// A file is written beside its target, as `path.partial`, and then renamed: a write that is cut short leaves the file that
// was there. One writer per path.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "../core/errors.hpp"

namespace heed::inline HEED_ABI::io::detail {

/// write(stream) writes the whole file. Error, naming the file, with the target left as it was, if that does not succeed.
template <class Error, class Write>
void replace_file(const std::filesystem::path& path, Write&& write) {
  const std::filesystem::path partial = path.string() + ".partial";
  std::ofstream stream(partial, std::ios::binary | std::ios::trunc);
  if (!stream.is_open()) heed::fail<Error>(partial.string(), ": cannot be written");
  write(stream);
  stream.close();
  std::error_code error;
  const bool written = stream.good();
  if (written) std::filesystem::rename(partial, path, error);
  if (!written || error) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    heed::fail<Error>(path.string(), ": cannot be written", error ? ": " + error.message() : "");
  }
}

}  // namespace heed::inline HEED_ABI::io::detail
