// A random stack, a random cache of it, and what is done with that cache. Every number means something for every state, by
// its remainder, so a program that was cut short is a program too.
#pragma once

#include <rapidcheck.h>

#include <array>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

namespace heed::properties {

/// What a layer is. A layer that reads what nobody below publishes becomes a standard one.
enum class Kind {
  standard,
  window,
  chunked,
  streaming,
  residual,
  shared,
  anchored,
  history,
  dense,
  neutreno,
  reuse,
  partial_reuse,
  mamba,
  mamba2,
  side_by_side,
  in_parallel,
  shared_keys,
  cross,
  count
};
inline constexpr const char* kind_names[] = {"standard", "window",  "chunked", "streaming", "residual",    "shared",
                                             "anchored", "history", "dense",   "neutreno",  "reuse",       "partial reuse",
                                             "mamba",    "mamba 2", "mixed",   "parallel",  "shared keys", "cross"};
static_assert(std::size(kind_names) == std::size_t(Kind::count));

enum class Action { feed, overflow, checkpoint, rollback, rollback_one, cut_back, restart, fork, reorder, save_and_load };
inline constexpr const char* action_names[] = {"feed",     "overflow", "checkpoint", "rollback", "rollback of one",
                                               "cut back", "restart",  "fork",       "reorder",  "save and load"};

struct Step {
  Action action;
  int world;              // which of the forks
  std::array<int, 4> of;  // rows, sources, or which mark or sequence
};

struct Program {
  std::vector<Kind> layers;
  int sequences;
  int checkpoints;
  int recent_states;
  int score_bytes;  // 0: slices of a row
  int storage;      // arithmetic, bfloat16 or half
  std::vector<Step> steps;
};

inline std::ostream& operator<<(std::ostream& out, const Program& program) {
  out << "\n  layers:";
  for (const Kind kind : program.layers) out << " " << kind_names[static_cast<int>(kind)] << ",";
  out << "\n  sequences " << program.sequences << ", checkpoints " << program.checkpoints << ", recent states "
      << program.recent_states << ", score bytes " << program.score_bytes << ", storage " << program.storage << "\n";
  for (const Step& step : program.steps) {
    out << "  " << action_names[static_cast<int>(step.action)] << " (" << step.of[0];
    for (std::size_t i = 1; i < step.of.size(); ++i) out << ", " << step.of[i];
    out << ") in world " << step.world << "\n";
  }
  return out;
}

}  // namespace heed::properties

namespace rc {

template <>
struct Arbitrary<heed::properties::Step> {
  static Gen<heed::properties::Step> arbitrary() {
    using heed::properties::Action;
    using heed::properties::Step;
    const auto action = gen::weightedElement<Action>({{10, Action::feed},
                                                      {1, Action::overflow},
                                                      {3, Action::checkpoint},
                                                      {2, Action::rollback},
                                                      {2, Action::rollback_one},
                                                      {4, Action::cut_back},
                                                      {1, Action::restart},
                                                      {1, Action::fork},
                                                      {2, Action::reorder},
                                                      {1, Action::save_and_load}});
    return gen::build<Step>(gen::set(&Step::action, action), gen::set(&Step::world, gen::inRange(0, 3)),
                            gen::set(&Step::of, gen::container<std::array<int, 4>>(gen::inRange(0, 6))));
  }
};

template <>
struct Arbitrary<heed::properties::Program> {
  static Gen<heed::properties::Program> arbitrary() {
    using heed::properties::Kind;
    using heed::properties::Program;
    const auto layer =
        gen::map(gen::inRange(0, static_cast<int>(Kind::count)), [](int kind) { return static_cast<Kind>(kind); });
    const auto layers = gen::mapcat(gen::inRange(1, 5), [layer](int count) {
      return gen::container<std::vector<Kind>>(static_cast<std::size_t>(count), layer);
    });
    return gen::build<Program>(
        gen::set(&Program::layers, layers), gen::set(&Program::sequences, gen::inRange(1, 5)),
        gen::set(&Program::checkpoints, gen::inRange(0, 4)), gen::set(&Program::recent_states, gen::inRange(0, 4)),
        gen::set(&Program::score_bytes, gen::element(1 << 20, 0, 300)),
        gen::set(&Program::storage, gen::element(0, 0, 1, 2)),
        gen::set(&Program::steps, gen::scale(0.6, gen::arbitrary<std::vector<heed::properties::Step>>())));
  }
};

}  // namespace rc
