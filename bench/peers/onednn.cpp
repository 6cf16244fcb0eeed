// oneDNN's primitives: product, softmax, product, head by head; the mask is added to the first.
#include "calls.hpp"

#if defined(HEED_HAS_ONEDNN)
#include <cmath>
#include <dnnl.hpp>
#include <memory>

extern "C" void omp_set_num_threads(int);  // oneDNN's threads are OpenMP's

namespace peers {
namespace {

using dnnl::matmul;
using dnnl::memory;

memory::desc rows_of(Index rows, Index cols, Index row, Index col = 1) {
  return {{rows, cols}, memory::data_type::f32, {row, col}};
}

/// Primitives for one head at a time.
struct Primitives {
  Attention call;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  heed::Matrix<float> mask, scores;
  memory::desc q, k, v, y, s;
  matmul first, second;
  dnnl::softmax_forward softmax;

  explicit Primitives(const Attention& of)
      : call(of),
        mask(of.sizes.keys, of.sizes.keys),
        scores(of.sizes.keys, of.sizes.keys),
        q(rows_of(of.sizes.keys, of.sizes.width, of.stride())),
        k(rows_of(of.sizes.width, of.sizes.keys, 1, of.kv_stride())),
        v(rows_of(of.sizes.keys, of.sizes.width, of.kv_stride())),
        y(rows_of(of.sizes.keys, of.sizes.width, of.stride())),
        s(rows_of(of.sizes.keys, of.sizes.keys, of.sizes.keys)) {
    for (Index i = 0; i < mask.rows(); ++i)
      for (Index j = 0; j < mask.cols(); ++j) mask(i, j) = j <= i ? 0.0f : -1e30f;
    dnnl::primitive_attr attributes;
    attributes.set_output_scales(0, {1 / std::sqrt(static_cast<float>(call.sizes.width))});
    dnnl::post_ops after;
    after.append_binary(dnnl::algorithm::binary_add, s);
    attributes.set_post_ops(after);
    first = matmul({{q, k, s}, attributes, engine});
    softmax = dnnl::softmax_forward({{dnnl::prop_kind::forward_inference, s, 1}, engine});
    second = matmul({{s, v, y}, engine});
  }
  void run() {
    const auto at = [&](const memory::desc& shape, const float* data) {
      return memory(shape, engine, const_cast<float*>(data));
    };
    const memory z = at(s, scores.data()), hidden = at(s, mask.data());
    for (Index head = 0; head < call.sizes.heads; ++head) {
      const Index own = head * call.sizes.width, kv = call.kv_head(head) * call.sizes.width;
      first.execute(stream, {{DNNL_ARG_SRC, at(q, call.q + own)},
                             {DNNL_ARG_WEIGHTS, at(k, call.k + kv)},
                             {DNNL_ARG_DST, z},
                             {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, hidden}});
      softmax.execute(stream, {{DNNL_ARG_SRC, z}, {DNNL_ARG_DST, z}});
      second.execute(stream,
                     {{DNNL_ARG_SRC, z}, {DNNL_ARG_WEIGHTS, at(v, call.v + kv)}, {DNNL_ARG_DST, at(y, call.y + own)}});
    }
    stream.wait();
  }
};

}  // namespace

std::vector<Contestant> onednn(const Attention& call) {
  omp_set_num_threads(1);
  auto made = std::make_shared<Primitives>(call);
  return {{"oneDNN", [=] { made->run(); }}};
}

std::vector<Contestant> onednn(const Linear& call) {
  omp_set_num_threads(1);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const memory::desc x = rows_of(call.rows, call.in, call.in), w = rows_of(call.in, call.out, call.out),
                     y = rows_of(call.rows, call.out, call.out);
  const matmul product({{x, w, y}, engine});
  const dnnl::stream stream(engine);
  const auto at = [&](const memory::desc& shape, const float* data) {
    return memory(shape, engine, const_cast<float*>(data));
  };
  const std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, at(x, call.x)}, {DNNL_ARG_WEIGHTS, at(w, call.w)}, {DNNL_ARG_DST, at(y, call.y)}};
  return {{"oneDNN", [=] {
             product.execute(stream, arguments);
             dnnl::stream(stream).wait();
           }}};
}

}  // namespace peers
#else

namespace peers {

std::vector<Contestant> onednn(const Attention&) {
  return {};
}
std::vector<Contestant> onednn(const Linear&) {
  return {};
}

}  // namespace peers
#endif

namespace peers {

// It has no gradients.
std::vector<Contestant> onednn(const Training&) {
  return {};
}

}  // namespace peers
