// Whole layers: the one that reuses scores beside one that computes them, and linear layers.
#include <heed/mixers/variants.hpp>
#include <heed/model/mixer_layer.hpp>
#include <heed/ops/linear.hpp>
#include <memory>
#include <reference/linear.hpp>

#include "attend_sizes.hpp"
#include "oracle.hpp"
#include "row.hpp"

namespace limits {
namespace {

using bench::HugeMatrix;

/// The lowest layer computes scores. The one above it computes its own, or takes those, which the lower one keeps for it.
///   y += lower(x) + upper(x)      x, y [T x D], D = H E
struct TwoLayers {
  using Standard = heed::MixerLayer<float, heed::StandardAttention>;
  using Reusing = heed::MixerLayer<float, heed::ScoreReuseAttention>;

  Index rows, heads, width;
  Standard lower, standard;
  Reusing reusing;
  HugeMatrix<float> x, y;
  heed::Workspace work;
  Standard::State lower_state, keeping_state, standard_state;
  Reusing::State reusing_state;

  static Standard::Config plain() {
    Standard::Config config;
    config.scores.positions = heed::NoPositions{};
    return config;
  }
  TwoLayers(Index T, Index H, Index E, heed::Pool& pool)
      : rows(T),
        heads(H),
        width(E),
        lower({.width = H * E, .heads = H}, plain(), 1, "lower"),
        standard({.width = H * E, .heads = H}, plain(), 1, "upper"),
        reusing({.width = H * E, .heads = H}, {}, 1, "upper"),
        x(random(T, H * E, "x")),
        y(T, H * E),
        work({.positions = T, .executor = &pool}),
        lower_state(lower.make_state(work)),
        keeping_state(lower.make_state<heed::scores>(work)),
        standard_state(standard.make_state(work)),
        reusing_state(reusing.make_state(work)) {}

  heed::Pass begin() {
    if (!work.timeline.truncate(0, 0)) throw std::runtime_error("the workspace cannot go back to its beginning");
    return work.begin(heed::Sequences({rows}));
  }
  void one_standard() { lower.apply(begin(), x.view(), y.mutable_view(), lower_state); }
  void two_standard() {
    const heed::Pass pass = begin();
    lower.apply(pass, x.view(), y.mutable_view(), lower_state);
    standard.apply(pass, x.view(), y.mutable_view(), standard_state);
  }
  void standard_and_reusing() {
    const heed::Pass pass = begin();
    lower.apply(pass, x.view(), y.mutable_view(), keeping_state);
    reusing.apply(pass, x.view(), y.mutable_view(), reusing_state,
                  heed::feed<heed::nearest<heed::scores>>(keeping_state.published<heed::scores>()));
  }

  /// Projections by Eigen, attention by the loops of the oracle: rows of y = lower(x) + upper(x), whose upper layer has the
  /// values of its own and the probabilities of the lower one.
  template <class Scalar>
  Matrix<Scalar> reused(const std::vector<Index>& some) const {
    const auto wide = [](const auto& matrix) -> Matrix<Scalar> { return matrix.template cast<Scalar>(); };
    const Matrix<Scalar> all = wide(x.view());
    const auto projected = [&](const heed::Weight<float>& w) -> Matrix<Scalar> { return all * wide(w); };
    const Matrix<Scalar> q = projected(lower.params.scores.q.w), k = projected(lower.params.scores.k.w);
    const Matrix<Scalar> v[] = {projected(lower.params.values.v.w), projected(reusing.params.values.v.w)};
    const Matrix<Scalar> w_o[] = {wide(lower.params.w_o), wide(reusing.params.w_o)};
    const auto head_of = [&](const Matrix<Scalar>& of, Index row, Index count, Index head) {
      reference::Rows<Scalar> to(count, width);
      for (Index i = 0; i < count; ++i)
        for (Index e = 0; e < width; ++e) to(i, e) = of(row + i, head * width + e);
      return to;
    };
    Matrix<Scalar> y_some = Matrix<Scalar>::Zero(static_cast<Index>(some.size()), x.cols());
    for (Index i = 0; i < y_some.rows(); ++i)
      for (int layer = 0; layer < 2; ++layer) {
        const Index row = some[static_cast<std::size_t>(i)];
        Matrix<Scalar> o(1, x.cols());
        for (Index head = 0; head < heads; ++head) {
          const reference::Logits<Scalar> logits{.sees = [](std::ptrdiff_t at, std::ptrdiff_t key) { return key <= at; },
                                                 .offset = row,
                                                 .scale = Scalar(1) / std::sqrt(static_cast<Scalar>(width)),
                                                 .bias = {}};
          const auto of = reference::attention(head_of(q, row, 1, head), head_of(k, 0, rows, head),
                                               head_of(v[layer], 0, rows, head), logits);
          o.middleCols(head * width, width) = matrix_of(of.o);
        }
        y_some.row(i) += (o * w_o[layer]).row(0);
      }
    return y_some;
  }
  std::string check() {
    y.mutable_view().setZero();
    standard_and_reusing();
    const std::vector<Index> some = some_rows(rows);
    Matrix<float> found(static_cast<Index>(some.size()), x.cols());
    for (Index i = 0; i < found.rows(); ++i) found.row(i) = y.view().row(some[static_cast<std::size_t>(i)]);
    return too_far("y", found, reused<float>(some), reused<double>(some), x.cols());
  }
};

/// y += x w
struct Linear {
  HugeMatrix<float> x, w, y;

  Linear(Index T, Index in, Index out) : x(random(T, in, "x")), w(random(in, out, "w")), y(T, out) {}
  double flops() const { return 2.0 * static_cast<double>(x.rows() * w.rows() * w.cols()); }
  void run(heed::Workers& workers) { heed::linear(x.view(), w.view(), y.mutable_view(), workers); }
  std::string check(heed::Workers& workers) {
    y.mutable_view().setZero();
    run(workers);
    for (const Index row : some_rows(x.rows())) {
      const auto multiplied = [&](auto scalar) {
        using Scalar = decltype(scalar);
        return heed::reference::multiply_add<Scalar>(x.view().row(row).cast<Scalar>(), w.view().cast<Scalar>(),
                                                     Matrix<Scalar>::Zero(1, y.cols()));
      };
      if (std::string wrong =
              too_far("row " + std::to_string(row), y.view().row(row), multiplied(float()), multiplied(double()), 2);
          !wrong.empty())
        return wrong;
    }
    return {};
  }
};

Row reuse_row() {
  return {.workload = "score-reusing layer against a standard layer, prefill, 16 heads x 64, S 2048",
          .unit = "x faster",
          .must = 1.4,
          .aim = 1.7,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak",
          .limit_unit = "GFLOP/s",
          .expected_seconds = 20,
          .prepare = [](Scale scale, heed::Pool& pool) {
            auto made = scale == Scale::whole ? std::make_shared<TwoLayers>(2048, 16, 64, pool)
                                              : std::make_shared<TwoLayers>(149, 4, 16, pool);
            return Prepared{.check = [=] { return made->check(); },
                            .runs = {[=] { made->one_standard(); }, [=] { made->two_standard(); },
                                     [=] { made->standard_and_reusing(); }},
                            .figure = [](const std::vector<double>& seconds,
                                         double) { return (seconds[1] - seconds[0]) / (seconds[2] - seconds[0]); }};
          }};
}

Row linear_row() {
  return {.workload = "linear layer f32, T 2048, 1024 -> 1024",
          .unit = "of the FP32 FMA peak",
          .must = 0.60,
          .aim = 0.80,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak",
          .limit_unit = "GFLOP/s",
          .expected_seconds = 3,
          .prepare = [](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            auto made =
                scale == Scale::whole ? std::make_shared<Linear>(2048, 1024, 1024) : std::make_shared<Linear>(67, 149, 83);
            return Prepared{.check = [=] { return made->check(*workers); },
                            .runs = {[=] { made->run(*workers); }},
                            .figure = [=](const std::vector<double>& seconds,
                                          double peak) { return made->flops() / seconds[0] / peak; }};
          }};
}

}  // namespace

std::vector<Row> layer_rows() {
  return {reuse_row(), linear_row()};
}

}  // namespace limits
