// Forward and backward of causal attention. FLOPs are 3.5 times those of forward: two products forward, five backward.
#include <heed/ops/attend.hpp>
#include <memory>

#include "attend_sizes.hpp"
#include "oracle.hpp"
#include "row.hpp"

namespace limits {
namespace {

/// Operands as a layer holds them: packed sequences, heads side by side.
struct Training {
  AttendSizes sizes;
  bench::HugeMatrix<float> q, k, v, o, d_o, d_q, d_k, d_v, log_sum_exp;
  heed::Sequences sequences;
  heed::Arena arena;
  heed::HeadTable<heed::HeadRows<float>> k_heads, v_heads;

  explicit Training(const AttendSizes& of)
      : sizes(of),
        q(random(of.sequences * of.keys, of.heads * of.width, "q")),
        k(random(of.sequences * of.keys, of.kv_heads * of.width, "k")),
        v(random(of.sequences * of.keys, of.kv_heads * of.width, "v")),
        o(q.rows(), q.cols()),
        d_o(random(q.rows(), q.cols(), "d_o")),
        d_q(q.rows(), q.cols()),
        d_k(k.rows(), k.cols()),
        d_v(v.rows(), v.cols()),
        log_sum_exp(q.rows(), of.heads),
        sequences(heed::Sequences::each(of.sequences, of.keys)) {
    k_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, of.sequences, of.kv_heads);
    v_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, of.sequences, of.kv_heads);
    for (Index b = 0; b < of.sequences; ++b)
      for (Index g = 0; g < of.kv_heads; ++g) {
        const Index at = b * of.keys * k.cols() + g * of.width;
        k_heads.at(b, g) = {k.data() + at, d_k.mutable_view().data() + at, of.keys, of.width, k.cols(), k.cols()};
        v_heads.at(b, g) = {v.data() + at, d_v.mutable_view().data() + at, of.keys, of.width, v.cols(), v.cols()};
      }
  }
  heed::Computed<float> scores() const {
    return {q.view(), k_heads, heed::causal(), 1 / std::sqrt(static_cast<float>(sizes.width)), log_sum_exp.mutable_view(),
            {}};
  }
  void run(heed::Workers& workers) {
    for (auto* added_to : {&o, &d_q, &d_k, &d_v}) added_to->mutable_view().setZero();
    heed::attend(scores(), v_heads, sequences, o.mutable_view(), workers);
    heed::attend_backward(scores(), v_heads, sequences, o.view(), d_o.view(), d_q.mutable_view(), workers);
  }

  template <class Scalar>
  reference::AttentionGradients<Scalar> gradients(const HeadOperands& head, const float* d_o_of_head) const {
    const auto rows = [&](const float* from, Index stride) {
      return rows_for_oracle<Scalar>(from, sizes.keys, sizes.width, stride);
    };
    const auto logits = head.logits<Scalar>(0);
    const auto q_rows = rows(head.q, head.q_stride), k_rows = rows(head.k, head.k_stride),
               v_rows = rows(head.v, head.v_stride);
    return reference::attention_backward(q_rows, k_rows, v_rows, logits,
                                         reference::attention(q_rows, k_rows, v_rows, logits), rows(d_o_of_head, q.cols()),
                                         {});
  }
  /// The last head of the last sequence, which no other head adds to.
  std::string check(heed::Workers& workers) {
    run(workers);
    const Index at = q.rows() * q.cols() - sizes.keys * q.cols() + q.cols() - sizes.width;
    const HeadOperands head{q.data() + at, k.data() + at, v.data() + at, q.cols(),      k.cols(),
                            v.cols(),      sizes.keys,    sizes.width,   heed::causal()};
    const auto naive = gradients<float>(head, d_o.data() + at);
    const auto exact = gradients<double>(head, d_o.data() + at);
    const auto differs = [&](const char* what, const bench::HugeMatrix<float>& found, const reference::Rows<float>& naively,
                             const reference::Rows<double>& exactly) {
      return too_far(what, Matrix<float>(found.view().bottomRightCorner(sizes.keys, sizes.width)), matrix_of(naively),
                     matrix_of(exactly), sizes.width);
    };
    for (const std::string& wrong : {differs("d_q", d_q, naive.q, exact.q), differs("d_k", d_k, naive.k, exact.k),
                                     differs("d_v", d_v, naive.v, exact.v)})
      if (!wrong.empty()) return wrong;
    return {};
  }
};

}  // namespace

std::vector<Row> training_rows() {
  const AttendSizes sizes{1024, 12, 12, 64, 4};
  return {{.workload = "forward + backward f32, B 4, 12 heads x 64, S 1024",
           .unit = "of the FP32 FMA peak",
           .must = 0.45,
           .aim = 0.65,
           .rate = Rate::fma,
           .limit_of = "FP32 FMA peak",
           .limit_unit = "GFLOP/s",
           .expected_seconds = 2 * seconds_for(3.5 * sizes.flops(heed::causal())),
           .prepare = [=](Scale scale, heed::Pool& pool) {
             auto workers = std::make_shared<heed::Workers>(pool);
             AttendSizes scaled = sizes.at(scale);
             if (scale == Scale::small) scaled.keys = 131;
             auto made = std::make_shared<Training>(scaled);
             return Prepared{.check = [=] { return made->check(*workers); },
                             .runs = {[=] { made->run(*workers); }},
                             .figure = [=](const std::vector<double>& seconds,
                                           double peak) { return 3.5 * scaled.flops(heed::causal()) / seconds[0] / peak; }};
           }}};
}

}  // namespace limits
