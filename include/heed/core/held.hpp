// Values whose type only their maker knows: what stands behind everything that is chosen at run time.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weight.hpp"

namespace heed::inline HEED_ABI::detail {

/// A value of a type that only its maker knows. Copies are deep.
class Held {
 public:
  Held() = default;
  template <class T, class... Arguments>
  static Held make(Arguments&&... arguments) {
    Held held;
    held.self_ = std::make_unique<As<T>>(std::forward<Arguments>(arguments)...);
    return held;
  }
  Held(const Held& other) : self_(other.self_ ? other.self_->clone() : nullptr) {}
  Held& operator=(const Held& other) {
    Held copy(other);
    self_ = std::move(copy.self_);
    return *this;
  }
  Held(Held&&) = default;
  Held& operator=(Held&&) = default;
  ~Held() = default;

  template <class T>
  T& as() const {
    return static_cast<As<T>&>(*self_).value;
  }

 private:
  struct Any {
    virtual ~Any() = default;
    virtual std::unique_ptr<Any> clone() const = 0;
  };
  template <class T>
  struct As final : Any {
    template <class... Arguments>
    explicit As(Arguments&&... arguments) : value(std::forward<Arguments>(arguments)...) {}
    std::unique_ptr<Any> clone() const override { return std::make_unique<As>(*this); }
    T value;
  };
  std::unique_ptr<Any> self_;
};

/// The value, const if the owner is.
template <class Owner, class T>
std::conditional_t<std::is_const_v<Owner>, const T&, T&> like(T& value) {
  return value;
}

template <class T>
inline constexpr char type_key = 0;  // its address tells types apart, without run-time type information

/// A component with its config, of a type that only its maker knows.
class Chosen {
 public:
  virtual ~Chosen() = default;
  /// Its config if it is a Component, else null.
  template <class Component>
  const typename Component::Config* config_of() const {
    return type() == &type_key<Component> ? static_cast<const typename Component::Config*>(config()) : nullptr;
  }
  virtual const char* type() const = 0;  // &type_key<Component>

 private:
  virtual const void* config() const = 0;
};

template <class Scalar>
struct NamedTensor {
  std::string name;
  Role role;
  Matrix<Scalar>* tensor;
  Weight<Scalar>* weight;  // the same, if it is one
};
template <class Scalar>
Weight<Scalar>* weight_of(Matrix<Scalar>&) {
  return nullptr;
}
template <class Scalar>
Weight<Scalar>* weight_of(Weight<Scalar>& weight) {
  return &weight;
}

/// Params of a type that only their maker knows. They visit as that type does.
template <class Scalar>
class HeldParams {
 public:
  HeldParams() = default;
  template <class Params, class... Arguments>
  static HeldParams make(Arguments&&... arguments) {
    HeldParams params;
    params.held_ = Held::make<Params>(std::forward<Arguments>(arguments)...);
    params.tensors_ = [](const Held& held) {
      std::vector<NamedTensor<Scalar>> list;
      heed::visit(
          [&](std::string_view name, Role role, auto& tensor) {
            list.push_back({std::string(name), role, &tensor, weight_of(tensor)});
          },
          held.as<Params>());
      return list;
    };
    return params;
  }
  template <class Params>
  Params& as() const {
    return held_.as<Params>();
  }

  /// ShapeError before the first call of f if the params have not the same tensors by name.
  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    const std::array<std::vector<NamedTensor<Scalar>>, sizeof...(P)> lists{p.tensors()...};
    for (const auto& list : lists) {
      HEED_EXPECTS(ShapeError, list.size() == lists[0].size(), "params: expected ", lists[0].size(),
                   " tensors as the first has, found ", list.size());
      for (std::size_t t = 0; t < list.size(); ++t)
        HEED_EXPECTS(ShapeError, list[t].name == lists[0][t].name, "params: expected ", lists[0][t].name, ", found ",
                     list[t].name);
    }
    visit_lists(f, lists, std::index_sequence_for<P...>(), p...);
  }

 private:
  std::vector<NamedTensor<Scalar>> tensors() const {
    return tensors_ == nullptr ? std::vector<NamedTensor<Scalar>>() : tensors_(held_);
  }
  template <class F, class Lists, std::size_t... I, class... P>
  static void visit_lists(F& f, const Lists& lists, std::index_sequence<I...>, P&...) {
    for (std::size_t t = 0; t < lists[0].size(); ++t) {
      const std::string_view name = lists[0][t].name;
      if (((lists[I][t].weight != nullptr) && ...))
        f(name, lists[0][t].role, like<P>(*lists[I][t].weight)...);
      else
        f(name, lists[0][t].role, like<P>(*lists[I][t].tensor)...);
    }
  }

  Held held_;
  std::vector<NamedTensor<Scalar>> (*tensors_)(const Held&) = nullptr;
};

}  // namespace heed::inline HEED_ABI::detail
