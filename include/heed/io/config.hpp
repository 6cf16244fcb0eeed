// Descriptions as JSON files: what a stack is built from (model/registry.hpp).
//
//   auto model = DynamicStack<float>::build(io::read_config("model.json"), standard_registry<float>());
//   io::write_config("model.json", registry.described(model));
//
// A file may be hostile: its size, its depth and numbers without end are bounded, a name twice in one object is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../core/description.hpp"
#include "replace_file.hpp"

namespace heed::inline HEED_ABI::io {

namespace detail {

inline constexpr std::uintmax_t longest_config = std::uintmax_t(1) << 24;  // bytes
inline constexpr std::size_t deepest_config = 64;

/// Makes a description as the parser walks the text.
class DescriptionReader {
 public:
  using json = nlohmann::json;

  explicit DescriptionReader(const Place& place) : place_(place) {}

  Description result() { return std::move(root_); }

  bool null() { return add({}); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(json::number_integer_t value) { return add(static_cast<Index>(value)); }
  bool number_unsigned(json::number_unsigned_t value) {
    if (value > static_cast<std::uint64_t>((std::numeric_limits<Index>::max)())) return add(static_cast<double>(value));
    return add(static_cast<Index>(value));
  }
  bool number_float(json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(json::binary_t&) { return add({}); }
  bool start_object(std::size_t) { return open(Description::Members()); }
  bool start_array(std::size_t) { return open(Description::List()); }
  bool key(std::string& name) {
    Open& last = open_.back();
    if (!last.names.insert(name).second) last.place.member(name).refuse("expected every name once, found it twice");
    last.name = name;
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t position, const std::string&, const json::exception& error) {
    place_.refuse("expected JSON, found none at byte ", position, " (", error.what(), ")");
  }

 private:
  struct Open {  // an object or an array whose end has not come
    Description value;
    Place place;
    std::string name;             // of the member whose value comes next
    std::set<std::string> names;  // ordered: there is no hash to be made to collide
  };

  Place next_place() const {
    if (open_.empty()) return place_;
    const Open& last = open_.back();
    if (const auto* list = last.value.as<Description::List>()) return last.place.item(list->size());
    return last.place.member(last.name);
  }
  bool open(Description value) {
    Place place = next_place();
    if (open_.size() >= detail::deepest_config)
      place.refuse("expected at most ", detail::deepest_config, " levels, found more");
    open_.push_back({std::move(value), std::move(place), {}, {}});
    return true;
  }
  bool close() {
    Description value = std::move(open_.back().value);
    open_.pop_back();
    return add(std::move(value));
  }
  bool add(Description value) {
    if (open_.empty())
      root_ = std::move(value);
    else if (auto* list = open_.back().value.as<Description::List>())
      list->push_back(std::move(value));
    else
      open_.back().value.as<Description::Members>()->push_back({open_.back().name, std::move(value)});
    return true;
  }

  const Place& place_;
  Description root_;
  std::vector<Open> open_;
};

inline nlohmann::ordered_json to_json(const Description& from) {
  if (const auto* value = from.as<bool>()) return *value;
  if (const auto* value = from.as<Index>()) return *value;
  if (const auto* value = from.as<double>()) return *value;
  if (const auto* value = from.as<std::string>()) return *value;
  if (const auto* list = from.as<Description::List>()) {
    auto json = nlohmann::ordered_json::array();
    for (const Description& item : *list) json.push_back(to_json(item));
    return json;
  }
  if (const auto* members = from.as<Description::Members>()) {
    auto json = nlohmann::ordered_json::object();
    for (const Description::Member& member : *members) json[member.name] = to_json(member.value);
    return json;
  }
  return nullptr;
}

}  // namespace detail

/// The description that a JSON text says. source: what errors call it. ConfigError for what is not JSON, too long or too
/// deep.
inline Description parse_config(std::string_view text, std::string source) {
  const Place place(source);
  if (text.size() > detail::longest_config)
    place.refuse("expected at most ", detail::longest_config, " bytes, found ", text.size());
  detail::DescriptionReader reader(place);
  nlohmann::json::sax_parse(text, &reader);
  Description description = reader.result();
  description.source = std::move(source);
  return description;
}

/// The description in a JSON file. ConfigError, naming the file, also if it cannot be read.
inline Description read_config(const std::filesystem::path& path) {
  const Place place(path.string());
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) place.refuse("expected a regular file, found none");
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size > detail::longest_config)
    place.refuse("expected a file of at most ", detail::longest_config, " bytes, found ", error ? std::uintmax_t(0) : size);
  std::ifstream stream(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  stream.read(text.data(), static_cast<std::streamsize>(size));
  if (!stream.good()) place.refuse("cannot be read");
  return parse_config(text, path.string());
}

/// The JSON text that `parse_config` reads as this description. Text that is not UTF-8 comes back changed.
inline std::string config_text(const Description& description) {
  return detail::to_json(description).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

/// Writes `path.partial` and renames it to `path`. ConfigError, with the file that was there left as it was, if it cannot
/// be written.
inline void write_config(const std::filesystem::path& path, const Description& description) {
  const std::string text = config_text(description);
  detail::replace_file<ConfigError>(path, [&](std::ostream& stream) { stream << text; });
}

}  // namespace heed::inline HEED_ABI::io
