// The one way to reach every parameter: visit(f, params, others...) calls f(name, role, tensor, others' tensors...).
//
// Loading, saving, counting, zeroing, initialising and optimising are visits, so a list of tensors is written once.
// Every tensor is a row-major Matrix; a vector is [1 x n].
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// What a tensor is, which decides its initialisation and whether weight decay applies.
enum class Role {
  matrix,       ///< x W                                         decays; N(0, 0.02)
  output,       ///< x W that adds to the residual stream        decays; N(0, 0.02 / sqrt(2 L))
  embedding,    ///< a table of rows                             N(0, 0.02)
  norm,         ///< the weight of a norm                        1
  bias,         ///< an addend                                   0
  coefficient,  ///< a learned mixing coefficient                its mixer says; never decays
  state,        ///< a parameter of a recurrence                 its mixer says; never decays
};

/// Calls the visit of params, or of a cache, whatever the constness of the arguments.
template <class F, class Params, class... Others>
void visit(F&& f, Params&& params, Others&&... others) {
  std::remove_cvref_t<Params>::visit(f, params, others...);
}

/// A visitor that puts `prefix` and a dot before every name.
template <class F>
auto prefixed(std::string prefix, F& f) {
  return [prefix = std::move(prefix), &f](std::string_view name, auto&&... visited) {
    f(std::string_view(prefix + "." + std::string(name)), visited...);
  };
}

/// Visits a tensor that an option may leave out: an absent one has no rows and is not visited.
template <class F, class Tensor, class... Others>
void visit_if_present(F&& f, std::string_view name, Role role, Tensor& tensor, Others&... others) {
  if (tensor.rows() > 0) f(name, role, tensor, others...);
}

template <class Params>
Index count_parameters(const Params& params) {
  Index count = 0;
  visit([&](std::string_view, Role, const auto& tensor) { count += tensor.size(); }, params);
  return count;
}

template <class Params>
void set_zero(Params& params) {
  visit([](std::string_view, Role, auto& tensor) { tensor.setZero(); }, params);
}

/// Parameters of the same shapes, all zero: gradients, moments.
template <class Params>
Params zeros_like(const Params& params) {
  Params zeros = params;
  set_zero(zeros);
  return zeros;
}

namespace detail {

/// A visitor that refuses tensors of another shape than the first one's.
struct SameShapes {
  std::string_view what;  // put before a tensor's name

  template <class Tensor, class... Others>
  void operator()(std::string_view name, Role, const Tensor& tensor, const Others&... others) const {
    (expects_shape(std::string(what) + std::string(name), others, tensor.rows(), tensor.cols()), ...);
  }
};

}  // namespace detail

/// ShapeError unless all tensors of `others` have the shapes of those of `params`.
template <class Params, class... Others>
void expects_same_shapes(std::string_view what, const Params& params, const Others&... others) {
  visit(detail::SameShapes{what}, params, others...);
}

/// Takes whatever it is given: an argument that only others need.
struct Ignored {
  Ignored() = default;
  template <class Given>
  Ignored(const Given&) {}  // NOLINT: it converts
};

/// What a component without parameters has.
struct NoParams {
  NoParams() = default;
  NoParams(const Ignored&, const Ignored&) {}
  template <class F, class... P>
  static void visit(F&&, P&&...) {}
};

}  // namespace heed::inline HEED_ABI
