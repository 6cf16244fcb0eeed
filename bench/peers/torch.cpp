// libtorch: bmm, softmax, bmm, and its automatic gradients.
#include "calls.hpp"

#if defined(HEED_HAS_TORCH)
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <memory>

namespace peers {
namespace {

/// [B x T x H*E], seen as [B*H x T x E] where it lies; kv heads are repeated for the heads of their group.
at::Tensor heads_of(const float* data, const AttendSizes& sizes, Index heads) {
  const Index B = sizes.sequences, T = sizes.keys, E = sizes.width, group = sizes.heads / heads;
  const at::Tensor all = at::from_blob(const_cast<float*>(data), {B, T, heads, E}).permute({0, 2, 1, 3});
  return all.unsqueeze(2).expand({B, heads, group, T, E}).reshape({B * heads * group, T, E});
}
void write_heads(float* to, const AttendSizes& sizes, const at::Tensor& heads) {
  const Index B = sizes.sequences, T = sizes.keys, E = sizes.width, H = sizes.heads;
  at::from_blob(to, {B, T, H, E}).copy_(heads.view({B, H, T, E}).permute({0, 2, 1, 3}));
}
at::Tensor mask_of(Index T) {
  return at::full({T, T}, -std::numeric_limits<float>::infinity()).triu(1);
}
at::Tensor attended(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, Index E) {
  const double scale = 1 / std::sqrt(static_cast<double>(E));
  return at::bmm((at::bmm(q, k.transpose(1, 2)) * scale + mask).softmax(-1), v);
}

}  // namespace

std::vector<Contestant> torch(const Attention& call) {
  at::set_num_threads(1);
  const at::Tensor mask = mask_of(call.sizes.keys);
  return {{"libtorch", [=] {
             const at::NoGradGuard no_gradients;
             const AttendSizes& sizes = call.sizes;
             write_heads(call.y, sizes,
                         attended(heads_of(call.q, sizes, sizes.heads), heads_of(call.k, sizes, sizes.kv_heads),
                                  heads_of(call.v, sizes, sizes.kv_heads), mask, sizes.width));
           }}};
}

std::vector<Contestant> torch(const Training& call) {
  at::set_num_threads(1);
  const at::Tensor mask = mask_of(call.forward.sizes.keys);
  return {{"libtorch", [=] {
             const Attention& of = call.forward;
             const auto leaf = [&](const float* from) {
               return heads_of(from, of.sizes, of.sizes.heads).detach().requires_grad_(true);
             };
             const at::Tensor q = leaf(of.q), k = leaf(of.k), v = leaf(of.v);
             const at::Tensor y = attended(q, k, v, mask, of.sizes.width);
             y.backward(heads_of(call.d_y, of.sizes, of.sizes.heads));
             const at::NoGradGuard no_gradients;
             write_heads(of.y, of.sizes, y);
             write_heads(call.d_q, of.sizes, q.grad());
             write_heads(call.d_k, of.sizes, k.grad());
             write_heads(call.d_v, of.sizes, v.grad());
           }}};
}

std::vector<Contestant> torch(const Linear& call) {
  at::set_num_threads(1);
  const at::Tensor x = at::from_blob(const_cast<float*>(call.x), {call.rows, call.in}),
                   w = at::from_blob(const_cast<float*>(call.w), {call.in, call.out}),
                   y = at::from_blob(call.y, {call.rows, call.out});
  return {{"libtorch", [=] {
             const at::NoGradGuard no_gradients;
             at::Tensor out = y;
             at::mm_out(out, x, w);
           }}};
}

}  // namespace peers
#else

namespace peers {

std::vector<Contestant> torch(const Attention&) {
  return {};
}
std::vector<Contestant> torch(const Training&) {
  return {};
}
std::vector<Contestant> torch(const Linear&) {
  return {};
}

}  // namespace peers
#endif
