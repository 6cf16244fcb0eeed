// Mamba: the scan with its softplus, forward and backward, the chunked form of Mamba-2, and the convolution before them.
#include <heed/ops/selective_scan.hpp>
#include <heed/ops/short_conv.hpp>
#include <heed/ops/ssd.hpp>
#include <heed/ops/time_step.hpp>
#include <memory>
#include <reference/activation.hpp>
#include <reference/selective_scan.hpp>
#include <reference/short_conv.hpp>
#include <reference/ssd.hpp>

#include "attend_sizes.hpp"
#include "oracle.hpp"
#include "row.hpp"

namespace limits {
namespace {

using bench::HugeMatrix;
using heed::reference::SelectiveScan;

HugeMatrix<float> uniform(Index rows, Index cols, double low, double high, std::string_view name) {
  HugeMatrix<float> made(rows, cols);
  heed::Random(1, name).uniform(made.mutable_view(), low, high);
  return made;
}

/// dt = softplus(raw + bias), y = scan(x, dt).
struct Mamba1 {
  Index rows, channels, states;
  HugeMatrix<float> x, raw, bias, dt, a, b, c, d, y, d_y;
  HugeMatrix<float> d_x, d_raw, d_bias, d_dt, d_a, d_b, d_c, d_d, kept;
  heed::Sequences sequences;
  heed::Arena scratch;
  float* kept_states = nullptr;

  static constexpr Index chunk = 32;

  Mamba1(Index T, Index C, Index N)
      : rows(T),
        channels(C),
        states(N),
        x(uniform(T, C, -1, 1, "x")),
        raw(uniform(T, C, -1, 1, "raw")),
        bias(uniform(1, C, -5, -3, "bias")),
        dt(T, C),
        a(uniform(N, C, -16, -1, "a")),
        b(uniform(T, N, -1, 1, "b")),
        c(uniform(T, N, -1, 1, "c")),
        d(uniform(1, C, 1, 1, "d")),
        y(T, C),
        d_y(uniform(T, C, -1, 1, "d_y")),
        d_x(T, C),
        d_raw(T, C),
        d_bias(1, C),
        d_dt(T, C),
        d_a(N, C),
        d_b(T, N),
        d_c(T, N),
        d_d(1, C),
        kept(heed::selective_scan_kept_states(T, chunk) * N, C),
        sequences({T}) {
    kept_states = kept.mutable_view().data();
  }
  double updates() const { return static_cast<double>(rows * channels * states); }
  heed::SelectiveScanInputs<float> inputs() const {
    return {x.view(), dt.view(), a.view(), b.view(), c.view(), d.view(), 1, chunk};
  }
  heed::HeadTable<float*> kept_table() { return {&kept_states, 1, 1}; }

  enum class Purpose { inference, training };
  void forward(Purpose purpose, heed::Workers& workers) {
    heed::time_step(raw.view(), bias.view(), dt.mutable_view(), workers);
    heed::SelectiveScanStates<float> tables;
    if (purpose == Purpose::training) tables.kept = kept_table();
    heed::selective_scan(inputs(), sequences, tables, y.mutable_view(), workers);
  }
  void backward(heed::Workers& workers) {
    d_dt.mutable_view().setZero();
    heed::selective_scan_backward(inputs(), sequences, kept_table(), d_y.view(),
                                  {d_x.mutable_view(), d_dt.mutable_view(), d_a.mutable_view(), d_b.mutable_view(),
                                   d_c.mutable_view(), d_d.mutable_view()},
                                  scratch, workers);
    heed::time_step_backward(raw.view(), bias.view(), d_dt.view(), d_raw.mutable_view(), d_bias.mutable_view(), scratch,
                             workers);
  }

  /// The last channels by themselves: no channel reads another.
  template <class Scalar>
  SelectiveScan<Scalar> some_channels(Index count) const {
    const auto last = [&](const HugeMatrix<float>& of) -> Matrix<Scalar> {
      return of.view().rightCols(count).template cast<Scalar>();
    };
    Matrix<Scalar> steps = last(raw).rowwise() + last(bias).row(0);
    for (Index i = 0; i < steps.size(); ++i) steps.data()[i] = heed::reference::softplus(steps.data()[i]);
    return {last(x), steps, last(a), b.view().template cast<Scalar>(), c.view().template cast<Scalar>(), last(d)};
  }
  Index operations() const { return 2 * states + 16; }
  std::string check_forward(heed::Workers& workers) {
    forward(Purpose::inference, workers);
    const Index count = (std::min)(channels, Index(24));
    const auto scanned = [&](auto scalar) {
      using Scalar = decltype(scalar);
      return heed::reference::selective_scan<Scalar>(some_channels<Scalar>(count), Matrix<Scalar>::Zero(states, count)).y;
    };
    return too_far("y", y.view().rightCols(count), scanned(float()), scanned(double()), operations());
  }
  std::string check_backward(heed::Workers& workers) {
    forward(Purpose::training, workers);
    for (const auto* added_to : {&d_x, &d_raw, &d_a}) added_to->mutable_view().setZero();
    backward(workers);
    const Index count = (std::min)(channels, Index(8));
    const auto gradients = [&](auto scalar) {
      using Scalar = decltype(scalar);
      auto of = some_channels<Scalar>(count);
      auto gradient =
          heed::reference::selective_scan_backward<Scalar>(of, d_y.view().rightCols(count).template cast<Scalar>());
      // dt = softplus(r)   =>   d_r = d_dt sigmoid(r), and sigmoid(r) = 1 - e^-dt
      gradient.dt.array() *= 1 - (-of.dt.array()).exp();
      return gradient;
    };
    const auto naive = gradients(float());
    const auto exact = gradients(double());
    const auto last = [&](const HugeMatrix<float>& of) { return of.view().rightCols(count); };
    for (const std::string& wrong : {too_far("d_x", last(d_x), naive.x, exact.x, operations()),
                                     too_far("d_raw", last(d_raw), naive.dt, exact.dt, operations()),
                                     too_far("d_a", last(d_a), naive.a, exact.a, operations())})
      if (!wrong.empty()) return wrong;
    return {};
  }
};

struct Mamba2 {
  Index rows, heads, head_width, states;
  HugeMatrix<float> x, dt, a, b, c, d, y;
  heed::Sequences sequences;

  Mamba2(Index T, Index H, Index P, Index N)
      : rows(T),
        heads(H),
        head_width(P),
        states(N),
        x(uniform(T, H * P, -1, 1, "x")),
        dt(uniform(T, H, 0.001, 0.1, "dt")),
        a(uniform(1, H, -16, -1, "a")),
        b(uniform(T, N, -1, 1, "b")),
        c(uniform(T, N, -1, 1, "c")),
        d(uniform(1, H, 1, 1, "d")),
        y(T, H * P),
        sequences({T}) {}
  double updates() const { return static_cast<double>(rows * heads * head_width * states); }
  void run(heed::Workers& workers) {
    const heed::SsdInputs<float> inputs{x.view(), dt.view(), a.view(), b.view(), c.view(), d.view()};
    heed::ssd(inputs, sequences, {}, y.mutable_view(), workers);
  }
  template <class Scalar>
  Matrix<Scalar> recurred(Index head) const {
    const auto all = [](const auto& of) -> Matrix<Scalar> { return of.template cast<Scalar>(); };
    return heed::reference::ssd_recurrent<Scalar>(
               {all(x.view().middleCols(head * head_width, head_width)), all(dt.view().col(head)), all(b.view()),
                all(c.view()), Scalar(a.view()(0, head)), Scalar(d.view()(0, head))},
               Matrix<Scalar>::Zero(states, head_width))
        .y;
  }
  std::string check(heed::Workers& workers) {
    run(workers);
    for (const Index head : {Index(0), heads - 1})
      if (std::string wrong = too_far("head " + std::to_string(head), y.view().middleCols(head * head_width, head_width),
                                      recurred<float>(head), recurred<double>(head), 2 * states);
          !wrong.empty())
        return wrong;
    return {};
  }
};

struct Convolution {
  HugeMatrix<float> x, weight, bias, y;
  heed::Sequences sequences;

  Convolution(Index T, Index C)
      : x(uniform(T, C, -1, 1, "x")),
        weight(uniform(4, C, -1, 1, "weight")),
        bias(uniform(1, C, -1, 1, "bias")),
        y(T, C),
        sequences({T}) {}
  double bytes() const { return static_cast<double>(2 * x.rows() * x.cols() * Index(sizeof(float))); }
  void run(heed::Workers& workers) {
    heed::short_conv<heed::Silu>({x.view(), weight.view(), bias.view()}, sequences, {}, y.mutable_view(), workers);
  }
  template <class Scalar>
  Matrix<Scalar> convolved() const {
    const auto all = [](const auto& of) -> Matrix<Scalar> { return of.view().template cast<Scalar>(); };
    return heed::reference::short_conv<Scalar>(all(x), all(weight), all(bias), Matrix<Scalar>::Zero(3, x.cols()));
  }
  std::string check(heed::Workers& workers) {
    run(workers);
    return too_far("y", y.view(), convolved<float>(), convolved<double>(), 12);
  }
};

std::shared_ptr<Mamba1> mamba1(Scale scale) {
  return scale == Scale::whole ? std::make_shared<Mamba1>(2048, 1536, 16) : std::make_shared<Mamba1>(71, 149, 16);
}

Row scan_row() {
  return {.workload = "Mamba-1 scan with softplus, 1536 channels x 16 states, T 2048",
          .unit = "state updates/s over the exponential rate",
          .must = 0.35,
          .aim = 0.6,
          .rate = Rate::exponential,
          .limit_of = "exponentials of any argument",
          .limit_unit = "Gexp/s",
          .expected_seconds = 4,
          .prepare = [](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            auto made = mamba1(scale);
            return Prepared{.check = [=] { return made->check_forward(*workers); },
                            .runs = {[=] { made->forward(Mamba1::Purpose::inference, *workers); }},
                            .figure = [=](const std::vector<double>& seconds,
                                          double rate) { return made->updates() / seconds[0] / rate; }};
          }};
}

Row scan_backward_row() {
  return {
      .workload = "Mamba-1 backward, the same sizes",
      .unit = "x the time of forward",
      .must = 3,
      .aim = 2.5,
      .rate = {},
      .limit_of = "a forward pass, recomputed",
      .limit_unit = "x the time of forward",
      .expected_seconds = 8,
      .prepare =
          [](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            auto made = mamba1(scale);
            return Prepared{
                .check = [=] { return made->check_backward(*workers); },
                .runs = {[=] { made->forward(Mamba1::Purpose::training, *workers); }, [=] { made->backward(*workers); }},
                .figure = [](const std::vector<double>& seconds, double) { return seconds[1] / seconds[0]; }};
          },
      .fixed_limit = 1};
}

Row ssd_row() {
  return {.workload = "Mamba-2 prefill, 24 heads x 64, state 128, T 2048",
          .unit = "G state updates/s",
          .must = 16,
          .aim = 30,
          .rate = Rate::fma,
          .limit_of = "FP32 FMA peak",
          .limit_unit = "GFLOP/s",
          .expected_seconds = 4,
          .prepare = [](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            auto made = scale == Scale::whole ? std::make_shared<Mamba2>(2048, 24, 64, 128)
                                              : std::make_shared<Mamba2>(131, 2, 64, 128);
            return Prepared{
                .check = [=] { return made->check(*workers); },
                .runs = {[=] { made->run(*workers); }},
                .figure = [=](const std::vector<double>& seconds, double) { return made->updates() / seconds[0] / 1e9; }};
          }};
}

Row conv_row() {
  return {.workload = "causal conv with SiLU, 1536 channels, 4 taps, T 2048",
          .unit = "bytes in + out, of the L3 read rate",
          .must = 0.5,
          .aim = 0.8,
          .rate = Rate::l3,
          .limit_of = "L3 read rate",
          .limit_unit = "GB/s",
          .expected_seconds = 3,
          .prepare = [](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            auto made =
                scale == Scale::whole ? std::make_shared<Convolution>(2048, 1536) : std::make_shared<Convolution>(67, 149);
            return Prepared{.check = [=] { return made->check(*workers); },
                            .runs = {[=] { made->run(*workers); }},
                            .figure = [=](const std::vector<double>& seconds,
                                          double per_second) { return made->bytes() / seconds[0] / per_second; }};
          }};
}

}  // namespace

std::vector<Row> recurrence_rows() {
  return {scan_row(), scan_backward_row(), ssd_row(), conv_row()};
}

}  // namespace limits
