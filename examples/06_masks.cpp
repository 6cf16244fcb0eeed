// Masks, drawn: a row for each position, a # for each key it sees. And attention in two parts.
#include <heed/ops/attend.hpp>
#include <heed/ops/documents.hpp>
#include <heed/ops/merge.hpp>
#include <iostream>
#include <random>
#include <string_view>

namespace {

void draw(std::string_view name, const heed::Mask& mask) {
  std::cout << name << '\n';
  for (heed::Index position = 0; position < 12; ++position) {
    std::cout << "  ";
    for (heed::Index key = 0; key < 12; ++key) std::cout << (mask.visible(position, 12).contains(key) ? '#' : '.');
    std::cout << '\n';
  }
}

heed::Matrix<float> random_matrix(heed::Index rows, heed::Index cols, unsigned seed) {
  std::mt19937 random(seed);
  heed::Matrix<float> matrix(rows, cols);
  for (heed::Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = static_cast<float>(random() % 200) / 100 - 1;
  return matrix;
}

}  // namespace

int main() {
  draw("streaming(2, 3)", heed::streaming(2, 3));
  draw("prefix_lm(4)", heed::prefix_lm(4));
  draw("chunked(4)", heed::chunked(4));

  const heed::Documents documents({5, 3, 4});
  draw("documents & causal", documents.mask() & heed::causal());
  draw("streaming & documents", heed::streaming(2, 3) & documents.mask());

  const auto q = random_matrix(12, 8, 1), k = random_matrix(12, 8, 2), v = random_matrix(12, 8, 3);
  heed::Attended<float> first, second;
  heed::attend_into(q, k.topRows(5), v.topRows(5), {.offset = 0}, first);
  heed::attend_into(q, k.bottomRows(7), v.bottomRows(7), {.offset = -5}, second);
  heed::merge_into(first, second);
  const bool same = (first.y - heed::attend(q, k, v)).cwiseAbs().maxCoeff() < 1e-5f;
  std::cout << "two parts merged are the whole: " << (same ? "true" : "false") << '\n';
}
