// Train a small model on a verse, save it, load it, and let it go on from two words.
#include <heed/heed.hpp>
#include <heed/io/safetensors.hpp>
#include <iostream>
#include <string>
#include <vector>

using Layers = heed::Stack<float, heed::Block<heed::StandardAttention>, heed::Block<heed::ResFormer>>;
using Model = heed::LanguageModel<Layers>;

Model make_model(std::uint64_t seed) {
  return Model(/*vocabulary=*/256, Layers({.width = 32, .heads = 4, .kv_heads = 2}), seed);
}

std::string continued(const Model& model, const std::string& prompt, int bytes) {
  auto cache = model.make_cache({.positions = 128, .rows = 16});
  heed::Sampler sampler({.temperature = 0});  // always the likeliest byte
  std::vector<int> tokens(prompt.begin(), prompt.end());
  std::string text = prompt;
  for (int i = 0; i < bytes; ++i) {
    tokens.assign(1, sampler(model.next_logits(tokens, cache)));  // the prompt first, then one byte at a time
    text += static_cast<char>(tokens[0]);
  }
  return text;
}

int main() {
  const std::string verse =
      "Mary had a little lamb, its fleece was white as snow, and everywhere that Mary went the lamb was sure to go. ";
  std::vector<unsigned char> text;
  for (int i = 0; i < 4; ++i) text.insert(text.end(), verse.begin(), verse.end());

  Model model = make_model(/*seed=*/1);
  heed::Trainer trainer(
      model, text,
      {.batch = 4, .length = 128, .schedule = {.peak = 5e-3, .floor = 5e-4, .warmup_steps = 20, .total_steps = 300}});
  const double before = trainer.validate(text);
  while (trainer.steps() < 300) trainer.step();
  const double after = trainer.validate(text);  // nats per byte
  std::cout << heed::count_parameters(model.params()) << " parameters\n"
            << "knows nothing at first (ln 256 nats per byte): " << std::boolalpha << (before > 5.4 && before < 5.7) << "\n"
            << "less than 0.2 after " << trainer.steps() << " steps:                 " << (after < 0.2) << "\n";

  heed::io::save("05_model.safetensors", model.params());
  Model loaded = make_model(/*seed=*/2);
  heed::io::load("05_model.safetensors", loaded.params());
  std::cout << continued(loaded, "Mary had", 100) << "\n";
}
