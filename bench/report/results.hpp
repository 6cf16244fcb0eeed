// What came out: per variant, and about the whole run. What did not run is not there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan.hpp"
#include "text.hpp"
#include "variants.hpp"

namespace report {

struct HeldOut {
  Index step;
  double loss;
};

/// Of one training.
struct Curve {
  std::vector<double> losses;     // by step, of the windows of that step, before it
  std::vector<HeldOut> held_out;  // on the held-out text, after so many steps
  double seconds = 0;             // in training steps alone
  bool finished = false;

  Index steps() const { return static_cast<Index>(losses.size()); }
};

/// One text fed whole and in chunks: the largest differences of the logits.
struct Agreement {
  double chunked_whole = 0;
  double whole_double = 0;    // the whole pass in float against the same model in double
  double chunked_double = 0;  // and the chunked one

  /// Chunks may cost what rounding costs anyway: at most twice the error of the whole pass.
  bool holds() const { return chunked_double <= 2 * whole_double; }
};

struct DecodeTime {
  Index position;
  double seconds;  // for one token, median
};

/// Bytes of the cache of one sequence without checkpoints.
struct CacheBytes {
  Index constant = 0;
  Index per_position = 0;
  bool allocated = false;  // a cache that was made has exactly these

  Index at(Index positions) const { return constant + per_position * positions; }
};

struct Result {
  const Variant* variant = nullptr;
  Index parameters = 0;
  Curve curve;
  CacheBytes cache;
  std::optional<Agreement> agreement;
  std::optional<double> prefill;   // tokens per second
  std::vector<DecodeTime> decode;  // by length
  std::string generated = {};

  std::optional<double> held_out_loss() const {
    if (!curve.finished || curve.held_out.empty()) return std::nullopt;
    return curve.held_out.back().loss;
  }
  /// Tokens per second at a length.
  std::optional<double> decode_speed(Index position) const {
    for (const DecodeTime& time : decode)
      if (time.position == position) return 1 / time.seconds;
    return std::nullopt;
  }
};

struct Report {
  Plan plan;
  std::vector<const Variant*> variants;
  std::string steps_chosen = {};  // who chose the number of steps
  std::string command = {};
  std::string commit = {};
  std::string machine = {};
  std::string compiler = {};
  std::string date = {};
  std::string text_name = {};
  std::string text_hash = {};
  Index text_bytes = 0;
  Index text_files = 0;
  Index text_skipped = 0;
  Index held_out_bytes = 0;  // predicted
  std::string prompt = {};
  std::vector<Result> results = {};
  bool interrupted = false;
  double seconds = 0;
};

}  // namespace report
