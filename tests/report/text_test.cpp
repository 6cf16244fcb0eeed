#include "../../bench/report/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using report::TextError;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Folder : public testing::Test {
 protected:
  Folder() {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() override { fs::remove_all(path_); }

  fs::path write(const std::string& name, std::string_view bytes) {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

  const fs::path path_ = fs::temp_directory_path() / ("heed_text_" + std::to_string(getpid()));
};

using LoadText = Folder;

TEST_F(LoadText, takes_the_bytes_of_a_file_as_they_are) {
  const report::Text text = report::load_text(write("a.txt", "one\r\ntwo \xC3\xA9"));
  EXPECT_EQ(text.bytes, "one\r\ntwo \xC3\xA9");
  EXPECT_EQ(text.name, "a.txt");
  EXPECT_EQ(text.files, 1);
}

TEST_F(LoadText, joins_the_files_of_a_folder_in_the_order_of_their_names) {
  write("b.txt", "two");
  write("a/z.txt", "one");
  write("c.txt", "three");
  const report::Text text = report::load_text(path_ / "");
  EXPECT_EQ(text.bytes, "onetwothree");
  EXPECT_EQ(text.files, 3);
  EXPECT_EQ(text.name, path_.filename().string());
}

TEST_F(LoadText, skips_what_is_not_text_inside_a_folder_and_says_why) {
  write("a.txt", "text");
  write("b.bin", std::string_view("a\0b", 3));
  write("c.latin", "caf\xE9 au lait");
  write(".hidden/d.txt", "secret");
  const report::Text text = report::load_text(path_);
  EXPECT_EQ(text.bytes, "text");
  ASSERT_EQ(text.skipped.size(), 3u);
  std::string all;
  for (const report::Skipped& skipped : text.skipped) all += skipped.name + ": " + skipped.reason + "\n";
  EXPECT_THAT(all, HasSubstr(".hidden: a hidden name"));
  EXPECT_THAT(all, HasSubstr("b.bin: a NUL byte at 1"));
  EXPECT_THAT(all, HasSubstr("c.latin: a byte at 3 that is not UTF-8"));
}

TEST_F(LoadText, refuses_a_named_file_that_is_not_text) {
  const fs::path file = write("a.bin", std::string_view("\x7F"
                                                        "ELF\0",
                                                        5));
  EXPECT_THAT([&] { report::load_text(file); },
              ThrowsMessage<TextError>(testing::AllOf(HasSubstr("expected UTF-8 text in '" + file.string() + "'"),
                                                      HasSubstr("found a NUL byte at 4"))));
}

TEST_F(LoadText, refuses_an_empty_file) {
  const fs::path file = write("a.txt", "");
  EXPECT_THAT([&] { report::load_text(file); }, ThrowsMessage<TextError>(HasSubstr("found an empty file")));
}

TEST_F(LoadText, refuses_a_folder_where_nothing_remains) {
  EXPECT_THAT([&] { report::load_text(path_); }, ThrowsMessage<TextError>(HasSubstr("found no text files")));
  write("b.bin", std::string_view("\0", 1));
  EXPECT_THAT([&] { report::load_text(path_); },
              ThrowsMessage<TextError>(HasSubstr("found no text files and 1 skipped (b.bin: a NUL byte at 0")));
  write("a.txt", "");
  EXPECT_THAT([&] { report::load_text(path_); }, ThrowsMessage<TextError>(HasSubstr("found only empty files")));
}

TEST_F(LoadText, refuses_a_path_where_nothing_is) {
  EXPECT_THAT([&] { report::load_text(path_ / "none"); }, ThrowsMessage<TextError>(HasSubstr("found nothing there")));
}

TEST_F(LoadText, of_the_repository_takes_sources_and_docs_alone) {
  write("include/a.hpp", "a");
  write("docs/b.md", "b");
  write("docs/images/c.svg", "<svg>");
  write("build/d.cpp", "d");
  write("scripts/e", "e");
  EXPECT_EQ(report::load_repository(path_).bytes, "bae");
}

TEST(Divide, holds_out_the_last_tenth) {
  const report::Text text{.name = "digits", .bytes = "012345678901234567890123456789"};
  const report::Parts parts = report::divide(text, 8);
  EXPECT_EQ(std::string(parts.learned.begin(), parts.learned.end()), "012345678901234567890123456");
  EXPECT_EQ(std::string(parts.held_out.begin(), parts.held_out.end()), "789");
}

TEST(Divide, names_the_shortest_text_that_will_do) {
  for (const report::Index length : {1, 8, 64, 100, 256}) {
    report::Text text{.name = "some text"};
    std::string message;
    while (true) {
      try {
        report::divide(text, length);
        break;
      } catch (const TextError& error) {
        message = error.what();
      }
      text.bytes += 'x';
    }
    const std::string size = report::grouped(static_cast<report::Index>(text.bytes.size()));
    EXPECT_THAT(message, HasSubstr("expected at least " + size + " bytes"));
  }
}

TEST(HashOf, is_fnv_1a) {  // the values of the reference implementation: www.isthe.com/chongo/tech/comp/fnv
  EXPECT_EQ(report::hash_of(""), "cbf29ce484222325");
  EXPECT_EQ(report::hash_of("a"), "af63dc4c8601ec8c");
  EXPECT_EQ(report::hash_of("foobar"), "85944171f73967e8");
}

}  // namespace
