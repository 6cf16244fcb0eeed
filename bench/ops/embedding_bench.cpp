// Looking rows up by token, and adding their gradients, beside Eigen's rows.
#include <checked.hpp>
#include <heed/ops/embedding.hpp>
#include <vector>

namespace {

using heed::Index;
using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

constexpr Index vocabulary = 256;

std::vector<int> tokens_of(const benchmark::State& state) {
  heed::Random random(1, "tokens");
  std::vector<int> tokens(static_cast<std::size_t>(state.range(0)));
  for (int& token : tokens) token = static_cast<int>(random.next() % vocabulary);
  return tokens;
}

void embed(benchmark::State& state, Who who) {
  const std::vector<int> tokens = tokens_of(state);
  const Matrix<float> table = random(vocabulary, state.range(1), "table");
  Matrix<float> y(state.range(0), state.range(1));
  heed::bench::time_checked(
      state, who, y, 1, [&] { heed::embed(tokens, table, y); },
      [&] {
        for (Index t = 0; t < y.rows(); ++t) y.row(t) = table.row(tokens[static_cast<std::size_t>(t)]);
      });
  heed::bench::set_bytes(state, 2 * y.size());
}

void embed_backward(benchmark::State& state, Who who) {
  const std::vector<int> tokens = tokens_of(state);
  const Matrix<float> d_y = random(state.range(0), state.range(1), "d_y");
  Matrix<float> d_table(vocabulary, state.range(1));
  heed::bench::time_checked(
      state, who, d_table, d_y.rows(), [&] { heed::embed_backward(tokens, d_y, d_table); },
      [&] {
        for (Index t = 0; t < d_y.rows(); ++t) d_table.row(tokens[static_cast<std::size_t>(t)]) += d_y.row(t);
      });
  heed::bench::set_bytes(state, 2 * d_y.size());
}

HEED_BENCHMARK_BOTH(embed, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(embed_backward, heed::bench::row_sizes);

}  // namespace
