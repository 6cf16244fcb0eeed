// Published inverse frequencies of scaled rotary positions, by inverse_frequencies.
//
//   # KIND key=value ... (where they were published)
//   r/2 numbers, of five significant digits
#pragma once

#include <heed/ops/rotary.hpp>

#include "case.hpp"

namespace heed::conformance {

struct FrequencyList {
  std::string kind;
  std::map<std::string, double> options;
  std::vector<double> published;

  /// The option, which is then understood.
  double take(const std::string& name) {
    const auto found = options.find(name);
    expect(found != options.end(), kind, ": expected '", name, "=...', found none");
    const double value = found->second;
    options.erase(found);
    return value;
  }
  Index take_count(const std::string& name) { return static_cast<Index>(take(name)); }
};

/// Raises VectorFileError.
inline std::vector<FrequencyList> read_frequency_lists(const std::string& name, std::istream& text) {
  std::vector<FrequencyList> lists;
  std::string line;
  for (std::size_t number = 1; std::getline(text, line); ++number) {
    const auto words = detail::words_of(line);
    if (words.empty()) continue;
    const auto wrong = [&](const std::string& what) { throw VectorFileError(name, number, what); };
    if (words[0] == "#") {
      if (words.size() < 2) wrong("expected '# KIND key=value ...'");
      if (!lists.empty() && lists.back().published.empty()) wrong("expected the frequencies of the list above");
      lists.push_back({std::string(words[1]), {}, {}});
      for (std::size_t i = 2; i < words.size() && words[i][0] != '('; ++i) {
        const std::size_t equals = words[i].find('=');
        double value = 0;
        if (equals == std::string_view::npos || !detail::read_number(words[i].substr(equals + 1), value))
          wrong("expected key=value, found '" + std::string(words[i]) + "'");
        lists.back().options.emplace(words[i].substr(0, equals), value);
      }
    } else {
      if (lists.empty() || !lists.back().published.empty()) wrong("expected a line '# KIND key=value ...'");
      for (const std::string_view word : words) {
        double value = 0;
        if (!detail::read_number(word, value)) wrong("expected a number, found '" + std::string(word) + "'");
        lists.back().published.push_back(value);
      }
    }
  }
  if (lists.empty() || lists.back().published.empty()) throw VectorFileError(name, 0, "expected a list of frequencies");
  return lists;
}

inline Worst rope_frequencies(FrequencyList list) {
  const Index width = list.take_count("dim");
  Rotary rotary{.theta = list.take("theta")};
  if (list.kind == "default") {
  } else if (list.kind == "linear") {
    rotary.scaling = LinearScaling{list.take("factor")};
  } else if (list.kind == "dynamic") {
    rotary.scaling = DynamicNtkScaling{list.take("factor"), list.take_count("max_pos"), list.take_count("seq_len")};
  } else if (list.kind == "yarn") {
    rotary.scaling = YarnScaling{.factor = list.take("factor"),
                                 .original_positions = list.take_count("max_pos"),
                                 .fast = list.take("beta_fast"),
                                 .slow = list.take("beta_slow")};
  } else if (list.kind == "llama3") {
    rotary.scaling =
        Llama3Scaling{list.take("factor"), list.take("low"), list.take("high"), list.take_count("original_max_pos")};
  } else {
    throw NotOffered("scaling '" + list.kind + "'");
  }
  for (const auto& [name, value] : list.options) expect(false, "option '", name, "' is not understood");

  const std::vector<double> found = inverse_frequencies(rotary, width).inverse;
  expect(found.size() == list.published.size(), "expected ", found.size(), " frequencies, found ", list.published.size());
  // Half a unit of the fifth digit, and what single precision had made of them before.
  Worst worst{0, 0.5e-4 + 100 * unit_roundoff(Type::f32)};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double error = std::abs(found[i] - list.published[i]) / list.published[i];
    expect(error <= worst.tolerance, "frequency ", i, ": expected ", list.published[i], ", found ", found[i]);
    worst.error = (std::max)(worst.error, error);
  }
  return worst;
}

}  // namespace heed::conformance
