// Memory: the rows of another sequence that every sequence of a call attends to, such as an encoder's output.
//
//   memory of sequence m   [S_m x D_m]
//
// It comes from a layer below that publishes the signal, or from outside:
//
//   model.forward(x, MemoryRows(encoded), cache);                                  // a stack, one sequence
//   model.forward(x, sequences, MemoryRows(encoded, memory_sequences), cache);
//   layer.apply(pass, x, y, state, feed_memory(pass, MemoryRows(encoded)));        // a MixerLayer
#pragma once

#include "mixer.hpp"

namespace heed::inline HEED_ABI {

/// Packed rows of memory, and where their gradient is added. It owns nothing: rows and gradient have to outlive the call,
/// and in training the backward.
template <class Scalar>
class MemoryRows {
 public:
  /// None: for calls whose sequences have all brought theirs before.
  MemoryRows() = default;
  /// rows [S_m x D_m], the memory of a single sequence.
  template <class Rows>
  explicit MemoryRows(const Eigen::MatrixBase<Rows>& rows)
      : rows_(view_of(rows).data()), stride_(view_of(rows).outerStride()), count_(rows.rows()), width_(rows.cols()) {}
  /// rows [S_0 + S_1 + ... x D_m], packed in the order of the sequences, of which each has a memory.
  template <class Rows>
  MemoryRows(const Eigen::MatrixBase<Rows>& rows, const Sequences& sequences) : MemoryRows(rows) {
    sequences_ = &sequences;
  }
  /// The same for training: backward adds to d_rows, of the same shape.
  template <class Rows, class Gradient>
  MemoryRows(const Eigen::MatrixBase<Rows>& rows, const Sequences& sequences, const Eigen::MatrixBase<Gradient>& d_rows)
      : MemoryRows(rows, sequences) {
    detail::expects_shape("memory: d_rows", d_rows, rows.rows(), rows.cols());
    gradient_ = mutable_view_of(d_rows).data();
    gradient_stride_ = mutable_view_of(d_rows).outerStride();
  }

  /// Raises ShapeError unless it is none, or divides into that many sequences.
  void check(Index sequences) const {
    if (width_ == 0) return;
    const Index found = sequences_ == nullptr ? 1 : sequences_->size();
    HEED_EXPECTS(ShapeError, found == sequences, "memory: expected that of ", sequences, " sequences, found that of ",
                 found);
    if (sequences_ != nullptr) detail::expects_shape("memory", view(), sequences_->rows(), width_);
  }
  /// Its table, in the arena: an entry a sequence, of no width if it is none.
  SignalTable table(Index sequences, Arena& arena) const {
    auto* entries = arena.take_zeroed<HeadRows<Scalar>>(sequences);
    auto* wanted = arena.take_zeroed<unsigned char>(1);
    *wanted = 1;
    for (Index b = 0; b < sequences && width_ > 0; ++b) {
      const Index begin = sequences_ == nullptr ? 0 : sequences_->begin(b);
      const Index rows = sequences_ == nullptr ? count_ : sequences_->rows(b);
      Scalar* gradient = gradient_ == nullptr ? nullptr : gradient_ + begin * gradient_stride_;
      entries[b] = {rows_ + begin * stride_, gradient, rows, width_, stride_, gradient_stride_};
    }
    return {entries, sequences, 1, 1, wanted};
  }

 private:
  View<Scalar> view() const { return view_of(rows_, count_, width_, stride_); }

  const Scalar* rows_ = nullptr;
  Scalar* gradient_ = nullptr;
  Index stride_ = 0;
  Index gradient_stride_ = 0;
  Index count_ = 0;
  Index width_ = 0;
  const Sequences* sequences_ = nullptr;  // none: a single one
};

template <class Rows, class... Rest>
MemoryRows(const Eigen::MatrixBase<Rows>&, const Rest&...) -> MemoryRows<typename Rows::Scalar>;

/// Memory for a mixer without a stack. Raises ShapeError if it does not divide into the sequences of the pass.
template <class Scalar>
Fed<first<memory>, Scalar> feed_memory(const Pass& pass, const MemoryRows<Scalar>& rows) {
  rows.check(pass.sequences());
  return {rows.table(pass.sequences(), pass.kept)};
}

}  // namespace heed::inline HEED_ABI
