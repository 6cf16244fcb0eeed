#include "heed/io/config.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <limits>

#include "support/error_text.hpp"

namespace heed {
namespace {

using Members = Description::Members;
using List = Description::List;

std::string path_of(const std::string& name) {
  return testing::TempDir() + "heed_config_test_" + name;
}

const Description sample = Members{{"width", 64},           {"epsilon", 1e-12},
                                   {"biases", true},        {"label", "a \"b\" \xc3\xa9"},
                                   {"none", Description()}, {"layers", List{1, 2.5, List{}, Members{}}}};

TEST(Config, IsReadAsItWasWritten) {
  EXPECT_EQ(io::parse_config(io::config_text(sample), "here"), sample);
  io::write_config(path_of("sample.json"), sample);
  const Description read = io::read_config(path_of("sample.json"));
  EXPECT_EQ(read, sample);
  EXPECT_EQ(read.source, path_of("sample.json"));
  std::remove(path_of("sample.json").c_str());
}

std::string error(std::string_view text) {
  return error_text<ConfigError>([&] { static_cast<void>(io::parse_config(text, "model.json")); });
}

TEST(Config, RefusesWhatIsNotJson) {
  EXPECT_TRUE(error("{\"width\": 64,}").starts_with("model.json: expected JSON, found none at byte 14 (")) << error("{,}");
  EXPECT_TRUE(error("").starts_with("model.json: expected JSON, found none at byte 1 ("));
  EXPECT_TRUE(error("{} {}").starts_with("model.json: expected JSON, found none at byte 4 ("));
  EXPECT_TRUE(error("{\"x\": 1e999}").starts_with("model.json: expected JSON, found none at byte 11 ("));
  EXPECT_TRUE(error("{\"x\": \"\xff\"}").starts_with("model.json: expected JSON, found none at byte"));
}

TEST(Config, RefusesWhatIsMeantToDoHarm) {
  EXPECT_EQ(error("{\"layers\": [{\"mixer\": 1, \"mixer\": 2}]}"),
            "model.json: layers[0].mixer: expected every name once, found it twice");
  const std::string deep = std::string(64, '[') + std::string(64, ']');
  EXPECT_EQ(error(deep), "no error");
  EXPECT_TRUE(error("[" + deep + "]").ends_with("expected at most 64 levels, found more"));
  EXPECT_TRUE(error(std::string(10'000'000, '[')).ends_with("expected at most 64 levels, found more"));
  EXPECT_EQ(error(std::string((1u << 24) + 1, ' ')), "model.json: expected at most 16777216 bytes, found 16777217");
}

// Names are looked up, not compared with all that came before: squared, this would take a minute.
TEST(Config, TakesObjectsOfManyNames) {
  constexpr int count = 200'000;
  std::string text = "{";
  for (int i = 0; i < count; ++i) text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  EXPECT_EQ(io::parse_config(text + "}", "").as<Members>()->size(), std::size_t(count));
  EXPECT_EQ(error(text + ",\"77\":0}"), "model.json: 77: expected every name once, found it twice");
}

TEST(Config, IsWrittenBesideItsTargetAndThenRenamed) {
  const std::filesystem::path target = path_of("folder"), partial = target.string() + ".partial";
  std::filesystem::create_directories(target / "full");  // which no file can replace
  EXPECT_TRUE(error_text<ConfigError>([&] {
                io::write_config(target, sample);
              }).starts_with(target.string() + ": cannot be written: "));
  EXPECT_FALSE(std::filesystem::exists(partial));
  std::filesystem::remove_all(target);
  std::filesystem::create_directories(partial);
  io::write_config(path_of("kept.json"), sample);
  EXPECT_EQ(error_text<ConfigError>([&] { io::write_config(target, Members{}); }),
            partial.string() + ": cannot be written");
  EXPECT_FALSE(std::filesystem::exists(target));
  std::filesystem::remove_all(partial);
  std::remove(path_of("kept.json").c_str());
}

TEST(Config, KeepsWholeNumbersThatAreTooLargeAsNumbers) {
  EXPECT_EQ(io::parse_config("[18446744073709551615]", "").as<List>()->front(), Description(18446744073709551615.0));
}

TEST(Config, ReadsNegativeNumbers) {
  EXPECT_EQ(io::parse_config("[-9223372036854775808, -0.5]", ""),
            Description(List{std::numeric_limits<Index>::min(), -0.5}));
}

TEST(Config, RefusesAFileThatIsTooLong) {
  const std::string path = path_of("long.json");
  io::write_config(path, sample);
  std::filesystem::resize_file(path, (1u << 24) + 1);
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(io::read_config(path)); }),
            path + ": expected a file of at most 16777216 bytes, found 16777217");
  std::remove(path.c_str());
}

TEST(Config, RefusesAFileThatIsNotThere) {
  EXPECT_EQ(error_text<ConfigError>([] { static_cast<void>(io::read_config(path_of("absent.json"))); }),
            path_of("absent.json") + ": expected a regular file, found none");
}

}  // namespace
}  // namespace heed
