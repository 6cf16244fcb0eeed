// How the packed rows of a batch divide into sequences. There is no padding.
//
//   rows of x   [ sequence 0: T_0 rows | sequence 1: T_1 rows | ... ]      T = T_0 + T_1 + ...,  T_b = 0 is allowed
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

/// A division seen, not owned.
class Division {
 public:
  Division() = default;
  /// B + 1 ascending offsets: sequence b has the rows from offsets[b] to offsets[b + 1].
  explicit Division(std::span<const Index> offsets)
      : begins_(offsets.first(offsets.size() - 1)), ends_(offsets.subspan(1)), rows_(offsets.back()) {}
  /// Sequence b has the rows from begins[b] to ends[b] of `rows` packed ones; some may be of none.
  Division(std::span<const Index> begins, std::span<const Index> ends, Index rows)
      : begins_(begins), ends_(ends), rows_(rows) {}

  Index sequences() const { return static_cast<Index>(begins_.size()); }
  /// All packed rows.
  Index rows() const { return rows_; }
  Index begin(Index sequence) const { return begins_[static_cast<std::size_t>(sequence)]; }
  Index rows(Index sequence) const { return ends_[static_cast<std::size_t>(sequence)] - begin(sequence); }

 private:
  std::span<const Index> begins_;
  std::span<const Index> ends_;
  Index rows_ = 0;
};

class Sequences {
 public:
  /// The new rows of every sequence, in order: Sequences({5, 0, 3}).
  Sequences(std::initializer_list<Index> rows) : Sequences(std::span<const Index>(rows.begin(), rows.size())) {}
  explicit Sequences(std::span<const Index> rows) : offsets_{0} {
    offsets_.reserve(rows.size() + 1);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      HEED_EXPECTS(ShapeError, rows[b] >= 0, "sequence ", b, ": expected 0 rows or more, found ", rows[b]);
      offsets_.push_back(offsets_.back() + rows[b]);
    }
  }
  /// B sequences of T rows each.
  static Sequences each(Index sequences, Index rows) {
    const std::vector<Index> all(static_cast<std::size_t>(sequences), rows);
    return Sequences(std::span<const Index>(all));
  }

  Index size() const { return division().sequences(); }
  Index rows() const { return offsets_.back(); }
  Index begin(Index sequence) const { return division().begin(sequence); }
  Index rows(Index sequence) const { return division().rows(sequence); }
  Division division() const { return Division(offsets_); }
  operator Division() const { return division(); }  // NOLINT: the owner is usable wherever the view is

 private:
  std::vector<Index> offsets_;
};

}  // namespace heed::inline HEED_ABI
