// Runs every vector file of a folder and of the folders in it: one line for each, and a count.
//
//   NAME  OPERATOR  passed  error E, tolerance T         E is over max(1, |expected|)
//   NAME  OPERATOR  not offered  why
//   NAME  OPERATOR  FAILED  what was expected and what was found
//
// A .txt that begins with '#' has lists of rotary frequencies, any other is a vector file. A .md may have the table of
// encoder_layer.hpp; if it does not, it is for reading, and passed over.
#pragma once

#include <filesystem>
#include <functional>
#include <ostream>

#include "attention.hpp"
#include "causal_conv.hpp"
#include "encoder_layer.hpp"
#include "layer_normalization.hpp"
#include "linear_attention.hpp"
#include "rms_normalization.hpp"
#include "rope_frequencies.hpp"
#include "rotary_embedding.hpp"

namespace heed::conformance {

class Runner {
 public:
  explicit Runner(std::ostream& out) : out_(out) {}

  void run_folder(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (entry.path().extension() == ".txt" || entry.path().extension() == ".md") paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) run_file(path, path.lexically_relative(folder).generic_string());
    out_ << passed << " passed, " << not_offered << " not offered, " << failed << " failed\n";
  }

  int passed = 0;
  int not_offered = 0;
  int failed = 0;

 private:
  using Operator = std::function<Worst(Case&)>;

  static Worst run_operator(const VectorFile& file) {
    static const std::map<std::string, Operator> operators = {
        {"Attention", attention},
        {"CausalConvWithState", causal_conv_with_state},
        {"LayerNormalization", layer_normalization},
        {"LinearAttention", linear_attention_case},
        {"RMSNormalization", rms_normalization},
        {"RotaryEmbedding", rotary_embedding},
    };
    const auto found = operators.find(file.op);
    if (found == operators.end()) throw NotOffered("heed has no such operator");
    Case at(file);
    return found->second(at);
  }

  void run_file(const std::filesystem::path& path, const std::string& name) {
    std::ifstream text(path);
    try {
      if (path.extension() == ".md") {
        for (const EncoderCase& at : read_encoder_cases(name, text))
          report(name, "encoder layer, " + at.name + ", " + at.activation, [&] { return encoder_layer(at); });
      } else if (text.peek() == '#') {
        for (const FrequencyList& list : read_frequency_lists(name, text))
          report(name, "rotary " + list.kind, [&] { return rope_frequencies(list); });
      } else {
        text.clear();  // an empty file was at its end
        const VectorFile file = read_vector_file(name, text);
        report(name, file.op, [&] { return run_operator(file); });
      }
    } catch (const VectorFileError& malformed) {
      report(name, "-", [&]() -> Worst { throw malformed; });
    }
  }

  void report(const std::string& name, const std::string& op, const std::function<Worst()>& run) {
    out_ << name << "  " << op << "  ";
    try {
      const Worst worst = run();
      out_ << "passed  error " << worst.error << ", tolerance " << worst.tolerance << "\n";
      ++passed;
    } catch (const NotOffered& reason) {
      out_ << "not offered  " << reason.what() << "\n";
      ++not_offered;
    } catch (const std::exception& wrong) {
      out_ << "FAILED  " << wrong.what() << "\n";
      ++failed;
    }
  }

  std::ostream& out_;
};

}  // namespace heed::conformance
