// RMS normalisation of gated rows, by groups of columns: the last step of a Mamba-2 mixer before its output projection.
//
//   before_norm    out = RMSNorm(y silu(z))            RMSNorm(v) = v r w,   r = (mean(v^2) + epsilon)^(-1/2)
//   after_norm     out = RMSNorm(y) silu(z)            of every row and group
//   without_norm   out = y silu(z)
//
//   y, z, out [T x C]   w [1 x C]                      A group is C / groups columns side by side.
//
// source: Dao and Gu 2024 (arXiv 2405.21060); in their code norm_before_gate = False, norm_before_gate = True, rmsnorm =
// False
#pragma once

#include <array>
#include <string_view>
#include <utility>
#include "activation.hpp"
#include "rms_norm.hpp"

namespace heed::inline HEED_ABI {

/// Where the gate stands: before the norm, after it, or alone.
enum class Gating { before_norm, after_norm, without_norm };
constexpr std::array<std::pair<std::string_view, Gating>, 3> value_names(Gating) {
  return {
      {{"before_norm", Gating::before_norm}, {"after_norm", Gating::after_norm}, {"without_norm", Gating::without_norm}}};
}

template <class Scalar>
struct GatedRmsNormInputs {
  View<Scalar> y;       // [T x C]
  View<Scalar> z;       // [T x C]
  View<Scalar> weight;  // [1 x C]; not read without a norm
  Index groups = 1;     ///< divides C
  double epsilon = 1e-5;
  Gating gating = Gating::before_norm;

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
  HEED_DEBUG_CHECK(in.z.rows() == in.y.rows() && in.z.cols() == in.y.cols() && out.rows() == in.y.rows());
  if (in.gating == Gating::without_norm) return glu<Silu>(in.z, in.y, out, workers);
  HEED_DEBUG_CHECK(in.groups >= 1 && in.y.cols() % in.groups == 0 && in.weight.cols() == in.y.cols());
  const Index n = in.group_width();
  if (n == 0) return;
  detail::for_rows(in.y.rows(), in.y.cols(), workers, [&](Index t) {
    for (Index column = 0; column < in.y.cols(); column += n) {
      const Scalar* y = detail::row_of(in.y, t) + column;
      const Scalar* z = detail::row_of(in.z, t) + column;
      const Scalar* weight = in.weight.data() + column;
      Scalar* to = detail::row_of(out, t) + column;
      if (in.gating == Gating::after_norm) {
        const auto r = detail::Lanes<Scalar>::all(detail::inverse_rms(y, n, in.epsilon));
        detail::transform(
            n, to, [&](auto y_i, auto z_i, auto w) { return y_i * r * w * detail::silu(z_i); }, y, z, weight);
        continue;
      }
      detail::transform(
          n, to, [](auto y_i, auto z_i) { return y_i * detail::silu(z_i); }, y, z);
      const auto r = detail::Lanes<Scalar>::all(detail::inverse_rms(to, n, in.epsilon));
      detail::transform(
          n, to, [&](auto v_i, auto w) { return v_i * r * w; }, to, weight);
    }
  });
}

/// The gradient of dot(out, d_out), added to d, whose memory is none of the inputs'. Takes [blocks x C] from scratch and
/// gives it back.
template <class Scalar>
void gated_rms_norm_backward(const GatedRmsNormInputs<Scalar>& in, View<Scalar> d_out, GatedRmsNormGradients<Scalar> d,
                             Arena& scratch, Workers& workers) {
  if (in.gating == Gating::without_norm) return glu_backward<Silu>(in.z, in.y, d_out, d.z, d.y, workers);
  const Index C = in.y.cols(), n = in.group_width();
  if (n == 0) return;
  const bool gate_first = in.gating == Gating::before_norm;
  const detail::RowBlocks blocks(in.y.rows(), C);
  const Arena::Scope scope(scratch);
  MutableView<Scalar> d_weights = scratch.zeros<Scalar>(blocks.size(), C);  // one row a block
  workers.run(blocks.size(), [&](Index block, Arena& own) {
    Scalar* gated = own.take<Scalar>(n);
    Scalar* d_v = own.take<Scalar>(n);
    const auto gate = [](auto value, auto z) { return value * detail::silu(z); };
    const auto d_gate = [](auto sum, auto d_gated, auto value, auto z) {
      return sum + d_gated * value * detail::silu_derivative(z);
    };
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t)
      for (Index column = 0; column < C; column += n) {
        const Scalar* y = detail::row_of(in.y, t) + column;
        const Scalar* z = detail::row_of(in.z, t) + column;
        const Scalar* weight = in.weight.data() + column;
        Scalar* d_y = detail::row_of(d.y, t) + column;
        Scalar* d_z = detail::row_of(d.z, t) + column;
        Scalar* d_weight = detail::row_of(d_weights, block) + column;
        // The norm's input v and the gradient g of its result. The gate first: v = y silu(z), g = d_out. The norm first:
        // v = y, and out = norm silu(z)   =>   g = d_out silu(z)
        const Scalar* d_out_t = detail::row_of(d_out, t) + column;
        detail::transform(n, gated, gate, gate_first ? y : d_out_t, z);
        const Scalar* v = gate_first ? gated : y;
        const Scalar* g = gate_first ? d_out_t : gated;
        const Scalar inverse = detail::inverse_rms(v, n, in.epsilon);
        const auto r = detail::Lanes<Scalar>::all(inverse);
        // norm = v r w   =>   d_w += g v r
        detail::transform(
            n, d_weight, [&](auto d_w, auto g_i, auto v_i) { return d_w + g_i * v_i * r; }, d_weight, g, v);
        // r = (mean(v^2) + epsilon)^(-1/2)   =>   d_v = r (g w - v r^2 mean(g w v))
        const Scalar sum = detail::sum_over(
            n, [](auto g_i, auto w, auto v_i) { return g_i * w * v_i; }, g, weight, v);
        const auto c = detail::Lanes<Scalar>::all(inverse * inverse * sum / static_cast<Scalar>(n));
        detail::transform(
            n, d_v, [&](auto g_i, auto w, auto v_i) { return r * (g_i * w - v_i * c); }, g, weight, v);
        if (gate_first) {
          // v = y silu(z)   =>   d_z += d_v y silu'(z),  d_y += d_v silu(z)
          detail::transform(n, d_z, d_gate, d_z, d_v, y, z);
          detail::transform(
              n, d_y, [](auto sum_i, auto d_v_i, auto z_i) { return sum_i + d_v_i * detail::silu(z_i); }, d_y, d_v, z);
        } else {
          // out = norm silu(z)   =>   d_z += d_out norm silu'(z);   v = y   =>   d_y += d_v
          detail::add_scaled(d_y, Scalar(1), d_v, n);
          Scalar* norm = d_v;
          detail::transform(
              n, norm, [&](auto v_i, auto w) { return v_i * r * w; }, v, weight);
          detail::transform(n, d_z, d_gate, d_z, d_out_t, norm, z);
        }
      }
  });
  for (Index block = 0; block < blocks.size(); ++block)
    detail::add_scaled(d.weight.data(), Scalar(1), detail::row_of(d_weights, block), C);
}

}  // namespace heed::inline HEED_ABI
