// Attention as others tile it: blocks of queries times blocks of keys with somebody's matrix product, an online softmax in
// between, and blocks that no row sees left out.
#pragma once

#include <cmath>

#include "calls.hpp"

namespace peers {

struct Tile {
  Index queries, keys;
};

/// multiply.transposed(C, its stride, A, ..., B, ..., M, N, K): C = A B^T.  multiply.added(...): C += A B.
template <class Multiply>
void tiled_attention(const Attention& call, Tile tile, Multiply&& multiply) {
  using Rows = heed::Matrix<float>;
  const Index T = call.sizes.keys, E = call.sizes.width;
  const float scale = 1 / std::sqrt(static_cast<float>(E));
  Rows scores(tile.queries, tile.keys), o(tile.queries, E);
  Eigen::ArrayXf highest(tile.queries), sum(tile.queries);
  for (Index head = 0; head < call.sizes.heads; ++head)
    for (Index i = 0; i < T; i += tile.queries) {
      const Index rows = (std::min)(tile.queries, T - i), g = call.kv_head(head);
      o.setZero();
      sum.setZero();
      highest.setConstant(-1e30f);
      for (Index j = 0; j < i + rows; j += tile.keys) {
        const Index keys = (std::min)(tile.keys, i + rows - j);
        const float* k = call.k + j * call.kv_stride() + g * E;
        const float* v = call.v + j * call.kv_stride() + g * E;
        multiply.transposed(scores.data(), tile.keys, call.q + i * call.stride() + head * E, call.stride(), k,
                            call.kv_stride(), rows, keys, E);
        for (Index row = 0; row < rows; ++row) {
          const Index seen = (std::min)(keys, i + row - j + 1);
          auto all = scores.row(row).head(keys);
          if (seen <= 0) {
            all.setZero();
            continue;
          }
          auto z = all.head(seen);
          const float higher = (std::max)(highest[row], scale * z.maxCoeff()), down = std::exp(highest[row] - higher);
          z = (scale * z.array() - higher).exp();
          all.tail(keys - seen).setZero();
          sum[row] = sum[row] * down + z.sum();
          highest[row] = higher;
          o.row(row) *= down;
        }
        multiply.added(o.data(), E, scores.data(), tile.keys, v, call.kv_stride(), rows, E, keys);
      }
      for (Index row = 0; row < rows; ++row)
        Eigen::Map<Eigen::RowVectorXf>(call.y + (i + row) * call.stride() + head * E, E) = o.row(row) / sum[row];
    }
}

}  // namespace peers
