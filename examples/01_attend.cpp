// One primitive on plain Eigen matrices: grouped causal attention, whole and one row at a time.
//
//   o[:, h] = softmax(mask(q_h k_{h/g}^T / sqrt(E))) v_{h/g}       q [T x H E]   k, v [S x G E]   o [T x H E]
#include <heed/heed.hpp>
#include <iomanip>
#include <iostream>

int main() {
  // 8 query heads share 2 key/value heads, each of width 16.
  heed::Matrix<float> q(5, 8 * 16), k(5, 2 * 16), v(5, 2 * 16);
  heed::Random(1, "q").normal(q, 1);
  heed::Random(1, "k").normal(k, 1);
  heed::Random(1, "v").normal(v, 1);

  const heed::Matrix<float> o = heed::attend(q, k, v, {.heads = 8, .kv_heads = 2, .mask = heed::causal()});
  std::cout << std::fixed << std::setprecision(3);
  std::cout << "o [" << o.rows() << " x " << o.cols() << "], first row, head 0: " << o.row(0).head(4) << " ...\n";
  std::cout << "the first row sees itself alone:    v first row: " << v.row(0).head(4) << " ...\n";

  // The last row alone sees the same: it stands at position S - T = 4.
  const heed::Matrix<float> last = heed::attend(q.bottomRows(1), k, v, {.heads = 8, .kv_heads = 2});
  std::cout << "the last row alone is the last row: " << std::boolalpha << last.isApprox(o.bottomRows(1), 1e-5f) << "\n";

  // A window of two keys, the row itself among them.
  const heed::Matrix<float> near = heed::attend(q, k, v, {.heads = 8, .kv_heads = 2, .mask = heed::window(2)});
  const heed::Matrix<float> same =
      heed::attend(q.bottomRows(1), k.bottomRows(2), v.bottomRows(2), {.heads = 8, .kv_heads = 2});
  std::cout << "a window of two is the last two:    " << near.bottomRows(1).isApprox(same, 1e-5f) << "\n";
}
