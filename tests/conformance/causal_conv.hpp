// CausalConvWithState, by short_conv.
//
//   input [B x C x T]    weight [C x 1 x k]    bias [C]    past_state [B x C x k-1]      channels first, heed's come last
//   output [B x C x T]   present_state [B x C x k-1]       attribute   activation: none, silu, swish (the same)
#pragma once

#include <heed/ops/short_conv.hpp>

#include "case.hpp"

namespace heed::conformance {

inline Worst causal_conv_with_state(Case& at) {
  const Tensor &input = at.required(0, "input"), &taps = at.required(1, "weight");
  const Tensor *added = at.input(2), *past = at.input(3);
  const std::string activation = at.word("activation", "none");
  expect(activation == "none" || activation == "silu" || activation == "swish",
         "activation: expected none, silu or swish, found ", activation);
  expect(input.rank() == 3, "input: expected rank 3, found ", text_of(input.dims));
  const Index B = input.dims[0], C = input.dims[1], T = input.dims[2];
  expect(taps.rank() == 3 && taps.dims[0] == C && taps.dims[1] == 1 && taps.dims[2] >= 1, "weight: expected [", C,
         " x 1 x k], found ", text_of(taps.dims));
  const Index k = taps.dims[2];
  const std::vector<Index> state = {B, C, k - 1};
  expect(added == nullptr || added->dims == std::vector<Index>{C}, "bias: expected [", C, "]");
  expect(past == nullptr || past->dims == state, "past_state: expected ", text_of(state));

  return with_scalar(input.type, [&](auto scalar) {
    using Scalar = decltype(scalar);
    // [B x C x n] to [B n x C], and back
    const auto channels_last = [&](const Tensor& tensor, Index n) {
      Matrix<Scalar> rows(B * n, C);
      for (Index b = 0; b < B; ++b)
        for (Index c = 0; c < C; ++c)
          for (Index i = 0; i < n; ++i)
            rows(b * n + i, c) = static_cast<Scalar>(tensor.values[static_cast<std::size_t>((b * C + c) * n + i)]);
      return rows;
    };
    const auto channels_first = [&](const Matrix<Scalar>& rows, Index n) {
      std::vector<Scalar> values(static_cast<std::size_t>(rows.size()));
      for (Index b = 0; b < B; ++b)
        for (Index c = 0; c < C; ++c)
          for (Index i = 0; i < n; ++i) values[static_cast<std::size_t>((b * C + c) * n + i)] = rows(b * n + i, c);
      return values;
    };
    const Matrix<Scalar> x = channels_last(input, T);
    const Matrix<Scalar> weight = matrix_of<Scalar>(taps, C, k).transpose();  // [k x C]
    const Matrix<Scalar> bias = added != nullptr ? matrix_of<Scalar>(*added, 1, C) : Matrix<Scalar>::Zero(1, C);
    const Matrix<Scalar> before = past != nullptr ? channels_last(*past, k - 1) : Matrix<Scalar>::Zero(B * (k - 1), C);
    Matrix<Scalar> after(B * (k - 1), C), y(B * T, C);

    std::vector<const Scalar*> read;
    std::vector<Scalar*> written;
    for (Index b = 0; b < B; ++b) {
      read.push_back(before.data() + b * (k - 1) * C);
      written.push_back(after.data() + b * (k - 1) * C);
    }
    ShortConvHistory<Scalar> history{.after = {written.data(), B, 1}};
    if (past != nullptr) history.before = {read.data(), B, 1};
    const ShortConvInputs<Scalar> in{view_of(x), view_of(weight), view_of(bias)};
    const Sequences rows = Sequences::each(B, T);
    Workers workers;
    if (activation == "none")
      short_conv<Identity>(in, rows, history, mutable_view_of(y), workers);
    else
      short_conv<Silu>(in, rows, history, mutable_view_of(y), workers);

    const Index roundings = 2 * k + 3;  // of every product and sum, of the bias, and of the activation
    at.compare(0, input.dims, channels_first(y, T), roundings);
    at.compare(1, state, channels_first(after, k - 1), 0);
    return at.finish();
  });
}

}  // namespace heed::conformance
