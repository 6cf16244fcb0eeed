// The same model in double: how far float is from it is what rounding costs.
#pragma once

#include <map>
#include <span>
#include <string>

#include "plan.hpp"
#include "variants.hpp"

namespace report {

/// A model's weights by tensor name.
using Weights = std::map<std::string, heed::Matrix<double>>;

/// The logits [T x V] of a variant with these weights, in double, all tokens in one call.
heed::Matrix<double> logits_in_double(const Variant& variant, const Plan& plan, const Weights& weights,
                                      std::span<const int> tokens);

}  // namespace report
