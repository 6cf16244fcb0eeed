// The products of OpenBLAS in tiles: the loop of PyTorch 2 on a CPU.
#include "tiled_attention.hpp"

#if defined(HEED_HAS_OPENBLAS)
#include <cblas.h>

extern "C" void openblas_set_num_threads(int);

namespace peers {
namespace {

struct Products {
  static void multiply(CBLAS_TRANSPOSE order, float keep, float* c, Index c_row, const float* a, Index a_row,
                       const float* b, Index b_row, Index M, Index N, Index K) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, order, static_cast<int>(M), static_cast<int>(N), static_cast<int>(K), 1, a,
                static_cast<int>(a_row), b, static_cast<int>(b_row), keep, c, static_cast<int>(c_row));
  }
  void transposed(float* c, Index c_row, const float* a, Index a_row, const float* b, Index b_row, Index M, Index N,
                  Index K) const {
    multiply(CblasTrans, 0, c, c_row, a, a_row, b, b_row, M, N, K);
  }
  void added(float* c, Index c_row, const float* a, Index a_row, const float* b, Index b_row, Index M, Index N,
             Index K) const {
    multiply(CblasNoTrans, 1, c, c_row, a, a_row, b, b_row, M, N, K);
  }
};

}  // namespace

std::vector<Contestant> openblas(const Attention& call) {
  openblas_set_num_threads(1);
  return {{"OpenBLAS in tiles", [=] { tiled_attention(call, {256, 512}, Products()); }}};
}
std::vector<Contestant> openblas(const Linear& call) {
  openblas_set_num_threads(1);
  return {{"OpenBLAS", [=] {
             Products::multiply(CblasNoTrans, 0, call.y, call.out, call.x, call.in, call.w, call.out, call.rows, call.out,
                                call.in);
           }}};
}

}  // namespace peers
#else

namespace peers {

std::vector<Contestant> openblas(const Attention&) {
  return {};
}
std::vector<Contestant> openblas(const Linear&) {
  return {};
}

}  // namespace peers
#endif

namespace peers {

// It has no gradients.
std::vector<Contestant> openblas(const Training&) {
  return {};
}

}  // namespace peers
