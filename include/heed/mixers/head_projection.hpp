// The rows of n heads: queries and keys before they turn, and values.
//
//   r = norm(x W + b)        x [T x D]   W [D x n E]   b [1 x n E]   r [T x n E]
//
//   none       r = x W + b
//   per head   every head's E features are normalised by themselves, with one weight [1 x E] that the heads share
//   whole      all n E features are normalised together, with a weight [1 x n E]
// Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.2; norms of queries and keys: Henry et al. 2020
// (arXiv 2010.04245), per head as in Qwen3 (arXiv 2505.09388), whole as in OLMo 2 (arXiv 2501.00656).
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "../core/pass.hpp"
#include "../core/visit.hpp"
#include "../ops/bias.hpp"
#include "../ops/linear.hpp"
#include "../ops/rms_norm.hpp"
#include "shape.hpp"

namespace heed::inline HEED_ABI {

/// What queries and keys are normalised over, after the projection and before they turn.
enum class QueryKeyNorm { none, per_head, whole };
constexpr std::array<std::pair<std::string_view, QueryKeyNorm>, 3> value_names(QueryKeyNorm) {
  return {{{"none", QueryKeyNorm::none}, {"per_head", QueryKeyNorm::per_head}, {"whole", QueryKeyNorm::whole}}};
}

struct HeadProjection {
  struct Config {
    bool biases = false;
    QueryKeyNorm norm = QueryKeyNorm::none;
    double epsilon = 1e-6;  // of the norm
  };

  template <class Scalar>
  struct Params {
    Weight<Scalar> w;     // [D x n E]
    Matrix<Scalar> b;     // [1 x n E], or absent
    Matrix<Scalar> norm;  // [1 x E] per head, [1 x n E] whole, or absent

    Params() = default;
    Params(Index width, Index heads, Index head_width, const Config& config) : w(width, heads * head_width) {
      if (config.biases) b.setZero(1, heads * head_width);
      if (config.norm != QueryKeyNorm::none)
        norm.setOnes(1, config.norm == QueryKeyNorm::per_head ? head_width : heads * head_width);
    }
    /// name: q gives w_q, b_q and q_norm.
    template <class F, class... P>
    static void visit(std::string_view name, F&& f, P&&... p) {
      const std::string letter(name);
      f(std::string_view("w_" + letter), Role::matrix, p.w...);
      visit_if_present(f, "b_" + letter, Role::bias, p.b...);
      visit_if_present(f, letter + "_norm", Role::norm, p.norm...);
    }
  };

  template <class Scalar>
  struct Record {
    const Scalar* projected = nullptr;  // [T x n E] x W + b, where a norm follows
  };

  /// Returns r, in the arena `out`.
  template <class Scalar>
  static MutableView<Scalar> apply(const Config& config, const Params<Scalar>& params, Record<Scalar>& record,
                                   const Pass& pass, const View<Scalar>& x, Arena& out) {
    const bool normed = config.norm != QueryKeyNorm::none;
    const bool remember = normed && pass.training();  // otherwise the norm is taken in place
    MutableView<Scalar> projected = (remember ? pass.kept : out).template zeros<Scalar>(x.rows(), params.w.cols());
    linear(x, params.w, projected, pass.workers);
    if (config.biases) add_bias(params.b, projected, pass.workers);
    if (!normed) return projected;

    MutableView<Scalar> r = remember ? out.matrix<Scalar>(x.rows(), params.w.cols()) : projected;
    rms_norm(regrouped(view_of(projected), params.norm.cols()), params.norm, config.epsilon,
             regrouped(r, params.norm.cols()), pass.workers);
    record.projected = projected.data();
    return r;
  }

  /// d_r [T x n E]. Adds to d_x and to the gradients.
  template <class Scalar>
  static void backward(const Config& config, const Params<Scalar>& params, const Record<Scalar>& record, const Pass& pass,
                       const View<Scalar>& x, const MutableView<Scalar>& d_r, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const Arena::Scope scope(pass.scratch);
    const bool normed = config.norm != QueryKeyNorm::none;
    // r = norm(projected)   =>   d_projected, d_norm
    MutableView<Scalar> d_projected = normed ? pass.scratch.template zeros<Scalar>(d_r.rows(), d_r.cols()) : d_r;
    if (normed) {
      const View<Scalar> projected = view_of(record.projected, d_r.rows(), d_r.cols(), d_r.cols());
      rms_norm_backward(regrouped(projected, params.norm.cols()), params.norm, config.epsilon,
                        regrouped(d_r, params.norm.cols()), regrouped(d_projected, params.norm.cols()), gradients.norm,
                        pass.scratch, pass.workers);
    }
    // projected = x w + b   =>   d_b += sum_t d_projected,  d_x += d_projected w^T,  d_w += x^T d_projected
    if (config.biases) add_bias_backward(d_projected, gradients.b, pass.scratch, pass.workers);
    linear_backward(x, params.w, d_projected, d_x, gradients.w, pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
