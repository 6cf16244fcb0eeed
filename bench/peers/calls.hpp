// What heed and its peers are asked to compute. Rows are positions, heads lie side by side, everything is causal with T =
// S.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <heed/core/matrix.hpp>

#include "../limits/attend_sizes.hpp"

namespace peers {

using heed::Index;
using limits::AttendSizes;

/// y = softmax(mask(q k^T / sqrt(E))) v
struct Attention {
  AttendSizes sizes;
  const float* q;  // [T x H*E]
  const float* k;  // [T x G*E]
  const float* v;  // [T x G*E]
  float* y;        // [T x H*E]

  Index stride() const { return sizes.heads * sizes.width; }
  Index kv_stride() const { return sizes.kv_heads * sizes.width; }
  Index kv_head(Index head) const { return head / (sizes.heads / sizes.kv_heads); }
};

/// The same, B sequences of T rows below one another with as many kv heads as heads, and the gradients of dot(y, d_y).
struct Training {
  Attention forward;
  const float* d_y;
  float *d_q, *d_k, *d_v;  // assigned
};

/// y = x w, x [T x in], w [in x out], or y += x w where y is zero
struct Linear {
  Index rows, in, out;
  const float* x;
  const float* w;
  float* y;
};

/// Somebody who computes it, on one thread, from and to where the call says.
struct Contestant {
  std::string name;
  std::function<void()> run;
};

// Empty where a peer is not built in, or has no such thing.
std::vector<Contestant> eigen(const Attention& call);
std::vector<Contestant> eigen(const Training& call);
std::vector<Contestant> eigen(const Linear& call);
std::vector<Contestant> openblas(const Attention& call);
std::vector<Contestant> openblas(const Training& call);
std::vector<Contestant> openblas(const Linear& call);
std::vector<Contestant> onednn(const Attention& call);
std::vector<Contestant> onednn(const Training& call);
std::vector<Contestant> onednn(const Linear& call);
std::vector<Contestant> torch(const Attention& call);
std::vector<Contestant> torch(const Training& call);
std::vector<Contestant> torch(const Linear& call);

}  // namespace peers
