// Mixers in a model of your own, without Stack: the values and the scores of layer 1 are handed to layer 2.
//
//   y = x + standard(x)                         publishes values and scores
//   z = y + reused scores, residual values(y)   A of layer 1, V = 1/2 V_1 + 1/2 y W_v
#include <heed/heed.hpp>
#include <iomanip>
#include <iostream>

using heed::feed;
using heed::Index;
using heed::Matrix;

using Bottom = heed::StandardAttention;
using Top = heed::Attention<heed::ReusedScores, heed::ResidualValues<heed::Learned>>;

// Your model: whatever you like around the mixers. Here, two residual layers.
struct Model {
  heed::Sizes sizes{.width = 32, .heads = 4, .kv_heads = 2};
  heed::MixerLayer<float, Bottom> bottom{sizes, {}, 1, "bottom", 2};
  heed::MixerLayer<float, Top> top{sizes, {}, 1, "top", 2};
};

// What survives between calls.
struct Memory {
  heed::Workspace work;
  heed::MixerLayer<float, Bottom>::State bottom;
  heed::MixerLayer<float, Top>::State top;

  Memory(const Model& model, const heed::WorkspaceOptions& options)
      : work(options),
        bottom(model.bottom.make_state<heed::scores>(work)),  // the layer above reads its scores
        top(model.top.make_state(work)) {}
};

void apply(const Model& model, const heed::Pass& pass, const Matrix<float>& x, Matrix<float>& y, Matrix<float>& z,
           Memory& memory) {
  y = x;
  model.bottom.apply(pass, x, y, memory.bottom);
  z = y;
  model.top.apply(pass, y, z, memory.top, feed<heed::first<heed::values>>(memory.bottom.published<heed::values>()),
                  feed<heed::nearest<heed::scores>>(memory.bottom.published<heed::scores>()));
}

// Prefill, chunked prefill and decode are the same function.
Matrix<float> forward(const Model& model, const Matrix<float>& x, Memory& memory) {
  const heed::Pass pass = memory.work.begin({x.rows()});
  Matrix<float> y, z;
  apply(model, pass, x, y, z, memory);
  memory.work.commit();
  return z;
}

int main() {
  Model model;
  Matrix<float> x(6, 32);
  heed::Random(7, "x").normal(x, 1);
  std::cout << std::fixed << std::setprecision(2);

  // Prefill five positions, decode the sixth; and all six at once.
  Memory memory(model, {.positions = 16});
  forward(model, x.topRows(5), memory);
  const Matrix<float> decoded = forward(model, x.bottomRows(1), memory);
  Memory fresh(model, {.positions = 16});
  const Matrix<float> whole = forward(model, x, fresh);
  std::cout << "decoded equals whole: " << std::boolalpha << decoded.isApprox(whole.bottomRows(1), 1e-5f) << "\n";
  std::cout << "cache bytes: bottom " << memory.bottom.bytes() << " (K, V), top " << memory.top.bytes() << " (V)\n";

  // Training: forward, then backward through both layers and through what was handed from one to the other.
  Memory tape(model, {.positions = 6});
  const heed::Pass pass = tape.work.begin({6}, heed::Purpose::training);
  Matrix<float> y, z;
  apply(model, pass, x, y, z, tape);
  const Matrix<float> d_z = z;  // the gradient of |z|^2 / 2
  auto d_bottom = model.bottom.make_gradients();
  auto d_top = model.top.make_gradients();
  Matrix<float> d_y = d_z;
  model.top.backward(pass, y, d_z, d_y, d_top, tape.top,
                     feed<heed::first<heed::values>>(tape.bottom.published<heed::values>()),
                     feed<heed::nearest<heed::scores>>(tape.bottom.published<heed::scores>()));
  Matrix<float> d_x = d_y;
  model.bottom.backward(pass, x, d_y, d_x, d_bottom, tape.bottom);

  // One step against the gradient lowers the loss.
  heed::visit([](std::string_view, heed::Role, auto& w, const auto& d_w) { w -= 0.01f * d_w; }, model.bottom.params,
              d_bottom);
  heed::visit([](std::string_view, heed::Role, auto& w, const auto& d_w) { w -= 0.01f * d_w; }, model.top.params, d_top);
  Memory after(model, {.positions = 16});
  const Matrix<float> stepped = forward(model, x, after);
  std::cout << "loss " << whole.squaredNorm() / 2 << " -> " << stepped.squaredNorm() / 2 << "\n";
}
