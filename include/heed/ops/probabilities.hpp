// The attention probabilities of one query head of one sequence, kept for layers above.
//
//   A [T x S] = softmax(mask(scale q k^T))     post-softmax: rows sum to one, or are zero where a row sees nothing
//
// Stored are panels of 16 rows over the keys that some row of the panel sees, and nothing else: half of A under a causal
// mask, a band under a window. A panel is key-major, [keys x 16]: it is read once, from its begin to its end, by whoever
// multiplies it with values key after key. The numbers are arithmetic or in 16 bits (core/storage.hpp); the gradient lies
// alike, and is always arithmetic.
//
// Readers apply A through `attend` and look at it row by row; kernels ask for panels and their tiles.
#pragma once

#include "../core/arena.hpp"
#include "../core/storage.hpp"
#include "mask.hpp"
#include "score_bias.hpp"

namespace heed::inline HEED_ABI {

/// What is kept of one head's probabilities.
struct KeptShape {
  Index rows = 0;  // T
  Index keys = 0;  // S
  Mask mask = {};
  Index past = 0;                         // the position of row 0: S - T unless the operand has offsets
  Storage storage = Storage::arithmetic;  // of the probabilities
  bool gradient = false;                  // there is one

  /// The keys of [0, keys) that some of the rows [first, first + count) see.
  Intervals visible(Index first, Index count) const { return mask.visible(past + first, past + first + count - 1, keys); }
};

template <class Scalar>
class Probabilities {
 public:
  static constexpr Index panel_rows = 16;

  /// Rows whose numbers lie together, [keys x rows], over the keys that some of them sees.
  struct Panel {
    Index row;       // the first
    Index rows;      // 16, or those left at the end
    Intervals keys;  // all others are zero, and not stored
    Index begin;     // where it lies

    /// Where the key's numbers are: one for each row, side by side. Of a key that is stored.
    Index at(Index key) const {
      const Index before = keys.parts[0].size();
      return begin + rows * (key < keys.parts[0].end ? key - keys.parts[0].begin : before + key - keys.parts[1].begin);
    }
  };

  /// No rows: not kept.
  Probabilities() = default;

  /// All zero, in the arena. bias: the operand's, where it has any: pairs that it hides stay zero.
  static Probabilities make(Arena& arena, const KeptShape& shape, const ScoreBias<Scalar>& bias = {}) {
    const Probabilities made = reserve(arena, shape, bias);
    const Index numbers = made.begins_[made.panels()];
    if (made.narrow_ != nullptr)
      std::fill_n(made.narrow_, numbers, std::uint16_t(0));
    else
      std::fill_n(made.numbers_, numbers, Scalar(0));
    return made;
  }
  /// The same for whoever writes every panel: only the gradient is zero.
  static Probabilities reserve(Arena& arena, const KeptShape& shape, const ScoreBias<Scalar>& bias = {}) {
    Probabilities made;
    made.shape_ = shape;
    made.bias_ = bias;
    Index* begins = arena.take<Index>(made.panels() + 1);
    begins[0] = 0;
    for (Index i = 0; i < made.panels(); ++i) begins[i + 1] = begins[i] + made.numbers_in(i);
    made.begins_ = begins;
    const Index numbers = begins[made.panels()];
    if (shape.storage == Storage::arithmetic)
      made.numbers_ = arena.take<Scalar>(numbers);
    else
      made.narrow_ = arena.take<std::uint16_t>(numbers);
    if (shape.gradient) made.gradient_ = arena.take_zeroed<Scalar>(numbers);
    return made;
  }
  /// What both take from the arena.
  static std::size_t bytes(const KeptShape& shape) {
    Probabilities like;
    like.shape_ = shape;
    Index numbers = 0;
    for (Index i = 0; i < like.panels(); ++i) numbers += like.numbers_in(i);
    return Arena::bytes_of<Index>(like.panels() + 1) +
           Arena::bytes_of<std::byte>(numbers * bytes_of<Scalar>(shape.storage)) +
           (shape.gradient ? Arena::bytes_of<Scalar>(numbers) : 0);
  }

  Index rows() const { return shape_.rows; }
  Index keys() const { return shape_.keys; }
  bool kept() const { return shape_.rows > 0; }
  bool has_gradient() const { return gradient_ != nullptr; }
  Storage storage() const { return shape_.storage; }

  const Mask& mask() const { return shape_.mask; }
  Index past() const { return shape_.past; }
  /// The keys that the mask lets `row` see. All others are zero, and so are their gradients.
  Intervals visible(Index row) const { return shape_.visible(row, 1); }
  /// What hides pairs beside the mask.
  const ScoreBias<Scalar>& bias() const { return bias_; }

  Scalar operator()(Index row, Index key) const {
    const Panel of = panel(row / panel_rows);
    if (!of.keys.contains(key)) return Scalar(0);
    Scalar buffer[panel_rows];
    return tile(of, {key, key + 1}, buffer)[row - of.row];
  }
  Scalar gradient(Index row, Index key) const {
    const Panel of = panel(row / panel_rows);
    return of.keys.contains(key) ? gradient_[of.at(key) + row - of.row] : Scalar(0);
  }

  /// out [S] = row `row` of A
  void read_row(Index row, Scalar* out) const {
    for (Index key = 0; key < keys(); ++key) out[key] = (*this)(row, key);
  }
  void read_gradient_row(Index row, Scalar* out) const {
    for (Index key = 0; key < keys(); ++key) out[key] = gradient(row, key);
  }
  /// For whoever forms probabilities in another way: the visible part of `values` [S] becomes row `row`.
  void write_row(Index row, const Scalar* values) const {
    const Panel of = panel(row / panel_rows);
    for_each_seen(row, [&](Index key) { write(of, key, row - of.row, 1, values + key); });
  }
  void add_gradient_row(Index row, const Scalar* values) const {
    const Panel of = panel(row / panel_rows);
    for_each_seen(row, [&](Index key) { gradient_[of.at(key) + row - of.row] += values[key]; });
  }

  // For kernels.

  Index panels() const { return (shape_.rows + panel_rows - 1) / panel_rows; }
  Panel panel(Index i) const {
    const Index row = i * panel_rows, count = (std::min)(panel_rows, shape_.rows - row);
    return {row, count, shape_.visible(row, count), begins_[i]};
  }
  /// f(panel, first, count) for the panels of rows [row, row + count): those of them that are in a panel, counted from
  /// `row`.
  template <class F>
  void for_each_panel(Index row, Index count, F&& f) const {
    for (Index i = row / panel_rows; i * panel_rows < row + count; ++i) {
      const Panel of = panel(i);
      const Index first = (std::max)(row, of.row);
      f(of, first - row, (std::min)(row + count, of.row + of.rows) - first);
    }
  }
  /// The panel's numbers for `keys`, of one of its intervals, [keys x rows]: where they lie, or widened into the buffer of
  /// that size.
  const Scalar* tile(const Panel& of, Interval keys, Scalar* buffer) const {
    if (narrow_ == nullptr) return numbers_ + of.at(keys.begin);
    widen(shape_.storage, narrow_ + of.at(keys.begin), keys.size() * of.rows, buffer);
    return buffer;
  }
  Scalar* gradient_tile(const Panel& of, Index key) const { return gradient_ + of.at(key); }
  /// The key's numbers for the panel's rows [first, first + count) become `values`.
  void write(const Panel& of, Index key, Index first, Index count, const Scalar* values) const {
    const Index at = of.at(key) + first;
    if (narrow_ == nullptr)
      std::copy_n(values, count, numbers_ + at);
    else
      narrow(shape_.storage, values, count, narrow_ + at);
  }
  /// The same of all the panel's rows and several keys of one interval, as `tile` reads them.
  void write_keys(const Panel& of, Interval keys, const Scalar* values) const {
    if (narrow_ == nullptr)
      std::copy_n(values, keys.size() * of.rows, numbers_ + of.at(keys.begin));
    else
      narrow(shape_.storage, values, keys.size() * of.rows, narrow_ + of.at(keys.begin));
  }
  /// Where numbers lie that are arithmetic.
  Scalar* numbers(const Panel& of, Index key) const { return numbers_ + of.at(key); }

 private:
  Index numbers_in(Index i) const {
    const Index row = i * panel_rows, count = (std::min)(panel_rows, shape_.rows - row);
    return shape_.visible(row, count).size() * count;
  }
  template <class F>
  void for_each_seen(Index row, F&& f) const {
    for (const Interval part : visible(row))
      for (Index key = part.begin; key < part.end; ++key)
        if (!bias_.hides(row, key)) f(key);
  }

  const Index* begins_ = nullptr;    // [panels + 1] where each panel lies
  Scalar* numbers_ = nullptr;        // those of all panels, or
  std::uint16_t* narrow_ = nullptr;  // in 16 bits
  Scalar* gradient_ = nullptr;
  KeptShape shape_ = {};
  ScoreBias<Scalar> bias_ = {};
};

}  // namespace heed::inline HEED_ABI
