// Rows of a table by number.
//
//   y_t = table_{tokens_t}         table [V x D]   y [T x D]
#pragma once

#include <algorithm>
#include <span>

#include "../core/weight.hpp"
#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

template <class Scalar>
void embed(std::span<const int> tokens, View<Scalar> table, MutableView<Scalar> y) {
  for (Index t = 0; t < y.rows(); ++t) {
    const Index token = tokens[static_cast<std::size_t>(t)];
    HEED_DEBUG_CHECK(token >= 0 && token < table.rows());
    std::copy_n(row_of(table, token), table.cols(), row_of(y, t));
  }
}

template <class Scalar>
void embed_backward(std::span<const int> tokens, View<Scalar> d_y, MutableView<Scalar> d_table) {
  // y_t = table_{tokens_t}   =>   d_table_{tokens_t} += d_y_t
  for (Index t = 0; t < d_y.rows(); ++t)
    add_scaled(row_of(d_table, tokens[static_cast<std::size_t>(t)]), Scalar(1), row_of(d_y, t), d_y.cols());
}

}  // namespace detail

/// y_t = table_{tokens_t}. Every token is in [0, V).
///   table [V x D]   y [T x D]
template <class Table, class Y>
void embed(std::span<const int> tokens, const Eigen::MatrixBase<Table>& table, const Eigen::MatrixBase<Y>& y) {
  HEED_DEBUG_CHECK(y.rows() == static_cast<Index>(tokens.size()) && y.cols() == table.cols());
  detail::embed(tokens, view_of(table), mutable_view_of(y));
}

/// The same for a table in any storage.
template <class Scalar, class Y>
void embed(std::span<const int> tokens, const Weight<Scalar>& table, const Eigen::MatrixBase<Y>& y) {
  HEED_DEBUG_CHECK(y.rows() == static_cast<Index>(tokens.size()) && y.cols() == table.cols());
  MutableView<Scalar> rows = mutable_view_of(y);
  if (!table.is_narrow()) return detail::embed(tokens, view_of(table), rows);
  for (Index t = 0; t < rows.rows(); ++t) {
    const Index token = tokens[static_cast<std::size_t>(t)];
    HEED_DEBUG_CHECK(token >= 0 && token < table.rows());
    widen(table.storage(), table.bits().data() + token * table.cols(), table.cols(), detail::row_of(rows, t));
  }
}

/// Adds the gradient of dot(y, d_y) to d_table, row after row: a token that occurs twice gets both.
template <class DY, class DTable>
void embed_backward(std::span<const int> tokens, const Eigen::MatrixBase<DY>& d_y,
                    const Eigen::MatrixBase<DTable>& d_table) {
  HEED_DEBUG_CHECK(d_y.rows() == static_cast<Index>(tokens.size()) && d_y.cols() == d_table.cols());
  detail::embed_backward(tokens, view_of(d_y), mutable_view_of(d_table));
}

}  // namespace heed::inline HEED_ABI
