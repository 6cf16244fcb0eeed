// Where weights start. Every tensor's numbers depend on the seed and its name alone, so that what two models share starts
// equal.
//
//   matrix, embedding   N(0, 0.02)
//   output              N(0, 0.02 / sqrt(2 L)): the two branches of L blocks add up to unit growth
//   norm                1          bias   0
//   coefficient, state  as the component says: in its constructor, or in its own `initialise`
// Source: Radford et al. 2019 (GPT-2), section 2.3.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "../core/random.hpp"
#include "../core/visit.hpp"
#include "shape.hpp"

namespace heed::inline HEED_ABI {

struct Initialiser {
  std::uint64_t seed;
  Index layers;        // L
  std::string prefix;  // of tensor names

  static constexpr double deviation = 0.02;

  Random random(std::string_view name) const { return Random(seed, prefix + std::string(name)); }

  template <class Scalar>
  void by_role(std::string_view name, Role role, Matrix<Scalar>& tensor) const {
    switch (role) {
      case Role::matrix:
      case Role::embedding:
        random(name).normal(tensor, deviation);
        break;
      case Role::output:
        random(name).normal(tensor, deviation / std::sqrt(2.0 * static_cast<double>(layers)));
        break;
      case Role::norm:
        tensor.setOnes();
        break;
      case Role::bias:
        tensor.setZero();
        break;
      case Role::coefficient:
      case Role::state:
        break;
    }
  }

  /// Initialises the component called `name` inside this one.
  template <class Component, class Params>
  void run(std::string_view name, const Shape& shape, const typename Component::Config& config, Params& params) const {
    Initialiser{seed, layers, prefix + std::string(name) + "."}.run_here<Component>(shape, config, params);
  }
  /// The initialised params of the component called `name`, coefficients as its constructor makes them.
  template <class Component, class Params>
  Params make(std::string_view name, const Shape& shape, const typename Component::Config& config) const {
    Params params(shape, config);
    run<Component>(name, shape, config, params);
    return params;
  }
  /// Initialises a component: by its own `initialise` if it has one, by role otherwise.
  template <class Component, class Params>
  void run_here(const Shape& shape, const typename Component::Config& config, Params& params) const {
    if constexpr (requires { Component::initialise(shape, config, params, *this); })
      Component::initialise(shape, config, params, *this);
    else
      visit([&](std::string_view tensor_name, Role role, auto& tensor) { by_role(tensor_name, role, tensor); }, params);
  }
};

}  // namespace heed::inline HEED_ABI
