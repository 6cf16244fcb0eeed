// RMS normalisation of gated rows, by groups of columns: the last step of a Mamba-2 mixer before its output projection.
//
//   v = y silu(z)
//   out = v r w,   r = (mean(v^2) + epsilon)^(-1/2) of every row and group       y, z, out [T x C]   w [1 x C]
//
// A group is C / groups columns side by side.
//
// source: Dao and Gu 2024 (arXiv 2405.21060), with the gate before the norm (norm_before_gate = False in their code)
#pragma once

#include "activation.hpp"
#include "rms_norm.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct GatedRmsNormInputs {
  View<Scalar> y;       // [T x C]
  View<Scalar> z;       // [T x C]
  View<Scalar> weight;  // [1 x C]
  Index groups = 1;     ///< divides C
  double epsilon = 1e-5;

  Index group_width() const { return y.cols() / groups; }
};

/// Where the gradients are added.
template <class Scalar>
struct GatedRmsNormGradients {
  MutableView<Scalar> y;       // [T x C]
  MutableView<Scalar> z;       // [T x C]
  MutableView<Scalar> weight;  // [1 x C]
};

/// out is assigned. It may be y or z.
template <class Scalar>
void gated_rms_norm(const GatedRmsNormInputs<Scalar>& in, MutableView<Scalar> out, Workers& workers) {
  HEED_DEBUG_CHECK(in.groups >= 1 && in.y.cols() % in.groups == 0 && in.weight.cols() == in.y.cols());
  HEED_DEBUG_CHECK(in.z.rows() == in.y.rows() && in.z.cols() == in.y.cols() && out.rows() == in.y.rows());
  const Index n = in.group_width();
  if (n == 0) return;
  detail::for_rows(in.y.rows(), in.y.cols(), workers, [&](Index t) {
    for (Index column = 0; column < in.y.cols(); column += n) {
      Scalar* v = detail::row_of(out, t) + column;
      detail::transform(
          n, v, [](auto y, auto z) { return y * detail::silu(z); }, detail::row_of(in.y, t) + column,
          detail::row_of(in.z, t) + column);
      const auto r = detail::Lanes<Scalar>::all(detail::inverse_rms(v, n, in.epsilon));
      detail::transform(
          n, v, [&](auto v_i, auto w) { return v_i * r * w; }, v, in.weight.data() + column);
    }
  });
}

/// The gradient of dot(out, d_out), added to d, whose memory is none of the inputs'. Takes [blocks x C] from scratch and
/// gives it back.
template <class Scalar>
void gated_rms_norm_backward(const GatedRmsNormInputs<Scalar>& in, View<Scalar> d_out, GatedRmsNormGradients<Scalar> d,
                             Arena& scratch, Workers& workers) {
  const Index C = in.y.cols(), n = in.group_width();
  if (n == 0) return;
  const detail::RowBlocks blocks(in.y.rows(), C);
  const Arena::Scope scope(scratch);
  MutableView<Scalar> d_weights = scratch.zeros<Scalar>(blocks.size(), C);  // one row a block
  workers.run(blocks.size(), [&](Index block, Arena& own) {
    Scalar* v = own.take<Scalar>(n);
    Scalar* d_v = own.take<Scalar>(n);
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t)
      for (Index column = 0; column < C; column += n) {
        const Scalar* y = detail::row_of(in.y, t) + column;
        const Scalar* z = detail::row_of(in.z, t) + column;
        const Scalar* weight = in.weight.data() + column;
        const Scalar* g = detail::row_of(d_out, t) + column;
        detail::transform(
            n, v, [](auto y_i, auto z_i) { return y_i * detail::silu(z_i); }, y, z);
        const Scalar inverse = detail::inverse_rms(v, n, in.epsilon);
        const auto r = detail::Lanes<Scalar>::all(inverse);
        // out = v r w   =>   d_w += d_out v r
        Scalar* d_weight = detail::row_of(d_weights, block) + column;
        detail::transform(
            n, d_weight, [&](auto d_w, auto g_i, auto v_i) { return d_w + g_i * v_i * r; }, d_weight, g, v);
        // r = (mean(v^2) + epsilon)^(-1/2)   =>   d_v = r (d_out w - v r^2 mean(d_out w v))
        const Scalar sum = detail::sum_over(
            n, [](auto g_i, auto w, auto v_i) { return g_i * w * v_i; }, g, weight, v);
        const auto c = detail::Lanes<Scalar>::all(inverse * inverse * sum / static_cast<Scalar>(n));
        detail::transform(
            n, d_v, [&](auto g_i, auto w, auto v_i) { return r * (g_i * w - v_i * c); }, g, weight, v);
        // v = y silu(z)   =>   d_z += d_v y silu'(z),  d_y += d_v silu(z)
        Scalar* d_z = detail::row_of(d.z, t) + column;
        detail::transform(
            n, d_z,
            [](auto sum_i, auto d_v_i, auto y_i, auto z_i) { return sum_i + d_v_i * y_i * detail::silu_derivative(z_i); },
            d_z, d_v, y, z);
        Scalar* d_y = detail::row_of(d.y, t) + column;
        detail::transform(
            n, d_y, [](auto sum_i, auto d_v_i, auto z_i) { return sum_i + d_v_i * detail::silu(z_i); }, d_y, d_v, z);
      }
  });
  for (Index block = 0; block < blocks.size(); ++block)
    detail::add_scaled(d.weight.data(), Scalar(1), detail::row_of(d_weights, block), C);
}

}  // namespace heed::inline HEED_ABI
