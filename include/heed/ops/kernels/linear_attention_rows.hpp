// Rows of linear attention, a few columns of the state at a time: neither a column of the state, nor one of u and y, needs
// another.
//
//   S = diag(decay_t) S + k_t^T u_t         S [N x P], column p of it by p of u_t
//   y_t = q_t S                             q_t already times the scale
//   u_t = v_t, or by the delta rule beta_t (v_t - (k_t decay_t) S), S from before the row
//
// A row takes one pass over its columns of S: while an element is in a register, it is decayed, added to, read by the first
// query head, and, by the delta rule, subtracted from the next row's v.
#pragma once

#include <algorithm>
#include <utility>

#include "../product.hpp"

namespace heed::inline HEED_ABI::detail {

/// Rows of one kv head. What does not depend on the column is formed once, by whoever fills this.
template <class Scalar>
struct LinearAttentionRows {
  Index count, key_width, value_width, group;  // T, N, P
  Strided<Scalar> k;                           // [T x N]
  Strided<Scalar> v;                           // [T x P]
  Strided<Scalar> beta;                        // [T x 1]; data is null without the delta rule
  const Scalar* decay;                         // [T x N]
  const Scalar* opposite_k;                    // [T x N]  -k decay; read by the delta rule only
  const Scalar* q;                             // [T x group x N]  scale q; not read if group is 0
  Scalar* y;                                   // [T x group*P]
  Index y_row;
};

/// Where the state of a row lies. Rows may share one place, or each leave its own.
template <class Scalar>
struct LinearAttentionPlaces {
  const Scalar* before;  // [N x P]  of the first row
  Scalar* after;         // [N x P]  of the first row; may be `before`
  Index step;            // from a row's to the next one's; 0: the same place
};

enum class ReadState { no, by_first_head };
enum class Correct { nothing, next_row };

// One row and sizeof...(I) packets of columns, all from `column` on. u is this row's, and becomes v - (k decay) S of the
// next.
template <int width, ReadState read, Correct correct, class Scalar, std::size_t... I>
EIGEN_ALWAYS_INLINE void linear_attention_row(std::index_sequence<I...>, const LinearAttentionRows<Scalar>& rows, Index t,
                                              const Scalar* before, Scalar* after, Index column, Lanes<Scalar, width>* u) {
  using Packet = Lanes<Scalar, width>;
  const Index N = rows.key_width, P = rows.value_width;
  const Scalar* decay = rows.decay + t * N;
  const Scalar* k = rows.k.from(t, 0).data;
  const Scalar* q = rows.q + t * rows.group * N;
  const Scalar* opposite = rows.opposite_k + (t + 1) * N;
  const Packet added[] = {u[I]...};
  Packet sum[] = {((void)I, Packet::all(Scalar(0)))...};
  Packet next[] = {((void)I, Packet::all(Scalar(0)))...};
  if constexpr (correct == Correct::next_row)
    ((next[I] = Packet::load(rows.v.from(t + 1, column + Index(I) * width).data)), ...);
  for (Index n = 0; n < N; ++n) {
    const Packet decay_n = Packet::all(decay[n]), k_n = Packet::all(k[n]);
    const Scalar* from = before + n * P + column;
    Scalar* to = after + n * P + column;
    const Packet state[] = {multiply_add(decay_n, Packet::load(from + Index(I) * width), k_n * added[I])...};
    (state[I].store(to + Index(I) * width), ...);
    if constexpr (read == ReadState::by_first_head) {
      const Packet q_n = Packet::all(q[n]);
      ((sum[I] = multiply_add(q_n, state[I], sum[I])), ...);
    }
    if constexpr (correct == Correct::next_row) {
      const Packet opposite_n = Packet::all(opposite[n]);
      ((next[I] = multiply_add(opposite_n, state[I], next[I])), ...);
    }
  }
  if constexpr (read == ReadState::by_first_head) (sum[I].store(rows.y + t * rows.y_row + column + Index(I) * width), ...);
  if constexpr (correct == Correct::next_row) ((u[I] = next[I]), ...);
}

// All rows, and sizeof...(I) packets of columns.
template <int width, ReadState read, class Scalar, std::size_t... I>
void linear_attention_columns(std::index_sequence<I...> all, const LinearAttentionRows<Scalar>& rows,
                              const LinearAttentionPlaces<Scalar>& places, Index column) {
  using Packet = Lanes<Scalar, width>;
  const Index N = rows.key_width, P = rows.value_width;
  const auto v = [&](Index t, std::size_t i) { return Packet::load(rows.v.from(t, column + Index(i) * width).data); };
  const bool is_delta = rows.beta.data != nullptr;
  Packet u[] = {v(0, I)...};
  if (is_delta)
    for (Index n = 0; n < N; ++n) {
      const Packet opposite_n = Packet::all(rows.opposite_k[n]);
      ((u[I] = multiply_add(opposite_n, Packet::load(places.before + n * P + column + Index(I) * width), u[I])), ...);
    }
  for (Index t = 0; t < rows.count; ++t) {
    Scalar* after = places.after + t * places.step;
    const Scalar* before = t == 0 ? places.before : after - places.step;
    if (is_delta) {
      const Packet beta = Packet::all(*rows.beta.from(t, 0).data);
      ((u[I] = beta * u[I]), ...);
    } else if (t > 0) {
      ((u[I] = v(t, I)), ...);
    }
    if (is_delta && t + 1 < rows.count)
      linear_attention_row<width, read, Correct::next_row>(all, rows, t, before, after, column, u);
    else
      linear_attention_row<width, read, Correct::nothing>(all, rows, t, before, after, column, u);
    if constexpr (read == ReadState::by_first_head)
      if (rows.group > 1) {
        constexpr Index columns = Index(sizeof...(I)) * width;
        Scalar* y = rows.y + t * rows.y_row + column + P;
        for (Index i = 0; i + 1 < rows.group; ++i) std::fill_n(y + i * P, columns, Scalar(0));
        accumulate(y, P, Strided<Scalar>{rows.q + (t * rows.group + 1) * N, N, 1}, after + column, P, rows.group - 1,
                   columns, N);
      }
  }
}

template <int width, ReadState read, class Scalar>
void linear_attention_columns_from(Index column, const LinearAttentionRows<Scalar>& rows,
                                   const LinearAttentionPlaces<Scalar>& places) {
  const Index P = rows.value_width;
  for (; column + 4 * width <= P; column += 4 * width)
    linear_attention_columns<width, read>(std::make_index_sequence<4>(), rows, places, column);
  if (column + 2 * width <= P) {
    linear_attention_columns<width, read>(std::make_index_sequence<2>(), rows, places, column);
    column += 2 * width;
  }
  for (; column + width <= P; column += width)
    linear_attention_columns<width, read>(std::make_index_sequence<1>(), rows, places, column);
  if constexpr (width > 1)
    if (column < P) linear_attention_columns_from<narrower_width<Scalar, width>, read>(column, rows, places);
}

/// The rows one after another. y is assigned if there are query heads.
template <class Scalar>
void linear_attention_rows(const LinearAttentionRows<Scalar>& rows, const LinearAttentionPlaces<Scalar>& places) {
  if (rows.count == 0) return;
  if (rows.group > 0)
    linear_attention_columns_from<full_width<Scalar>, ReadState::by_first_head>(Index(0), rows, places);
  else
    linear_attention_columns_from<full_width<Scalar>, ReadState::no>(Index(0), rows, places);
}

}  // namespace heed::inline HEED_ABI::detail
