// What a config says, as a tree of values with names, whatever file or program it came from.
//
//   nothing | true or false | whole number | number | text | list of values | members, each a name and a value
//
// io/config.hpp makes one of a JSON file, fields.hpp turns one into a Config and back.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

class Description {
 public:
  struct Member;
  using List = std::vector<Description>;
  using Members = std::vector<Member>;

  Description() = default;
  Description(bool value);              // NOLINT: a value is a description of itself
  Description(int value);               // NOLINT
  Description(Index value);             // NOLINT
  Description(double value);            // NOLINT
  Description(std::string value);       // NOLINT
  Description(std::string_view value);  // NOLINT
  Description(const char* value);       // NOLINT
  Description(List value);              // NOLINT
  Description(Members value);           // NOLINT

  template <class T>
  const T* as() const {
    return std::get_if<T>(&value_);
  }
  template <class T>
  T* as() {
    return std::get_if<T>(&value_);
  }
  /// The value of a member, or null.
  const Description* find(std::string_view name) const;
  /// What errors call it: "3", "a text "abc"", "a list of 2", "members".
  std::string text() const;

  friend bool operator==(const Description& a, const Description& b);

  std::string source;  // the file it came from, of the whole tree only: what errors begin with

 private:
  std::variant<std::monostate, bool, Index, double, std::string, List, Members> value_;
};

struct Description::Member {
  std::string name;
  Description value;
  friend bool operator==(const Member& a, const Member& b) { return a.name == b.name && a.value == b.value; }
};

inline Description::Description(bool value) : value_(value) {}
inline Description::Description(int value) : value_(Index(value)) {}
inline Description::Description(Index value) : value_(value) {}
inline Description::Description(double value) : value_(value) {}
inline Description::Description(std::string value) : value_(std::move(value)) {}
inline Description::Description(std::string_view value) : value_(std::string(value)) {}
inline Description::Description(const char* value) : value_(std::string(value)) {}
inline Description::Description(List value) : value_(std::move(value)) {}
inline Description::Description(Members value) : value_(std::move(value)) {}

inline bool operator==(const Description& a, const Description& b) {
  return a.value_ == b.value_;
}

inline const Description* Description::find(std::string_view name) const {
  if (const Members* members = as<Members>())
    for (const Member& member : *members)
      if (member.name == name) return &member.value;
  return nullptr;
}

inline std::string Description::text() const {
  constexpr std::size_t longest = 60;  // of a text that a file says
  if (const bool* value = as<bool>()) return *value ? "true" : "false";
  if (const Index* value = as<Index>()) return std::to_string(*value);
  if (const double* value = as<double>()) return std::to_string(*value);
  if (const std::string* value = as<std::string>())
    return "\"" + (value->size() <= longest ? *value : value->substr(0, longest) + "...") + "\"";
  if (const List* value = as<List>()) return "a list of " + std::to_string(value->size());
  return as<Members>() != nullptr ? "members" : "nothing";
}

/// Where in a description something stands: "model.json: layers[3].mixer.scores". Errors begin with it.
class Place {
 public:
  explicit Place(std::string source = "") : source_(std::move(source)) {}

  Place member(std::string_view name) const { return {source_, path_ + (path_.empty() ? "" : ".") + std::string(name)}; }
  Place item(std::size_t index) const { return {source_, path_ + "[" + std::to_string(index) + "]"}; }
  std::string text() const { return source_ + (source_.empty() || path_.empty() ? "" : ": ") + path_; }

  /// ConfigError: expected, found.
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    const std::string place = text();
    fail<ConfigError>(place, place.empty() ? "" : ": ", parts...);
  }

 private:
  Place(std::string source, std::string path) : source_(std::move(source)), path_(std::move(path)) {}
  std::string source_;
  std::string path_;
};

}  // namespace heed::inline HEED_ABI
