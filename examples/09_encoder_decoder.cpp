// An encoder and a decoder of two stacks: the decoder attends to what the encoder has made, and learns to say it backwards.
#include <heed/heed.hpp>
#include <iostream>

using heed::Index;
using heed::Matrix;
using Encoder = heed::Stack<float, heed::Block<heed::StandardAttention>>;
using Decoder = heed::Stack<float, heed::Block<heed::StandardAttention>, heed::Block<heed::CrossAttention>>;

constexpr Index T = 5, D = 16;

// Sentences of T random rows; where a row stands is written into it.
Matrix<float> places() {
  Matrix<float> rows(T, D);
  heed::Random(1, "places").normal(rows, 1);
  return rows;
}
Matrix<float> sentences(Index count, std::uint64_t seed) {
  Matrix<float> rows(count * T, D);
  heed::Random(seed, "sentences").normal(rows, 1);
  return rows;
}

int main() {
  Encoder::Config encoder_config{.width = D, .heads = 4};
  encoder_config.layer<0>().mixer.scores.mask = heed::bidirectional();
  Encoder encoder(encoder_config);
  Decoder::Config decoder_config{.width = D, .heads = 4};
  decoder_config.layer<1>().mixer.memory_positions = T;
  Decoder decoder(decoder_config);
  encoder.initialise(/*seed=*/1);
  decoder.initialise(/*seed=*/2);

  // One training step: the gradient of the memory is what the decoder hands to the encoder.
  const Index count = 16;
  const auto batch = heed::Sequences::each(count, T);
  const Matrix<float> where = places().replicate(count, 1);
  auto encoder_tape = encoder.make_tape(batch);
  auto decoder_tape = decoder.make_tape(batch);
  heed::AdamW encoder_step(encoder.make_gradients(), {.weight_decay = 0});
  heed::AdamW decoder_step(decoder.make_gradients(), {.weight_decay = 0});
  const auto train = [&](std::uint64_t seed) {
    const Matrix<float> x = sentences(count, seed);
    const Matrix<float> memory = encoder.forward(Matrix<float>(x + where), encoder_tape);
    Matrix<float> d_memory = Matrix<float>::Zero(memory.rows(), D);
    Matrix<float> error = decoder.forward(where, heed::MemoryRows(memory, batch, d_memory), decoder_tape);
    for (Index b = 0; b < count; ++b) error.middleRows(b * T, T) -= x.middleRows(b * T, T).colwise().reverse();

    auto d_decoder = decoder.make_gradients();
    auto d_encoder = encoder.make_gradients();
    decoder.backward(Matrix<float>(error / float(count)), decoder_tape, d_decoder);
    encoder.backward(d_memory, encoder_tape, d_encoder);
    decoder_step.step(decoder.params(), d_decoder, 0.01);
    encoder_step.step(encoder.params(), d_encoder, 0.01);
    return error.squaredNorm() / float(error.size());
  };
  const float before = train(0);
  float after = 0;
  for (std::uint64_t step = 1; step <= 400; ++step) after = train(step);
  std::cout << std::boolalpha << "a tenth of the error is left: " << (after < before / 10) << "\n";

  // The memory is read in the first call of a sequence; decoding needs it no more.
  const Matrix<float> x = sentences(1, 1000);
  auto encoded = encoder.make_cache({.positions = T, .rows = T});
  const Matrix<float> memory = encoder.forward(Matrix<float>(x + places()), encoded);
  auto at_once = decoder.make_cache({.positions = T, .rows = T});
  const Matrix<float> whole = decoder.forward(places(), heed::MemoryRows(memory), at_once);
  auto by_row = decoder.make_cache({.positions = T, .rows = 1});
  Matrix<float> rows(T, D);
  rows.row(0) = decoder.forward(places().topRows(1), heed::MemoryRows(memory), by_row);
  for (Index t = 1; t < T; ++t) rows.row(t) = decoder.forward(places().middleRows(t, 1), by_row);
  std::cout << "row by row is all at once:    " << rows.isApprox(whole, 1e-4f) << "\n";
}
