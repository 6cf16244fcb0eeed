// A cache and what it must hold: the rows of every sequence's text so far, with the results they gave when they were fed.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "../reference/bounds.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/testing/mixer_contract.hpp"
#include "program.hpp"

namespace heed::properties {

inline constexpr Sizes sizes = {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 8};
inline constexpr Index capacity = 24;
inline constexpr Index memory_positions = 5;
inline constexpr int neighbours = 16;  // texts one unit of the last place away, for the error of a whole pass

/// A layer of this kind above others, of which `chain` publish a history of values.
template <class Scalar>
typename DynamicStack<Scalar>::Layer layer_of(Kind kind, Index chain) {
  const auto masked = [](Mask mask) {
    StandardAttention::Config config;
    config.scores.mask = mask;
    return choose<StandardAttention>(config);
  };
  switch (kind) {
    case Kind::window:
      return masked(window(3));
    case Kind::chunked:
      return masked(chunked(5));
    case Kind::streaming:
      return masked(streaming(2, 3));
    case Kind::residual:
      return choose<ResidualValueAttention>();
    case Kind::shared:
      return choose<SharedValueAttention>();
    case Kind::anchored:
      return choose<Attention<ComputedScores, SharedValues<nearest<values>>>>();
    case Kind::history:
      return choose<Attention<ComputedScores, HistoryValues>>();
    case Kind::dense:
      return choose<Attention<ComputedScores, DenseResidualValues>>({.values = {.below = chain}});
    case Kind::neutreno:
      return choose<Attention<ComputedScores, ProjectedValues, Neutreno>>();
    case Kind::reuse:
      return choose<ScoreReuseAttention>();
    case Kind::partial_reuse:
      return choose_side_by_side(choose<StandardAttention>(), choose<ScoreReuseAttention>(), 1);
    case Kind::mamba:
      return choose<Mamba>({.state_width = 2});
    case Kind::mamba2:
      return choose<Mamba2>({.state_width = 3, .chunk = 4});
    case Kind::side_by_side:
      return choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>({.state_width = 3}), 1);
    case Kind::in_parallel:
      return choose_in_parallel(choose<Attention<ComputedScores, ProjectedValues, NormedOutput>>(),
                                choose<Mamba2>({.state_width = 3}));
    case Kind::shared_keys:
      return choose<SharedKeyAttention>();
    case Kind::cross:
      return choose<CrossAttention>({.memory_positions = memory_positions, .sinks = true});
    case Kind::standard:
    case Kind::count:
      break;
  }
  return choose<StandardAttention>();
}
template <class Scalar>
DynamicStack<Scalar> build(const std::vector<Kind>& kinds) {
  std::vector<typename DynamicStack<Scalar>::Layer> layers;
  Index chain = 0;
  for (const Kind kind : kinds) {
    layers.push_back(layer_of<Scalar>(kind, chain));
    if (kind == Kind::history) chain = 1;
    if (kind == Kind::dense) ++chain;
  }
  return DynamicStack<Scalar>::build(sizes, layers);
}

/// The stack of a program, and the same weights in double.
struct Models {
  explicit Models(std::vector<Kind> kinds)
      : narrow(build<float>(wired(kinds))),
        exact(build<double>(wired(kinds))),
        reads_memory(std::find(kinds.begin(), kinds.end(), Kind::cross) != kinds.end()) {
    testing::detail::randomise(narrow.params(), 3);
    testing::detail::copy_params(narrow.params(), exact.params());
  }

  DynamicStack<float> narrow;
  DynamicStack<double> exact;
  bool reads_memory;

 private:
  static std::vector<Kind> wired(std::vector<Kind> kinds) {
    for (std::size_t count = 1; count <= kinds.size(); ++count) try {
        static_cast<void>(build<float>({kinds.begin(), kinds.begin() + static_cast<std::ptrdiff_t>(count)}));
      } catch (const ConfigError&) {
        kinds[count - 1] = Kind::standard;
      }
    return kinds;
  }
};

struct Row {
  Matrix<float> x;  // [1 x D]
  Matrix<float> y;  // [1 x D] what it gave
};
/// A sequence: the memory that it began with, and its rows.
struct Text {
  Matrix<float> memory;  // [S_m x D]
  std::vector<Row> rows;

  Index size() const { return static_cast<Index>(rows.size()); }
};

class World {
 public:
  World(const Models& models, const Program& program)
      : models_(&models),
        program_(&program),
        cache_(make_cache()),
        texts_(static_cast<std::size_t>(program.sequences)),
        back_(texts_.size(), 0) {}

  void run(const Step& step, Random& random) {
    const auto b = static_cast<std::size_t>(step.of[0] % program_->sequences);
    switch (step.action) {
      case Action::feed:
        return feed(step.of, random);
      case Action::overflow:
        return overflow(b);
      case Action::checkpoint:
        marks_.push_back({cache_.checkpoint(), texts_});
        return;
      case Action::rollback:
        return rollback(step.of[1]);
      case Action::rollback_one:
        return rollback_one(step.of[1], b);
      case Action::cut_back:
        return cut_back(b, step.of[1]);
      case Action::restart:
        RC_ASSERT(cache_.truncate(static_cast<Index>(b), 0));
        texts_[b].rows.clear(), back_[b] = 0;
        return;
      case Action::fork:
        return;  // is done by whoever keeps the worlds
      case Action::reorder:
        return reorder(step.of);
      case Action::save_and_load:
        return save_and_load();
    }
  }

  /// Every row that is left gave what a replay of the text gives, up to rounding.
  void verify(Random& random) {
    feed({1, 1, 1, 1}, random);
    for (std::size_t b = 0; b < texts_.size(); ++b) {
      RC_ASSERT(cache_.length(static_cast<Index>(b)) == texts_[b].size());
      if (texts_[b].size() > 0) verify(texts_[b]);
    }
  }

 private:
  struct Remembered {
    Mark mark;
    std::vector<Text> texts;
  };

  CacheOptions options() const {
    return {.sequences = program_->sequences,
            .positions = capacity,
            .checkpoints = program_->checkpoints,
            .recent_states = program_->recent_states,
            .storage = static_cast<Storage>(program_->storage),
            .score_bytes = program_->score_bytes};
  }
  DynamicStack<float>::Cache make_cache() const { return models_->narrow.make_cache(options()); }

  void feed(const std::array<int, 4>& counts, Random& random) {
    std::vector<Index> rows;
    for (std::size_t b = 0; b < texts_.size(); ++b)
      rows.push_back((std::min)(static_cast<Index>(counts[b]), capacity - texts_[b].size()));
    const Sequences sequences{std::span<const Index>(rows)};
    if (sequences.rows() == 0) return;
    Matrix<float> x(sequences.rows(), sizes.width);
    random.normal(x, 1);
    for (std::size_t b = 0; b < texts_.size(); ++b)
      if (begins(b, rows)) {
        texts_[b].memory.resize(counts[(b + 1) % counts.size()], sizes.width);
        random.normal(texts_[b].memory, 1);
      }
    const Matrix<float> y = forward(x, sequences, brought_by(rows));
    for (std::size_t b = 0; b < texts_.size(); ++b) {
      const auto at = static_cast<Index>(b);
      for (Index t = sequences.begin(at); t < sequences.begin(at) + rows[b]; ++t)
        texts_[b].rows.push_back({x.row(t), y.row(t)});
      back_[b] = (std::min)(static_cast<Index>(program_->recent_states), back_[b] + rows[b]);
    }
  }

  /// What a call brings as memories.
  struct Brought {
    Matrix<float> memory;     // [S_0 + S_1 + ... x D]
    std::vector<Index> rows;  // by sequence; empty: nobody needs one
  };
  bool begins(std::size_t b, const std::vector<Index>& rows) const { return texts_[b].size() == 0 && rows[b] > 0; }
  /// The memories of those who begin. What the others bring is not read, so it is not a number.
  Brought brought_by(const std::vector<Index>& rows) const {
    Brought all;
    bool needed = false;
    for (std::size_t b = 0; b < texts_.size(); ++b) {
      needed = needed || begins(b, rows);
      all.rows.push_back(begins(b, rows) ? texts_[b].memory.rows() : 1);
    }
    if (!needed) return {};
    all.memory.resize(std::accumulate(all.rows.begin(), all.rows.end(), Index(0)), sizes.width);
    Index at = 0;
    for (std::size_t b = 0; b < texts_.size(); at += all.rows[b++]) {
      auto of_sequence = all.memory.middleRows(at, all.rows[b]);
      if (begins(b, rows))
        of_sequence = texts_[b].memory;
      else
        of_sequence.setConstant(std::numeric_limits<float>::quiet_NaN());
    }
    return all;
  }
  Matrix<float> forward(const Matrix<float>& x, const Sequences& sequences, const Brought& brought) {
    if (brought.rows.empty()) return models_->narrow.forward(x, sequences, cache_);
    const Sequences memories{std::span<const Index>(brought.rows)};
    return models_->narrow.forward(x, sequences, MemoryRows(brought.memory, memories), cache_);
  }

  /// Calls that do not fit are refused: too many rows, and for a sequence that begins too long a memory.
  void overflow(std::size_t b) {
    std::vector<Index> rows(texts_.size(), 0);
    rows[b] = capacity - texts_[b].size() + 1;
    const Matrix<float> x = Matrix<float>::Zero(rows[b], sizes.width);
    RC_ASSERT_THROWS_AS(models_->narrow.forward(x, Sequences{std::span<const Index>(rows)}, cache_), ShapeError);
    if (models_->reads_memory && texts_[b].size() == 0) overflow_memory(b);
  }
  void overflow_memory(std::size_t of) {
    std::vector<Index> rows;
    const std::vector<Text> were = texts_;
    for (std::size_t b = 0; b < texts_.size(); ++b) {
      rows.push_back((std::min)(Index(2), capacity - texts_[b].size()));
      if (begins(b, rows)) texts_[b].memory.setZero(memory_positions + (b == of ? 1 : 0), sizes.width);
    }
    const Sequences sequences{std::span<const Index>(rows)};
    const Matrix<float> x = Matrix<float>::Zero(sequences.rows(), sizes.width);
    RC_ASSERT_THROWS_AS(forward(x, sequences, brought_by(rows)), ShapeError);
    texts_ = were;
  }

  void rollback(int which) {
    if (marks_.empty()) return;
    const Remembered& past = marks_[marks_.size() - 1 - static_cast<std::size_t>(which) % marks_.size()];
    const bool can = cache_.can_rollback(past.mark);
    RC_ASSERT(cache_.rollback(past.mark) == can);
    if (!can) return;
    texts_ = past.texts;
    std::fill(back_.begin(), back_.end(), 0);  // at least
  }
  void rollback_one(int which, std::size_t b) {
    if (marks_.empty()) return;
    const Remembered& past = marks_[marks_.size() - 1 - static_cast<std::size_t>(which) % marks_.size()];
    const bool can = cache_.can_rollback(past.mark, static_cast<Index>(b));
    RC_ASSERT(cache_.rollback(past.mark, static_cast<Index>(b)) == can);
    if (!can) return;
    texts_[b] = past.texts[b];
    back_[b] = 0;
  }
  void cut_back(std::size_t b, int by) {
    const auto length = texts_[b].size();
    const Index to = (std::max)(Index(0), length - by);
    const bool can = cache_.can_truncate(static_cast<Index>(b), to);
    RC_ASSERT(can || (to > 0 && by > back_[b]));
    RC_ASSERT(cache_.truncate(static_cast<Index>(b), to) == can);
    if (!can) return;
    texts_[b].rows.resize(static_cast<std::size_t>(to));
    back_[b] = (std::max)(Index(0), back_[b] - (length - to));
  }
  void reorder(const std::array<int, 4>& numbers) {
    std::vector<Index> sources;
    for (std::size_t b = 0; b < texts_.size(); ++b) sources.push_back(numbers[b] % program_->sequences);
    RC_ASSERT(cache_.reorder(sources));
    const auto reordered = [&](auto& of_sequences) {
      const auto was = of_sequences;
      for (std::size_t b = 0; b < sources.size(); ++b) of_sequences[b] = was[static_cast<std::size_t>(sources[b])];
    };
    reordered(texts_), reordered(back_);
    for (Remembered& past : marks_) reordered(past.texts);
  }
  void save_and_load() {
    const std::vector<std::byte> blob = cache_.save();
    DynamicStack<float>::Cache loaded = make_cache();
    loaded.load(blob);
    RC_ASSERT(loaded.save() == blob);
    for (const Remembered& past : marks_) RC_ASSERT(!loaded.can_rollback(past.mark));
    cache_ = std::move(loaded);
    marks_.clear();
  }

  void verify(const Text& text) const {
    const Index T = text.size();
    Matrix<float> x(T, sizes.width), y(T, sizes.width);
    for (Index t = 0; t < T; ++t) {
      x.row(t) = text.rows[static_cast<std::size_t>(t)].x;
      y.row(t) = text.rows[static_cast<std::size_t>(t)].y;
    }
    const double floor = static_cast<double>(std::numeric_limits<float>::epsilon()) * double((std::max)(T, Index(16)));
    testing::detail::Nearness near = whole_pass(x, text.memory, floor);
    // One pass is one draw of roundings. Where the model magnifies them, only several tell how large they may be.
    Random random(2, "neighbours");
    for (int drawn = 0; drawn < neighbours && !near.holds(y); ++drawn)
      near.error_of_whole =
          (std::max)(near.error_of_whole,
                     whole_pass(neighbour_of(x, random), neighbour_of(text.memory, random), floor).error_of_whole);
    RC_LOG() << "error " << testing::detail::Nearness::error(y, near.oracle) << ", of the whole text "
             << near.error_of_whole << "\n";
    RC_ASSERT(near.holds(y));
  }

  /// The whole text fed at once, in float and in double.
  testing::detail::Nearness whole_pass(const Matrix<float>& x, const Matrix<float>& memory, double floor) const {
    const Index T = x.rows();
    auto cache =
        models_->narrow.make_cache({.positions = T, .rows = T, .storage = static_cast<Storage>(program_->storage)});
    auto exact = models_->exact.make_cache({.positions = T, .rows = T});
    testing::detail::Nearness near;
    const Matrix<double> exact_memory = memory.cast<double>();
    near.oracle = models_->exact.forward(Matrix<double>(x.cast<double>()), MemoryRows(exact_memory), exact);
    near.error_of_whole =
        testing::detail::Nearness::error(Matrix<float>(models_->narrow.forward(x, MemoryRows(memory), cache)), near.oracle);
    near.floor = floor;
    return near;
  }
  /// x with every number moved to one of the two next to it.
  static Matrix<float> neighbour_of(const Matrix<float>& x, Random& random) {
    Matrix<float> to(x.rows(), x.cols());
    random.normal(to, 1);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return x.binaryExpr(to,
                        [](float number, float side) { return std::nextafter(number, side < 0 ? -infinity : infinity); });
  }

  const Models* models_;
  const Program* program_;
  DynamicStack<float>::Cache cache_;
  std::vector<Text> texts_;
  std::vector<Index> back_;  // how many rows each can be cut back at least
  std::vector<Remembered> marks_;
};

}  // namespace heed::properties
