// Published outputs of a whole encoder layer, by Block with PostNorm: a table in a page.
//
//   | case | activation | input rows | key padding (1 = hidden) | expected first row |
//   | NAME | ReLU or GELU | [x x ...] or see below | none or 0 1 ... | y y ... |
//   ... The five rows: [x x ...] [x x ...] ...
//
// Width 4, 2 heads, 16 hidden, LayerNorm, biases everywhere. Every parameter of PyTorch's is filled with cos(0), cos(1),
// ... in row-major order, [out x in], starting again for each: in_proj (the rows of Q, then of K, then of V), out_proj,
// linear1, linear2 and both norms.
#pragma once

#include <heed/mixers/variants.hpp>
#include <heed/model/stack.hpp>

#include "case.hpp"

namespace heed::conformance {

struct EncoderCase {
  std::string name;
  std::string activation;
  std::vector<std::vector<double>> rows;
  std::vector<bool> hidden;      // by row; empty: none
  std::vector<double> expected;  // the first row
};

namespace detail {

class EncoderPageReader {
 public:
  EncoderPageReader(const std::string& name, std::istream& text) : name_(name), text_(text) {}

  std::vector<EncoderCase> read() {
    bool in_table = false;
    for (std::string line; std::getline(text_, line);) {
      ++number_;
      const auto cells = cells_of(line);
      if (cells.size() >= 2 && words_of(cells[0]) == Words{"case"} && words_of(cells[1]) == Words{"activation"})
        in_table = true;
      else if (cells.empty())
        in_table = false;
      else if (in_table && line.find_first_not_of("|- ") != std::string::npos)
        read_table_row(cells);
      if (cells.empty() && !cases_.empty()) read_rows(line, rows_below_);
    }
    for (EncoderCase& at : cases_)
      if (at.rows.empty()) at.rows = rows_below_;
    return std::move(cases_);
  }

 private:
  using Words = std::vector<std::string_view>;

  [[noreturn]] void wrong(const std::string& what) const { throw VectorFileError(name_, number_, what); }

  std::vector<double> numbers(std::string_view text) const {
    std::vector<double> values;
    for (const std::string_view word : words_of(text)) {
      double value = 0;
      if (!read_number(word, value)) wrong("expected a number, found '" + std::string(word) + "'");
      values.push_back(value);
    }
    return values;
  }
  /// Every "[x x ...]" of the line.
  void read_rows(std::string_view line, std::vector<std::vector<double>>& rows) const {
    for (std::size_t begin = line.find('['); begin != std::string_view::npos; begin = line.find('[', begin + 1)) {
      const std::size_t end = line.find(']', begin);
      if (end == std::string_view::npos) wrong("expected a ']'");
      rows.push_back(numbers(line.substr(begin + 1, end - begin - 1)));
    }
  }
  static Words cells_of(std::string_view line) {
    Words cells;
    if (line.empty() || line[0] != '|') return cells;
    for (std::size_t begin = 1, end = line.find('|', begin); end != std::string_view::npos;
         begin = end + 1, end = line.find('|', begin))
      cells.push_back(line.substr(begin, end - begin));
    return cells;
  }
  void read_table_row(const Words& cells) {
    if (cells.size() != 5) wrong("expected 5 cells, found " + std::to_string(cells.size()));
    EncoderCase at;
    for (const std::string_view word : words_of(cells[0])) at.name += (at.name.empty() ? "" : " ") + std::string(word);
    at.activation = words_of(cells[1]).empty() ? "" : std::string(words_of(cells[1])[0]);
    read_rows(cells[2], at.rows);
    if (words_of(cells[3]) != Words{"none"})
      for (const double hidden : numbers(cells[3])) at.hidden.push_back(hidden != 0);
    at.expected = numbers(cells[4]);
    cases_.push_back(std::move(at));
  }

  std::string name_;
  std::istream& text_;
  std::size_t number_ = 0;
  std::vector<EncoderCase> cases_;
  std::vector<std::vector<double>> rows_below_;
};

/// w [in x out] of a tensor [out x in] that is filled with cos(first), cos(first + 1), ... in row-major order.
inline void fill_with_cosines(Matrix<float>& w, Index first = 0) {
  for (Index out = 0; out < w.cols(); ++out)
    for (Index in = 0; in < w.rows(); ++in)
      w(in, out) = static_cast<float>(std::cos(static_cast<double>(first + out * w.rows() + in)));
}

template <class Activation>
Matrix<float> encode(const Matrix<float>& x) {
  using Layer = Block<StandardAttention, FeedForward<Activation>, LayerNorm, PostNorm>;
  typename Stack<float, Layer>::Config config{.width = 4, .heads = 2, .hidden = 16};
  auto& layer = config.template layer<0>();
  layer.mixer.scores = {.mask = bidirectional(), .positions = NoPositions{}, .biases = true};
  layer.mixer.values.biases = true;
  layer.mixer.output_bias = true;
  layer.feed_forward.biases = true;
  Stack<float, Layer> model(config);
  visit(
      [](std::string_view name, Role, Matrix<float>& tensor) {
        const std::string_view last = name.substr(name.rfind('.') + 1);
        const bool is_key = last == "w_k" || last == "b_k", is_value = last == "w_v" || last == "b_v";
        // the rows of in_proj: 4 of Q, 4 of K, 4 of V
        fill_with_cosines(tensor, (is_key ? 4 : is_value ? 8 : 0) * (last[0] == 'w' ? 4 : 1));
      },
      model.params());
  auto cache = model.make_cache({.positions = x.rows(), .rows = x.rows()});
  return model.forward(x, cache);
}

}  // namespace detail

/// No cases if the page has no such table. Raises VectorFileError.
inline std::vector<EncoderCase> read_encoder_cases(const std::string& name, std::istream& text) {
  return detail::EncoderPageReader(name, text).read();
}

inline Worst encoder_layer(const EncoderCase& at) {
  constexpr Index width = 4;
  expect(at.hidden.empty() || at.hidden.size() == at.rows.size(), "expected padding for ", at.rows.size(), " rows, found ",
         at.hidden.size());
  expect(at.expected.size() == std::size_t(width), "expected a row of 4, found ", at.expected.size());
  // Rows are packed in heed: what is hidden is not there. The first row is the first that is seen.
  Matrix<float> x(0, width);
  for (std::size_t t = 0; t < at.rows.size(); ++t) {
    expect(at.rows[t].size() == std::size_t(width), "row ", t, ": expected 4 numbers, found ", at.rows[t].size());
    if (!at.hidden.empty() && at.hidden[t]) continue;
    x.conservativeResize(x.rows() + 1, width);
    for (Index i = 0; i < width; ++i) x(x.rows() - 1, i) = static_cast<float>(at.rows[t][static_cast<std::size_t>(i)]);
  }
  expect(x.rows() > 0 && (at.hidden.empty() || !at.hidden[0]), "the first row is hidden");
  if (at.activation != "ReLU" && at.activation != "GELU") throw NotOffered("activation '" + at.activation + "'");
  const Matrix<float> y = at.activation == "ReLU" ? detail::encode<Relu>(x) : detail::encode<Gelu>(x);

  // Six digits are published; both sides computed in single precision, in sums of at most 16 terms.
  Worst worst{0, 0.5e-6 + 2 * 16 * unit_roundoff(Type::f32)};
  for (std::size_t i = 0; i < at.expected.size(); ++i) {
    const double found = static_cast<double>(y(0, static_cast<Index>(i)));
    const double error = std::abs(found - at.expected[i]) / (std::max)(1.0, std::abs(at.expected[i]));
    expect(error <= worst.tolerance, "[", i, "]: expected ", at.expected[i], ", found ", found);
    worst.error = (std::max)(worst.error, error);
  }
  return worst;
}

}  // namespace heed::conformance
