// Transposed copies of small matrices, a packet's square at a time.
//
//   transpose   to [N x M] = from [M x N]^T      rows of both are contiguous
#pragma once

#include "lanes.hpp"

namespace heed::inline HEED_ABI::detail {

// to[i width + j] = from(j, i) for a square of a packet's width: rows of `from` are `from_row` apart, of `to` `to_row`.
template <class Scalar>
void transpose_square(Scalar* to, Index to_row, const Scalar* from, Index from_row) {
  using Packet = typename Lanes<Scalar>::Packet;
  constexpr Index width = full_width<Scalar>;
  typename packet_of<Scalar, full_width<Scalar>>::Square block;
  for (Index r = 0; r < width; ++r) block.packet[r] = Eigen::internal::ploadu<Packet>(from + r * from_row);
  Eigen::internal::ptranspose(block);
  for (Index r = 0; r < width; ++r) Eigen::internal::pstoreu(to + r * to_row, block.packet[r]);
}

/// to [N x M] = from [M x N]^T
template <class Scalar>
void transpose(Scalar* to, Index to_row, const Scalar* from, Index from_row, Index M, Index N) {
  constexpr Index width = full_width<Scalar>;
  const Index M_whole = M / width * width, N_whole = N / width * width;
  for (Index i = 0; i < M_whole; i += width)
    for (Index j = 0; j < N_whole; j += width)
      transpose_square(to + j * to_row + i, to_row, from + i * from_row + j, from_row);
  for (Index j = 0; j < N; ++j)
    for (Index i = j < N_whole ? M_whole : 0; i < M; ++i) to[j * to_row + i] = from[i * from_row + j];
}

}  // namespace heed::inline HEED_ABI::detail
