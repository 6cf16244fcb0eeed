// What one writes with Eigen at hand: whole scores head by head, and tiles.
#include <memory>

#include "tiled_attention.hpp"

namespace peers {
namespace {

using Rows = heed::Matrix<float>;
using heed::mutable_view_of;
using heed::view_of;

/// The probabilities of some rows that see themselves and what is before them, from their products.
void soften(Rows& scores, float scale) {
  for (Index i = 0; i < scores.rows(); ++i) {
    auto row = scores.row(i).head(i + 1);
    const float highest = row.maxCoeff() * scale;
    row = (row.array() * scale - highest).exp();
    row /= row.sum();
    scores.row(i).tail(scores.cols() - i - 1).setZero();
  }
}

void naive(const Attention& call, Rows& scores) {
  const Index T = call.sizes.keys, E = call.sizes.width;
  for (Index head = 0; head < call.sizes.heads; ++head) {
    const Index at = call.kv_head(head) * E;
    scores.noalias() =
        view_of(call.q + head * E, T, E, call.stride()) * view_of(call.k + at, T, E, call.kv_stride()).transpose();
    soften(scores, 1 / std::sqrt(static_cast<float>(E)));
    mutable_view_of(call.y + head * E, T, E, call.stride()).noalias() =
        scores * view_of(call.v + at, T, E, call.kv_stride());
  }
}

struct Products {
  void transposed(float* c, Index c_row, const float* a, Index a_row, const float* b, Index b_row, Index M, Index N,
                  Index K) const {
    mutable_view_of(c, M, N, c_row).noalias() = view_of(a, M, K, a_row) * view_of(b, N, K, b_row).transpose();
  }
  void added(float* c, Index c_row, const float* a, Index a_row, const float* b, Index b_row, Index M, Index N,
             Index K) const {
    mutable_view_of(c, M, N, c_row).noalias() += view_of(a, M, K, a_row) * view_of(b, K, N, b_row);
  }
};

void naive(const Training& call, Rows& a, Rows& d_z) {
  const Attention& of = call.forward;
  const Index T = of.sizes.keys, E = of.sizes.width, stride = of.stride();
  const float scale = 1 / std::sqrt(static_cast<float>(E));
  for (Index b = 0; b < of.sizes.sequences; ++b)
    for (Index head = 0; head < of.sizes.heads; ++head) {
      const Index at = b * T * stride + head * E;
      const auto part = [&](const float* from) { return view_of(from + at, T, E, stride); };
      const auto written = [&](float* to) { return mutable_view_of(to + at, T, E, stride); };
      a.noalias() = part(of.q) * part(of.k).transpose();
      soften(a, scale);
      written(of.y).noalias() = a * part(of.v);
      d_z.noalias() = part(call.d_y) * part(of.v).transpose();
      for (Index i = 0; i < T; ++i) d_z.row(i) = scale * a.row(i).array() * (d_z.row(i).array() - a.row(i).dot(d_z.row(i)));
      written(call.d_v).noalias() = a.transpose() * part(call.d_y);
      written(call.d_k).noalias() = d_z.transpose() * part(of.q);
      written(call.d_q).noalias() = d_z * part(of.k);
    }
}

}  // namespace

std::vector<Contestant> eigen(const Attention& call) {
  auto scores = std::make_shared<Rows>(call.sizes.keys, call.sizes.keys);
  return {{"naive Eigen", [=] { naive(call, *scores); }}, {"Eigen in tiles", [=] {
                                                             tiled_attention(call, {64, 256}, Products());
                                                           }}};
}

std::vector<Contestant> eigen(const Training& call) {
  auto a = std::make_shared<Rows>(call.forward.sizes.keys, call.forward.sizes.keys);
  auto d_z = std::make_shared<Rows>(*a);
  return {{"naive Eigen", [=] { naive(call, *a, *d_z); }}};
}

std::vector<Contestant> eigen(const Linear& call) {
  return {{"naive Eigen", [=] {
             mutable_view_of(call.y, call.rows, call.out, call.out).noalias() =
                 view_of(call.x, call.rows, call.in, call.in) * view_of(call.w, call.in, call.out, call.out);
           }}};
}

}  // namespace peers
