// Keys or values of a memory.
//
//   r = norm(m W + b)        m [S_m x D_m], the memory of a sequence   W [D_m x n E]   r [S_m x n E], n heads, cached
//
// They are formed in the call that brings a sequence its first rows, and read from the cache in all later ones.
#pragma once

#include "head_projection.hpp"
#include "memory.hpp"

namespace heed::inline HEED_ABI {

struct MemoryProjection {
  using Config = HeadProjection::Config;
  template <class Scalar>
  using Params = HeadProjection::Params<Scalar>;
  template <class Scalar>
  using Memory = HeadTable<HeadRows<Scalar>>;  // an entry a sequence

  template <class Scalar>
  struct Record {
    HeadProjection::Record<Scalar>* of_sequence = nullptr;  // [B]
    HeadTable<HeadRows<Scalar>> rows;                       // per (sequence, head) [S_m x E]
  };

  /// Raises ShapeError if a sequence begins without memory, or with one that does not fit; nothing has changed then.
  template <class Scalar>
  static void check(const Params<Scalar>& params, const CachedMemory<Scalar>& cache, const Pass& pass,
                    const Memory<Scalar>& memory) {
    for (Index b = 0; b < pass.sequences(); ++b) {
      if (!begins(pass, b)) continue;
      const HeadRows<Scalar>& of_sequence = memory.at(b, 0);
      HEED_EXPECTS(ShapeError, of_sequence.width != 0, "memory: sequence ", b,
                   ": expected its memory in the call that brings its first rows, found none");
      HEED_EXPECTS(ShapeError, of_sequence.width == params.w.rows(), "memory: sequence ", b, ": expected ", params.w.rows(),
                   " columns, found ", of_sequence.width);
      HEED_EXPECTS(ShapeError, of_sequence.rows <= cache.capacity(), "memory: sequence ", b, ": expected at most ",
                   cache.capacity(), " rows, found ", of_sequence.rows);
    }
  }

  /// Returns r of every sequence by head.
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Config& config, const Params<Scalar>& params, CachedMemory<Scalar>& cache,
                                           Record<Scalar>& record, const Pass& pass, const Memory<Scalar>& memory,
                                           Index heads) {
    record.rows = HeadTable<HeadRows<Scalar>>::make(pass.record(), pass.sequences(), heads);
    record.of_sequence = pass.record().template take_zeroed<HeadProjection::Record<Scalar>>(pass.sequences());
    for (Index b = 0; b < pass.sequences(); ++b) {
      if (begins(pass, b))
        pass.workers.run(1, [&](Index, Arena& scratch) {  // here and now: a worker's arena is sized for it
          cache.store(b, view_of(HeadProjection::apply(config, params, record.of_sequence[b], pass, memory.at(b, 0).view(),
                                                       scratch)));
        });
      for (Index g = 0; g < heads; ++g) {
        record.rows.at(b, g) = cache.at(b, g);
        if (pass.visible(b) == 0) record.rows.at(b, g).rows = 0;  // what is there is of another time
      }
      if (pass.training()) make_gradients(record.rows, b, pass.kept);
    }
    return record.rows;
  }

  /// Adds to the gradients, and to that of the memory if somebody wants it.
  template <class Scalar>
  static void backward(const Config& config, const Params<Scalar>& params, const Record<Scalar>& record, const Pass& pass,
                       const Memory<Scalar>& memory, Params<Scalar>& gradients) {
    for (Index b = 0; b < pass.sequences() && record.rows.heads > 0; ++b) {
      if (!begins(pass, b)) continue;
      const Arena::Scope scope(pass.scratch);
      const HeadRows<Scalar>& m = memory.at(b, 0);
      const HeadRows<Scalar>& r = record.rows.at(b, 0);
      const MutableView<Scalar> d_r =
          mutable_view_of(r.gradient, r.rows, params.w.cols(), r.gradient_stride);  // [S_m x n E]
      // r = norm(m w + b)
      HeadProjection::backward(
          config, params, record.of_sequence[b], pass, m.view(), d_r,
          m.gradient != nullptr ? m.gradient_view() : pass.scratch.template zeros<Scalar>(m.rows, m.width), gradients);
    }
  }

  /// Bytes that a worker's arena needs for it.
  template <class Scalar>
  static std::size_t job_bytes(Index positions, Index width) {
    return Arena::bytes_of<Scalar>(positions * width);
  }

 private:
  static bool begins(const Pass& pass, Index sequence) {
    return pass.past[static_cast<std::size_t>(sequence)] == 0 && pass.rows.rows(sequence) > 0;
  }
  // Side by side, so that backward finds the rows of all heads in one matrix [S_m x n E].
  template <class Scalar>
  static void make_gradients(const HeadTable<HeadRows<Scalar>>& table, Index sequence, Arena& arena) {
    if (table.heads == 0) return;
    const Index width = table.at(sequence, 0).width, stride = table.heads * width;
    Scalar* d_r = arena.take_zeroed<Scalar>(table.at(sequence, 0).rows * stride);
    for (Index g = 0; g < table.heads; ++g) {
      table.at(sequence, g).gradient = d_r + g * width;
      table.at(sequence, g).gradient_stride = stride;
    }
  }
};

}  // namespace heed::inline HEED_ABI
