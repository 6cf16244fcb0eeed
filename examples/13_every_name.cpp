// Every name that a file may say: the mixers, feed-forwards and norms of the menu, and the members of their configs with
// what they are when they are left out.
#include <heed/heed.hpp>
#include <heed/io/config.hpp>
#include <iostream>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <variant>
#include <vector>

namespace {

template <class T>
constexpr bool is_choice = false;
template <class... T>
constexpr bool is_choice<std::variant<T...>> = true;

/// Where a config was listed first.
struct Listed {
  const std::type_info* type;
  std::string place;
};
std::vector<Listed> listed;

template <class T>
void list_members(const T& config, const std::string& place, int depth);

template <class... T>
void list_choices(const std::variant<T...>&, const std::string& place, int depth) {
  (
      [&] {
        std::cout << std::string(std::size_t(depth) * 2, ' ') << "type " << T::name << "\n";
        list_members(T{}, place + " " + std::string(T::name), depth + 1);
      }(),
      ...);
}

/// One line for a member, and below it its own members, unless a config of its type was listed before.
template <class T>
void list_member(std::string_view name, const T& member, const std::string& place, int depth) {
  if constexpr (std::is_empty_v<T>) return;
  std::cout << std::string(std::size_t(depth) * 2, ' ') << name;
  constexpr bool has_members = heed::HasFields<const T>;
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [value_name, value] : value_names(T()))
      std::cout << (value == member ? " [" : " ") << value_name << (value == member ? "]" : "");
    std::cout << "\n";
  } else if constexpr (has_members || is_choice<T>) {
    for (const Listed& before : listed)
      if (*before.type == typeid(T)) {
        std::cout << ": as " << before.place << "\n";
        return;
      }
    listed.push_back({&typeid(T), place + " " + std::string(name)});
    std::cout << "\n";
    if constexpr (has_members)
      list_members(member, place + " " + std::string(name), depth + 1);
    else
      list_choices(member, place + " " + std::string(name), depth + 1);
  } else {
    std::cout << " " << heed::io::config_text(heed::described(member));
  }
}

template <class T>
void list_members([[maybe_unused]] const T& config, [[maybe_unused]] const std::string& place, [[maybe_unused]] int depth) {
  if constexpr (heed::HasFields<const T>)
    T::fields([&](std::string_view name, const auto& member) { list_member(name, member, place, depth); }, config);
}

/// What add_menu adds to, as it adds to a registry.
struct Names {
  template <class Component>
  Names& add(const std::string& name) {
    std::cout << name << "\n";
    list_members(typename Component::Config{}, name, 1);
    return *this;
  }
};

}  // namespace

int main() {
  Names names;
  heed::add_menu(names);
}
