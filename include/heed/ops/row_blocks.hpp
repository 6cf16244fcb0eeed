// Rows in blocks: how an operation that treats every row alone is cut into jobs.
#pragma once

#include <algorithm>

#include "../core/workers.hpp"

namespace heed::inline HEED_ABI::detail {

/// Rows in blocks of about 2^14 numbers: enough work to be worth a job. The cut depends on the shape only.
class RowBlocks {
 public:
  RowBlocks(Index rows, Index width)
      : rows_(rows), block_((std::max)(Index(1), (Index(1) << 14) / (std::max)(Index(1), width))) {}

  Index size() const { return (rows_ + block_ - 1) / block_; }
  Index begin(Index block) const { return block * block_; }
  Index end(Index block) const { return (std::min)(rows_, begin(block) + block_); }

 private:
  Index rows_;
  Index block_;
};

/// f(row) for every row, in jobs.
template <class F>
void for_rows(Index rows, Index width, Workers& workers, F&& f) {
  const RowBlocks blocks(rows, width);
  workers.run(blocks.size(), [&](Index block, Arena&) {
    for (Index row = blocks.begin(block); row < blocks.end(block); ++row) f(row);
  });
}

/// Row i of a view.
template <class Scalar>
const Scalar* row_of(const View<Scalar>& view, Index i) {
  return view.data() + i * view.outerStride();
}
template <class Scalar>
Scalar* row_of(MutableView<Scalar>& view, Index i) {
  return view.data() + i * view.outerStride();
}

}  // namespace heed::inline HEED_ABI::detail
