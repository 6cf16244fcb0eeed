// The one way to reach every member of a Config by name: reading, writing and describing are visits.
//
// A Config that has members lists them once, as a static function:
//
//   struct Config {
//     Index groups = 1;
//     Gating gating = Gating::before_norm;
//     template <class F, class C>
//     static void fields(F&& f, C& config) {
//       f("groups", config.groups);
//       f("gating", config.gating);
//     }
//   };
//
// Members may be bool, whole numbers, double, text, enums, std::optional, std::vector, std::variant and again such configs.
//   enum       value_names(Gating) returns its {name, value} pairs         "before_norm"
//   variant    every alternative has a `name`                           "none", or {"type": "rotary", "theta": 500000}
//   optional   null is none                                             null
// A whole number may be "unbounded" (ops/mask.hpp). What a description leaves out keeps its default, what it says without
// being a member is a ConfigError, and what has its default is not written.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "description.hpp"

namespace heed::inline HEED_ABI {

/// The names of an enum: its value_names lists them.
template <class Enum>
using NameOf = std::pair<std::string_view, Enum>;

namespace detail {

struct AnyFieldVisitor {
  template <class Member>
  void operator()(std::string_view, Member&) const {}
};

}  // namespace detail

/// A config that lists its members.
template <class T>
concept HasFields = requires(T& config) {
  T::fields(detail::AnyFieldVisitor(), config);
};

namespace detail {

inline constexpr std::string_view type_member = "type";  // which alternative, mixer, norm, ...
inline constexpr std::string_view no_bound = "unbounded";
inline constexpr Index largest_whole = Index(1) << 40;  // that a description may say; sizes have bounds of their own
inline constexpr Index unbounded_number = (std::numeric_limits<Index>::max)() / 4;

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_variant : std::false_type {};
template <class... T>
struct is_variant<std::variant<T...>> : std::true_type {};

/// "a, b, c"
inline void append_name(std::string& list, std::string_view name) {
  list += (list.empty() ? "" : ", ") + std::string(name);
}

/// The type that a description names, and the rest of its members: "rotary" is {"type": "rotary"}.
struct TypedDescription {
  std::string type;
  Description rest;
};
inline TypedDescription typed(const Description& description, const Place& place, std::string_view known) {
  if (const auto* name = description.as<std::string>()) return {*name, Description(Description::Members())};
  const auto* members = description.as<Description::Members>();
  if (members == nullptr) place.refuse("expected a name or members with \"type\", found ", description.text());
  TypedDescription typed;
  Description::Members rest;
  bool found = false;
  for (const Description::Member& member : *members) {
    if (member.name != type_member) {
      rest.push_back(member);
      continue;
    }
    const auto* name = member.value.as<std::string>();
    if (name == nullptr) place.member(type_member).refuse("expected a text, found ", member.value.text());
    typed.type = *name;
    found = true;
  }
  if (!found) place.refuse("expected a member \"type\" (one of ", known, "), found none");
  typed.rest = Description(std::move(rest));
  return typed;
}

}  // namespace detail

/// Sets `to` to what the description says. ConfigError naming the place, what was expected and what was found.
template <class T>
void read_described(const Description& from, T& to, const Place& place);

/// What T says, without the members that have their defaults. ConfigError naming the place for what no description can say:
/// a number that is not finite, and what T::check_described(from, place) refuses, if there is one.
template <class T>
Description described(const T& from, const Place& place = Place());

namespace detail {

template <class T>
void read_fields(const Description& from, T& to, const Place& place) {
  const auto* members = from.as<Description::Members>();
  if (members == nullptr) place.refuse("expected members, found ", from.text());
  std::string known;
  std::vector<std::string_view> names;
  std::size_t used = 0;
  if constexpr (HasFields<T>)
    T::fields(
        [&](std::string_view name, auto& member) {
          append_name(known, name);
          names.push_back(name);
          const Description* value = from.find(name);
          if (value == nullptr) return;
          ++used;
          read_described(*value, member, place.member(name));
        },
        to);
  if (used == members->size()) return;
  for (const Description::Member& member : *members)
    if (std::find(names.begin(), names.end(), member.name) == names.end())
      place.member(member.name).refuse("expected ", known.empty() ? "no members" : "one of " + known, ", found this one");
  place.refuse("expected every member once");
}

template <class... T>
void read_variant(const Description& from, std::variant<T...>& to, const Place& place) {
  std::string known;
  (append_name(known, T::name), ...);
  const TypedDescription chosen = typed(from, place, known);
  bool found = false;
  const auto try_one = [&]<class One>(std::type_identity<One>) {
    if (found || chosen.type != One::name) return;
    One value{};
    read_described(chosen.rest, value, place);
    to = std::move(value);
    found = true;
  };
  (try_one(std::type_identity<T>()), ...);
  if (!found) place.refuse("expected one of ", known, ", found \"", chosen.type, "\"");
}

template <class T>
void read_whole(const Description& from, T& to, const Place& place) {
  const auto* text = from.as<std::string>();
  const Index* number = from.as<Index>();
  const bool no_end = text != nullptr && *text == no_bound && std::same_as<T, Index>;
  if (number == nullptr && !no_end) place.refuse("expected a whole number, found ", from.text());
  const Index value = no_end ? unbounded_number : *number;
  const bool fits = no_end || (value >= -largest_whole && value <= largest_whole);
  if (!fits || !std::in_range<T>(value)) place.refuse("expected a whole number that fits, found ", value);
  to = static_cast<T>(value);
}

inline void read_number(const Description& from, double& to, const Place& place) {
  if (const auto* whole = from.as<Index>())
    to = static_cast<double>(*whole);
  else if (const auto* number = from.as<double>(); number != nullptr && std::isfinite(*number))
    to = *number;
  else
    place.refuse("expected a finite number, found ", from.text());
}

template <class Enum>
void read_name(const Description& from, Enum& to, const Place& place) {
  std::string known;
  for (const auto& [name, value] : value_names(Enum())) {
    append_name(known, name);
    if (const auto* text = from.as<std::string>(); text != nullptr && *text == name) {
      to = value;
      return;
    }
  }
  place.refuse("expected one of ", known, ", found ", from.text());
}

template <class T>
Description described_fields([[maybe_unused]] const T& from, [[maybe_unused]] const Place& place) {
  Description::Members members;
  if constexpr (requires { T::check_described(from, place); }) T::check_described(from, place);
  if constexpr (HasFields<const T>) {
    const T defaults{};
    std::vector<Description> by_default;
    T::fields([&](std::string_view, const auto& member) { by_default.push_back(described(member)); }, defaults);
    std::size_t next = 0;
    T::fields(
        [&](std::string_view name, const auto& member) {
          Description value = described(member, place.member(name));
          if (!(value == by_default[next++])) members.push_back({std::string(name), std::move(value)});
        },
        from);
  }
  return Description(std::move(members));
}

/// {"type": name, members...}, or the name alone if there are none.
inline Description with_type(std::string_view name, Description fields) {
  auto* members = fields.as<Description::Members>();
  if (members == nullptr || members->empty()) return Description(name);
  members->insert(members->begin(), {std::string(type_member), Description(name)});
  return fields;
}

}  // namespace detail

template <class T>
void read_described(const Description& from, T& to, const Place& place) {
  if constexpr (std::same_as<T, Description>) {
    to = from;
  } else if constexpr (std::same_as<T, bool>) {
    if (from.as<bool>() == nullptr) place.refuse("expected true or false, found ", from.text());
    to = *from.as<bool>();
  } else if constexpr (std::integral<T>) {
    detail::read_whole(from, to, place);
  } else if constexpr (std::same_as<T, double>) {
    detail::read_number(from, to, place);
  } else if constexpr (std::same_as<T, std::string>) {
    if (from.as<std::string>() == nullptr) place.refuse("expected a text, found ", from.text());
    to = *from.as<std::string>();
  } else if constexpr (std::is_enum_v<T>) {
    detail::read_name(from, to, place);
  } else if constexpr (detail::is_optional<T>::value) {
    to.reset();
    if (from.as<std::monostate>() == nullptr) read_described(from, to.emplace(), place);
  } else if constexpr (detail::is_vector<T>::value) {
    const auto* list = from.as<Description::List>();
    if (list == nullptr) place.refuse("expected a list, found ", from.text());
    to.clear();
    for (std::size_t i = 0; i < list->size(); ++i) {
      typename T::value_type item{};
      read_described((*list)[i], item, place.item(i));
      to.push_back(std::move(item));
    }
  } else if constexpr (detail::is_variant<T>::value) {
    detail::read_variant(from, to, place);
  } else {
    static_assert(HasFields<T> || std::is_empty_v<T>,
                  "heed: a Config with members lists them in a static function `fields` (see heed/core/fields.hpp)");
    detail::read_fields(from, to, place);
  }
}

template <class T>
Description described(const T& from, [[maybe_unused]] const Place& place) {
  if constexpr (std::same_as<T, double>) {
    if (!std::isfinite(from)) place.refuse("expected a finite number, found ", from);
    return Description(from);
  } else if constexpr (std::same_as<T, bool> || std::same_as<T, std::string> || std::same_as<T, Description>) {
    return Description(from);
  } else if constexpr (std::integral<T>) {
    const auto value = static_cast<Index>(from);
    return value >= detail::unbounded_number ? Description(detail::no_bound) : Description(value);
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [name, value] : value_names(T()))
      if (value == from) return Description(name);
    return {};
  } else if constexpr (detail::is_optional<T>::value) {
    return from.has_value() ? described(*from, place) : Description();
  } else if constexpr (detail::is_vector<T>::value) {
    Description::List list;
    for (std::size_t i = 0; i < from.size(); ++i)
      list.push_back(described(static_cast<const typename T::value_type&>(from[i]), place.item(i)));
    return Description(std::move(list));
  } else if constexpr (detail::is_variant<T>::value) {
    return std::visit(
        [&](const auto& chosen) {
          return detail::with_type(std::remove_cvref_t<decltype(chosen)>::name, described(chosen, place));
        },
        from);
  } else {
    static_assert(HasFields<const T> || std::is_empty_v<T>,
                  "heed: a Config with members lists them in a static function `fields` (see heed/core/fields.hpp)");
    return detail::described_fields(from, place);
  }
}

}  // namespace heed::inline HEED_ABI
