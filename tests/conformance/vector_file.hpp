// Vector files: the inputs, the attributes and the expected outputs of one operator, as text.
//
//   test NAME
//   op OPERATOR
//   opset N
//   node_inputs NAME...            in the operator's order; "_" or "-" stands for one that is left out
//   node_outputs NAME...
//   attr NAME VALUE                any number
//   input NAME TYPE RANK DIMS...   each followed by one line with its values, row-major
//   output NAME TYPE RANK DIMS...
//
// A file that is not so is refused with the number of the line. Nothing is taken on trust: counts are checked before
// anything of that size is allocated.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <heed/core/matrix.hpp>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace heed::conformance {

/// Says which line of which file is wrong, and how.
struct VectorFileError : std::runtime_error {
  VectorFileError(const std::string& file, std::size_t line, const std::string& what)
      : std::runtime_error(file + ":" + std::to_string(line) + ": " + what) {}
};

enum class Type { f64, f32, f16, bf16, integer, boolean };

struct Tensor {
  Type type = Type::f32;
  std::vector<Index> dims;
  std::vector<double> values;  // integers up to 2^53, booleans as 0 and 1

  Index rank() const { return static_cast<Index>(dims.size()); }
  Index size() const { return static_cast<Index>(values.size()); }
};

struct VectorFile {
  std::string test;
  std::string op;
  Index opset = 0;
  std::vector<std::string> node_inputs;   // "" where one is left out
  std::vector<std::string> node_outputs;  // "" where one is left out
  std::map<std::string, std::string> attributes;
  std::map<std::string, Tensor> inputs;
  std::map<std::string, Tensor> outputs;

  /// The operator's input (output) at that position; null if it is left out.
  const Tensor* input(std::size_t position) const { return at(position, node_inputs, inputs); }
  const Tensor* output(std::size_t position) const { return at(position, node_outputs, outputs); }

 private:
  static const Tensor* at(std::size_t position, const std::vector<std::string>& names,
                          const std::map<std::string, Tensor>& tensors) {
    if (position >= names.size() || names[position].empty()) return nullptr;
    return &tensors.at(names[position]);
  }
};

namespace detail {

inline std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const std::size_t end = (std::min)(line.find_first_of(" \t"), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

/// True if all of the word is an integer, which is then written to it.
template <class Integer>
bool read_number(std::string_view word, Integer& integer) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), integer);
  return error == std::errc() && end == word.data() + word.size();
}
/// The same for a number with a fraction, for inf and for nan. Beyond the largest number it is none.
inline bool read_number(std::string_view word, double& number) {  // std::from_chars of doubles is not in every library
  const std::string text(word);
  char* end = nullptr;
  number = std::strtod(text.c_str(), &end);
  const bool is_infinite = text.find_first_of("iI") != std::string::npos;
  return !text.empty() && end == text.c_str() + text.size() && (is_infinite || !std::isinf(number));
}

class VectorFileReader {
 public:
  VectorFileReader(const std::string& name, std::istream& text) : name_(name), text_(text) {}

  VectorFile read() {
    while (next_line()) {
      const auto words = words_of(line_);
      if (words.empty()) continue;
      if (words[0] == "input")
        read_tensor(words, file_.inputs, file_.node_inputs, "node_inputs");
      else if (words[0] == "output")
        read_tensor(words, file_.outputs, file_.node_outputs, "node_outputs");
      else
        read_header(words);
    }
    if (file_.test.empty()) wrong("expected a line 'test NAME', found none");
    if (file_.op.empty()) wrong("expected a line 'op OPERATOR', found none");
    if (file_.opset == 0) wrong("expected a line 'opset N', found none");
    expect_all(file_.node_inputs, file_.inputs, "input");
    expect_all(file_.node_outputs, file_.outputs, "output");
    if (file_.outputs.empty()) wrong("expected an output, found none");
    return std::move(file_);
  }

 private:
  static constexpr Index largest_tensor = Index(1) << 26;

  bool next_line() {
    line_.clear();
    if (!std::getline(text_, line_)) return false;
    ++number_;
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    return true;
  }
  [[noreturn]] void wrong(const std::string& what) const { throw VectorFileError(name_, number_, what); }

  void read_header(const std::vector<std::string_view>& words) {
    const std::string_view key = words[0];
    if (key == "node_inputs" || key == "node_outputs") {
      auto& names = key == "node_inputs" ? file_.node_inputs : file_.node_outputs;
      bool& seen = key == "node_inputs" ? seen_inputs_ : seen_outputs_;
      if (seen) wrong("a second line '" + std::string(key) + "'");
      seen = true;
      for (std::size_t i = 1; i < words.size(); ++i)
        names.emplace_back(words[i] == "_" || words[i] == "-" ? std::string_view() : words[i]);
    } else if (key == "attr") {
      if (words.size() != 3) wrong("expected 'attr NAME VALUE', found " + std::to_string(words.size() - 1) + " words");
      if (!file_.attributes.emplace(words[1], words[2]).second) wrong("a second attribute '" + std::string(words[1]) + "'");
    } else if (key == "test" || key == "op") {
      std::string& value = key == "test" ? file_.test : file_.op;
      if (words.size() != 2) wrong("expected '" + std::string(key) + " NAME'");
      if (!value.empty()) wrong("a second line '" + std::string(key) + "'");
      value = words[1];
    } else if (key == "opset") {
      if (file_.opset != 0) wrong("a second line 'opset'");
      if (words.size() != 2 || !read_number(words[1], file_.opset) || file_.opset < 1) wrong("expected 'opset N', N >= 1");
    } else {
      wrong("expected test, op, opset, node_inputs, node_outputs, attr, input or output, found '" + std::string(key) + "'");
    }
  }

  void read_tensor(const std::vector<std::string_view>& words, std::map<std::string, Tensor>& tensors,
                   const std::vector<std::string>& names, const std::string& list) {
    Index rank = 0;
    if (words.size() < 4 || !read_number(words[3], rank) || rank < 0 || static_cast<std::size_t>(rank) + 4 != words.size())
      wrong("expected 'NAME TYPE RANK' and as many dimensions as the rank");
    const std::string name(words[1]);
    Tensor tensor;
    tensor.type = type_of(words[2]);
    Index size = 1;
    for (std::size_t axis = 4; axis < words.size(); ++axis) {
      Index dim = 0;
      if (!read_number(words[axis], dim) || dim < 0)
        wrong("expected a dimension, found '" + std::string(words[axis]) + "'");
      if (dim > largest_tensor || size * dim > largest_tensor)
        wrong("'" + name + "' has more than " + std::to_string(largest_tensor) + " values");
      size *= dim;
      tensor.dims.push_back(dim);
    }
    if (std::find(names.begin(), names.end(), name) == names.end()) wrong("'" + name + "' is not in " + list);
    read_values(name, size, tensor);
    if (!tensors.emplace(name, std::move(tensor)).second) wrong("a second tensor '" + name + "'");
  }

  Type type_of(std::string_view word) const {
    if (word == "f64") return Type::f64;
    if (word == "f32") return Type::f32;
    if (word == "f16") return Type::f16;
    if (word == "bf16") return Type::bf16;
    if (word == "bool") return Type::boolean;
    for (const std::string_view integer : {"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"})
      if (word == integer) return Type::integer;
    wrong("expected a type (f64 f32 f16 bf16 i8 ... u64 bool), found '" + std::string(word) + "'");
  }

  void read_values(const std::string& name, Index size, Tensor& tensor) {
    // an empty tensor at the end of the file needs no line
    if (!next_line() && size > 0) {
      ++number_;
      wrong("expected the values of '" + name + "', found the end of the file");
    }
    const auto words = words_of(line_);
    if (static_cast<Index>(words.size()) != size)
      wrong("'" + name + "': expected " + std::to_string(size) + " values, found " + std::to_string(words.size()));
    tensor.values.reserve(words.size());
    for (const std::string_view word : words) tensor.values.push_back(value_of(word, tensor.type));
  }

  double value_of(std::string_view word, Type type) const {
    if (type == Type::integer) {
      constexpr std::int64_t largest = std::int64_t(1) << 53;
      std::int64_t value = 0;
      if (!read_number(word, value) || value > largest || value < -largest)
        wrong("expected an integer, found '" + std::string(word) + "'");
      return static_cast<double>(value);
    }
    if (type == Type::boolean) {
      if (word != "0" && word != "1") wrong("expected 0 or 1, found '" + std::string(word) + "'");
      return word == "1" ? 1 : 0;
    }
    double value = 0;
    if (!read_number(word, value)) wrong("expected a number, found '" + std::string(word) + "'");
    return value;
  }

  void expect_all(const std::vector<std::string>& names, const std::map<std::string, Tensor>& tensors,
                  const std::string& kind) const {
    for (const std::string& name : names)
      if (!name.empty() && tensors.count(name) == 0)
        wrong("expected a tensor for the " + kind + " '" + name + "', found none");
  }

  std::string name_;
  std::istream& text_;
  std::string line_;
  std::size_t number_ = 0;
  bool seen_inputs_ = false;
  bool seen_outputs_ = false;
  VectorFile file_;
};

}  // namespace detail

/// Raises VectorFileError. name: what errors call the file.
inline VectorFile read_vector_file(const std::string& name, std::istream& text) {
  return detail::VectorFileReader(name, text).read();
}

}  // namespace heed::conformance
