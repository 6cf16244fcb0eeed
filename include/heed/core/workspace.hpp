// What all mixers of one model share from call to call: where the sequences stand, and scratch.
//
// A stack's caches and tapes are built on a workspace. A model of your own that calls mixers without a stack has one
// itself:
//
//   heed::Workspace work({.sequences = 1, .positions = 2048});
//   const heed::Pass pass = work.begin({rows});  // ShapeError if there is no room; then every mixer, with this pass
//   work.commit();                               // the rows count from now on
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "pass.hpp"

namespace heed::inline HEED_ABI {

struct WorkspaceOptions {
  Index sequences = 1;
  Index positions = 0;                   // that each sequence can hold
  Index checkpoints = 1;                 // marks that stay good at a time
  Index recent_states = 0;               // positions that a sequence can go back without a checkpoint, whatever the mixers
  Executor* executor = nullptr;          // who runs the jobs; nobody: the calling thread
  Storage scores = Storage::arithmetic;  // of probabilities kept for layers above, at inference
};

/// What the arenas of a workspace hold before they have to grow.
struct ScratchBytes {
  std::size_t kept;     // what layers above or backward read
  std::size_t scratch;  // what one layer needs
  std::size_t job = 0;  // what one worker needs, beyond what products take
};

/// A copy stands where the original stands, with scratch of its own.
class Workspace {
 public:
  /// ShapeError for fewer than one sequence or position, or a negative number of checkpoints or recent states.
  explicit Workspace(const WorkspaceOptions& options)
      : Workspace(Timeline(std::vector<Index>(static_cast<std::size_t>(checked(options).sequences), options.positions),
                           options.checkpoints, true, options.recent_states),
                  options.executor, ScratchBytes{default_bytes, default_bytes}, options.scores) {}
  Workspace(Timeline timeline_in, Executor* executor, const ScratchBytes& bytes, Storage scores = Storage::arithmetic)
      : timeline(std::move(timeline_in)),
        kept(bytes.kept),
        scratch(bytes.scratch),
        workers(executor, default_bytes + bytes.job),
        offsets_(timeline.lengths().size() + 1),
        scores_(scores) {}

  /// Starts a call with these new rows. For training the sequences come whole, and start anew.
  Pass begin(Division rows, Purpose purpose = Purpose::inference) {
    if (purpose == Purpose::training) {
      timeline.expects_room_anew(rows);
      restart();
    } else {
      timeline.expects_room(rows);
    }
    open(purpose);
    return pass(part_of_rows(rows, 0, rows.rows()), purpose);
  }
  Pass begin(const Sequences& rows, Purpose purpose = Purpose::inference) { return begin(rows.division(), purpose); }
  /// Ends the call: its rows count from now on, once. A call that is not committed leaves the sequences where they were.
  void commit() {
    timeline.advance(Division(offsets_));
    std::fill(offsets_.begin(), offsets_.end(), 0);
  }

  /// All sequences are empty.
  void restart() {
    for (Index b = 0; b < timeline.sequences(); ++b) static_cast<void>(timeline.truncate(b, 0));
  }
  /// Empties the arenas and chooses where states are written to.
  void open(Purpose purpose = Purpose::inference) {
    kept.reset();
    scratch.reset();
    timeline.open(purpose == Purpose::training ? 1 : timeline.recent_states() + 1);
    ++calls_;
  }
  Pass pass(Division rows, Purpose purpose) {
    return {rows, timeline.lengths(), timeline.slots_for(rows), purpose, kept, scratch, workers, scores_, calls_};
  }
  /// The packed rows [begin, begin + count) as a division of their own, valid until the next one.
  Division part_of_rows(Division rows, Index begin, Index count) {
    offsets_[0] = 0;
    for (Index b = 0; b < rows.sequences(); ++b) {
      const Index from = (std::max)(begin, rows.begin(b));
      const Index to = (std::min)(begin + count, rows.begin(b) + rows.rows(b));
      const auto at = static_cast<std::size_t>(b);
      offsets_[at + 1] = offsets_[at] + (std::max)(Index(0), to - from);
    }
    return Division(offsets_);
  }

  /// Opens a call. While it lives, an error takes back what the slices of the call have changed.
  class AllOrNothing {
   public:
    explicit AllOrNothing(Workspace& work) : work_(work) { work_.open(); }
    ~AllOrNothing() {
      if (!done_) work_.timeline.undo();
    }
    AllOrNothing(const AllOrNothing&) = delete;
    AllOrNothing& operator=(const AllOrNothing&) = delete;
    void done() { done_ = true; }

   private:
    Workspace& work_;
    bool done_ = false;
  };

  /// How probabilities are kept for layers above, at inference.
  Storage scores() const { return scores_; }
  /// Blocks of scratch: grows only when scratch was too small.
  std::size_t scratch_blocks() const { return kept.blocks() + scratch.blocks() + workers.blocks(); }
  std::size_t scratch_bytes() const { return kept.capacity() + scratch.capacity() + workers.capacity(); }

  Timeline timeline;
  Arena kept;
  Arena scratch;
  Workers workers;

 private:
  static const WorkspaceOptions& checked(const WorkspaceOptions& options) {
    HEED_EXPECTS(ShapeError, options.sequences >= 1, "sequences: expected 1 or more, found ", options.sequences);
    HEED_EXPECTS(ShapeError, options.positions >= 1, "positions: expected 1 or more, found ", options.positions);
    HEED_EXPECTS(ShapeError, options.checkpoints >= 0, "checkpoints: expected 0 or more, found ", options.checkpoints);
    HEED_EXPECTS(ShapeError, options.recent_states >= 0, "recent_states: expected 0 or more, found ",
                 options.recent_states);
    return options;
  }

  static constexpr std::size_t default_bytes = std::size_t(1) << 20;

  std::vector<Index> offsets_;
  Storage scores_;
  std::size_t calls_ = 0;
};

}  // namespace heed::inline HEED_ABI
