// One vector file at work: gives an operator its inputs and attributes, takes its outputs and compares them.
//
// In the end everything that the file has must have been asked for: what an operator does not know of is a failure, not
// something to ignore.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <heed/core/errors.hpp>
#include <set>
#include <sstream>

#include "vector_file.hpp"

namespace heed::conformance {

/// What the file says is not what was found, or not understood.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// heed has no such operator, or not in this form; says why.
struct NotOffered : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
void expect(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream text;
  (text << ... << parts);
  throw Failure(text.str());
}

inline std::string text_of(const std::vector<Index>& dims) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < dims.size(); ++axis) text += (axis > 0 ? " x " : "") + std::to_string(dims[axis]);
  return text + "]";
}

/// Half the distance from 1 to the next number.
inline double unit_roundoff(Type type) {
  switch (type) {
    case Type::f64:
      return std::ldexp(1.0, -53);
    case Type::f32:
      return std::ldexp(1.0, -24);
    case Type::f16:
      return std::ldexp(1.0, -11);
    case Type::bf16:
      return std::ldexp(1.0, -8);
    default:
      return 0;
  }
}

/// The nearest number of that type.
inline double rounded(double value, Type type) {
  switch (type) {
    case Type::f64:
      return value;
    case Type::f16:
      return static_cast<double>(static_cast<float>(Eigen::half(static_cast<float>(value))));
    case Type::bf16:
      return static_cast<double>(static_cast<float>(Eigen::bfloat16(static_cast<float>(value))));
    default:
      return static_cast<double>(static_cast<float>(value));
  }
}

/// What |found - expected| may be, over max(1, |expected|).
///
/// The vectors were computed in their own type, and written with nine digits: 10^-4 is what they are good for in single
/// precision, 10^-8 in double. In 16 bits every step of theirs rounded: `roundings` is how many an element went through.
inline double tolerance(Type type, Index roundings) {
  return (std::max)(type == Type::f64 ? 1e-8 : 1e-4, static_cast<double>(roundings) * unit_roundoff(type));
}

/// The largest error over its tolerance; both are 0 if nothing was compared.
struct Worst {
  double error = 0;
  double tolerance = 0;
};

class Case {
 public:
  explicit Case(const VectorFile& file) : file_(file) {}

  const std::string& op() const { return file_.op; }
  Index opset() const { return file_.opset; }

  /// The input at that position, or null.
  const Tensor* input(std::size_t position) {
    inputs_asked_ = (std::max)(inputs_asked_, position + 1);
    return file_.input(position);
  }
  const Tensor& required(std::size_t position, std::string_view name) {
    const Tensor* tensor = input(position);
    expect(tensor != nullptr, "expected an input '", name, "' at position ", position, ", found none");
    return *tensor;
  }

  bool has(const std::string& attribute) const { return file_.attributes.count(attribute) > 0; }
  Index integer(const std::string& attribute, Index otherwise) { return number(attribute, otherwise, "an integer"); }
  double real(const std::string& attribute, double otherwise) { return number(attribute, otherwise, "a number"); }
  std::string word(const std::string& attribute, const std::string& otherwise) {
    attributes_asked_.insert(attribute);
    return has(attribute) ? file_.attributes.at(attribute) : otherwise;
  }

  bool wants(std::size_t position) const { return file_.output(position) != nullptr; }
  /// The type of the output at that position, or of `otherwise` if it is not wanted.
  Type type_of(std::size_t position, Type otherwise) const {
    return wants(position) ? file_.output(position)->type : otherwise;
  }

  /// Compares the output at that position, if it is wanted.
  ///   roundings   see `tolerance`; 0: it must be exact
  ///   steps       the type that they rounded to, if it is narrower than the output's
  template <class Scalar>
  void compare(std::size_t position, const std::vector<Index>& dims, const std::vector<Scalar>& found, Index roundings,
               Type steps = Type::f64) {
    outputs_given_ = (std::max)(outputs_given_, position + 1);
    if (!wants(position)) return;
    const Tensor& expected = *file_.output(position);
    const std::string& name = file_.node_outputs[position];
    expect(expected.dims == dims, name, ": expected ", text_of(expected.dims), ", found ", text_of(dims));
    const Type coarser = unit_roundoff(steps) > unit_roundoff(expected.type) ? steps : expected.type;
    const double tolerated = roundings == 0 ? 0 : tolerance(coarser, roundings);
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double e = rounded(expected.values[i], expected.type),
                   f = rounded(static_cast<double>(found[i]), expected.type);
      const double error = error_of(f, e);
      expect(error <= tolerated, name, "[", i, "]: expected ", e, ", found ", f, ", tolerance ", tolerated);
      if (worst_.tolerance == 0 || error * worst_.tolerance > worst_.error * tolerated) worst_ = {error, tolerated};
    }
  }

  /// Failure if the file has what nobody asked for.
  Worst finish() const {
    for (const auto& [name, value] : file_.attributes)
      expect(attributes_asked_.count(name) > 0, "attribute '", name, "' (", value, ") is not understood");
    for (std::size_t i = inputs_asked_; i < file_.node_inputs.size(); ++i)
      expect(file_.input(i) == nullptr, "input '", file_.node_inputs[i], "' at position ", i, " is not understood");
    for (std::size_t i = outputs_given_; i < file_.node_outputs.size(); ++i)
      expect(!wants(i), "output '", file_.node_outputs[i], "' at position ", i, " is not understood");
    return worst_;
  }

 private:
  static double error_of(double found, double expected) {
    if (std::isnan(expected)) return std::isnan(found) ? 0 : std::numeric_limits<double>::infinity();
    if (found == expected) return 0;  // infinities among them
    const double error = std::abs(found - expected) / (std::max)(1.0, std::abs(expected));
    return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }

  template <class Number>
  Number number(const std::string& attribute, Number otherwise, std::string_view kind) {
    attributes_asked_.insert(attribute);
    if (!has(attribute)) return otherwise;
    Number value{};
    expect(detail::read_number(file_.attributes.at(attribute), value), "attribute '", attribute, "': expected ", kind,
           ", found '", file_.attributes.at(attribute), "'");
    return value;
  }

  const VectorFile& file_;
  std::set<std::string> attributes_asked_;
  std::size_t inputs_asked_ = 0;
  std::size_t outputs_given_ = 0;
  Worst worst_;
};

/// The product of dims [begin, end).
inline Index product_of(const std::vector<Index>& dims, Index begin, Index end) {
  Index product = 1;
  for (Index axis = begin; axis < end; ++axis) product *= dims[static_cast<std::size_t>(axis)];
  return product;
}

/// The values of a tensor in the arithmetic scalar.
template <class Scalar>
Matrix<Scalar> matrix_of(const Tensor& tensor, Index rows, Index cols) {
  expect(tensor.size() == rows * cols, "expected ", rows * cols, " values, found ", text_of(tensor.dims));
  Matrix<Scalar> matrix(rows, cols);
  for (Index i = 0; i < tensor.size(); ++i)
    matrix.data()[i] = static_cast<Scalar>(tensor.values[static_cast<std::size_t>(i)]);
  return matrix;
}

template <class Scalar>
std::vector<Scalar> values_of(const Matrix<Scalar>& matrix) {
  return std::vector<Scalar>(matrix.data(), matrix.data() + matrix.size());
}

/// f(Scalar()): double for f64, float for every other type.
template <class F>
auto with_scalar(Type type, F&& f) {
  return type == Type::f64 ? f(double()) : f(float());
}

}  // namespace heed::conformance
