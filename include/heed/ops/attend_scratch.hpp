// What attention takes from a worker's arena. Sized so, arenas never grow, but for what parts of a backward take
// (kernels/backward_parts.hpp).
#pragma once

#include "operand.hpp"

namespace heed::inline HEED_ABI {

/// What attend and attend_backward take from a worker's arena at most, of both operands, for up to `rows` new rows in all,
/// and `keys` keys in each of `sequences` sequences.
template <class Scalar>
std::size_t attend_scratch_bytes(Index sequences, Index rows, Index keys, Index heads, Index kv_heads, Index key_width,
                                 Index value_width, Precision precision = Precision::full) {
  if constexpr (detail::is_compiled<Scalar>)
    return detail::run_compiled<Scalar, std::size_t>(compiled::Operation::attend_scratch_bytes, sequences, rows, keys,
                                                     heads, kv_heads, key_width, value_width, precision);
  using namespace detail;
  if (kv_heads == 0) return 0;
  const auto bytes = [](Index elements) { return Arena::bytes_of<Scalar>(elements); };
  const Index group = heads / kv_heads;
  const Index block = (std::min)(rows, (std::max)(Index(1), attend_block_lanes<Scalar> / group));
  const Index lanes = (std::max)(stacked<Scalar>(group, block, 0, {}).lanes,
                                 stacked<Scalar>(1, (std::min)(rows, attend_block_lanes<Scalar>), 0, {}).lanes);
  const Index cuts = (keys + attend_cut_keys - 1) / attend_cut_keys;
  const Index partial = Partial<Scalar>::size(group * block, value_width);
  const Index few = (std::min)(group * rows, Index(full_width<Scalar>));  // rows, at most
  const std::size_t of_job = 2 * bytes(key_width * lanes) + bytes(value_width * lanes) +
                             3 * bytes(attend_tile_keys * lanes) + 6 * bytes(lanes) + bytes(partial) +
                             FewRows<Scalar>::bytes(few, key_width, value_width) + bytes(strip_tile_keys * key_width) +
                             bytes(strip_tile_keys * value_width) + bytes((strip_tile_keys + 1) * widest_strip<Scalar>) +
                             bytes(group * (std::min)(rows, give_block_rows) * value_width);
  const Index most = (std::max)(attend_backward_lanes<Scalar>, give_block_rows);  // rows of a sequence of one block
  const Index cut_rows = (std::min)(rows, sequences * most);
  const std::size_t shared = Arena::bytes_of<AttendPlan>(sequences) + bytes(sequences * heads) +
                             (cuts > 1 ? bytes(kv_heads * cuts * Partial<Scalar>::size(group * cut_rows, value_width)) : 0);
  const std::size_t of_terms = std::is_same_v<Scalar, float> ? terms_scratch_bytes(precision, sequences, rows, keys, heads,
                                                                                   kv_heads, key_width, value_width)
                                                             : 0;
  return (std::max)(of_job + shared, of_terms);
}

/// What attend takes besides from a worker's arena where probabilities are kept in 16 bits.
template <class Scalar>
std::size_t kept_scratch_bytes(Index rows, Index keys, Index heads, Index kv_heads) {
  using namespace detail;
  if (kv_heads == 0) return 0;
  const Index group = heads / kv_heads;
  const Index lanes = (std::max)(attend_block_lanes<Scalar>, term_block_lanes);
  constexpr Index widest = 64 / Index(sizeof(Scalar));  // packet of any instruction set that heed::compiled may choose
  const Index block = (std::min)(rows, (std::max)(lanes / group, widest));
  const std::size_t of_head =
      Probabilities<Scalar>::bytes({block, keys, bidirectional()}) + Arena::bytes_of<Scalar>(block * keys);
  return Arena::bytes_of<Probabilities<Scalar>>(group) + static_cast<std::size_t>(group) * of_head;
}

}  // namespace heed::inline HEED_ABI
