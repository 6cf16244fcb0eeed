#include "heed/io/replace_file.hpp"

#include <gtest/gtest.h>

#include <iterator>

#include "../support/error_text.hpp"

namespace heed {
namespace {

namespace fs = std::filesystem;

struct ReplaceFile : testing::Test {
  fs::path folder = fs::path(testing::TempDir()) / "heed_replace_file";
  fs::path path = folder / "file", partial = folder / "file.partial";

  void SetUp() override {
    fs::remove_all(folder);
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }

  static void write(const fs::path& to, const std::string& text) {
    io::detail::replace_file<ConfigError>(to, [&](std::ostream& stream) { stream << text; });
  }
  static std::string read(const fs::path& from) {
    std::ifstream stream(from, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
};

TEST_F(ReplaceFile, PutsTheWholeTextInThePlaceOfWhatWasThere) {
  write(path, "a text that is longer");
  write(path, "short\n");
  EXPECT_EQ(read(path), "short\n");
  EXPECT_FALSE(fs::exists(partial));
}

TEST_F(ReplaceFile, LeavesTheFileThatWasThereUntilTheNewOneIsWhole) {
  write(path, "old");
  io::detail::replace_file<ConfigError>(path, [&](std::ostream& stream) {
    stream << "ne" << std::flush;
    EXPECT_EQ(read(path), "old");
    EXPECT_EQ(read(partial), "ne");
    stream << "w";
  });
  EXPECT_EQ(read(path), "new");
}

TEST_F(ReplaceFile, LeavesTheFileThatWasThereIfTheStreamFails) {
  write(path, "old");
  const auto fail = [&] {
    io::detail::replace_file<ConfigError>(path, [](std::ostream& stream) { stream.setstate(std::ios::badbit); });
  };
  EXPECT_EQ(error_text<ConfigError>(fail), path.string() + ": cannot be written");
  EXPECT_EQ(read(path), "old");
  EXPECT_FALSE(fs::exists(partial));
}

TEST_F(ReplaceFile, NamesTheFileThatCannotBeWritten) {
  fs::create_directories(path);  // a folder cannot be replaced
  EXPECT_TRUE(error_text<ConfigError>([&] { write(path, "text"); }).starts_with(path.string() + ": cannot be written: "));
  EXPECT_FALSE(fs::exists(partial));
  fs::create_directories(partial);
  EXPECT_EQ(error_text<ConfigError>([&] { write(path, "text"); }), partial.string() + ": cannot be written");
  const fs::path missing = folder / "missing" / "file";
  EXPECT_EQ(error_text<ConfigError>([&] { write(missing, "text"); }), missing.string() + ".partial: cannot be written");
}

}  // namespace
}  // namespace heed
