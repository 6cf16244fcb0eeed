// RotaryEmbedding, by apply_rotary with a table.
//
//   input        [B x H x T x E], or [B x T x H E] with num_heads
//   cos, sin     [positions x r/2] with position_ids [B x T], or [B x T x r/2] without
//   attributes   interleaved, rotary_embedding_dim (r; 0: E), num_heads
#pragma once

#include <heed/ops/rotary.hpp>

#include "case.hpp"
#include "heads.hpp"

namespace heed::conformance {

inline Worst rotary_embedding(Case& at) {
  const Tensor& input = at.required(0, "input");
  const Tensor &cosines = at.required(1, "cos_cache"), &sines = at.required(2, "sin_cache");
  const Tensor* position_ids = at.input(3);
  const bool interleaved = at.integer("interleaved", 0) != 0;
  Index width = at.integer("rotary_embedding_dim", 0);
  const Heads heads = heads_of(input, "input", at.integer("num_heads", 0));
  if (width == 0) width = heads.width;
  expect(width > 0 && width % 2 == 0 && width <= heads.width, "rotary_embedding_dim: expected an even number up to ",
         heads.width, ", found ", width);
  expect(cosines.dims == sines.dims, "sin_cache: expected ", text_of(cosines.dims), ", found ", text_of(sines.dims));
  expect(cosines.rank() == (position_ids != nullptr ? 2 : 3) && cosines.dims.back() == width / 2,
         "cos_cache: expected rows of ", width / 2, ", found ", text_of(cosines.dims));

  std::vector<Index> positions;
  for (Index row = 0; row < heads.sequences * heads.rows; ++row) positions.push_back(row);
  if (position_ids != nullptr) {
    expect(position_ids->dims == std::vector<Index>{heads.sequences, heads.rows}, "position_ids: expected ",
           text_of({heads.sequences, heads.rows}), ", found ", text_of(position_ids->dims));
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<Index>(position_ids->values[i]);
  }

  return with_scalar(input.type, [&](auto scalar) {
    using Scalar = decltype(scalar);
    const Index table_rows = product_of(cosines.dims, 0, cosines.rank() - 1);
    const auto c = matrix_of<Scalar>(cosines, table_rows, width / 2), s = matrix_of<Scalar>(sines, table_rows, width / 2);
    Matrix<Scalar> x = packed_rows<Scalar>(input, heads);
    Workers workers;
    apply_rotary(
        RotaryTable<Scalar>{view_of(c), view_of(s), interleaved ? RotaryPairs::interleaved : RotaryPairs::half_split},
        positions, heads.width, x, workers);
    const Index roundings = 4;  // two products, their sum, the result
    at.compare(0, input.dims, unpacked(x, heads), roundings);
    return at.finish();
  });
}

}  // namespace heed::conformance
