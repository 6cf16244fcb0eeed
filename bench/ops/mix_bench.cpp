// v = l_first v_first + l_own v_own and its backward, and o + lambda (v_first - v), beside Eigen's expressions.
#include <checked.hpp>
#include <heed/ops/mix.hpp>
#include <heed/ops/value_difference.hpp>

namespace {

using heed::Matrix;
using heed::bench::random;
using heed::bench::Who;

struct Operands {
  Matrix<float> first, own, d_first, d_own, d_v;
  heed::Sequences rows;
  heed::HeadRows<float> head;  // one kv head as wide as the row
  heed::HeadTable<heed::HeadRows<float>> table{&head, 1, 1};
  Matrix<float> l_first = Matrix<float>::Constant(1, 1, 0.3f), l_own = Matrix<float>::Constant(1, 1, 0.7f);
  Matrix<float> d_l_first = Matrix<float>::Zero(1, 1), d_l_own = Matrix<float>::Zero(1, 1);

  heed::MixInputs<float> inputs() const {
    return {heed::view_of(l_first), table, heed::view_of(l_own), heed::view_of(own)};
  }

  explicit Operands(const benchmark::State& state)
      : first(random(state.range(0), state.range(1), "first")),
        own(random(first.rows(), first.cols(), "own")),
        d_first(Matrix<float>::Zero(first.rows(), first.cols())),
        d_own(d_first),
        d_v(random(first.rows(), first.cols(), "d_v")),
        rows({first.rows()}),
        head{first.data(), d_first.data(), first.rows(), first.cols(), first.cols(), first.cols()} {}
};

void mix(benchmark::State& state, Who who) {
  Operands in(state);
  Matrix<float> v = in.own;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, v, 4, [&] { heed::mix(in.inputs(), in.rows, heed::mutable_view_of(v), workers); },
      [&] { v = 0.3f * in.first + 0.7f * in.own; });
  heed::bench::set_bytes(state, 3 * v.size());
}

void mix_backward(benchmark::State& state, Who who) {
  Operands in(state);
  heed::Workers workers;
  heed::Arena scratch(std::size_t(1) << 16);
  heed::bench::time_checked(
      state, who, {{in.d_own, 4}, {in.d_first, 4}, {in.d_l_first, in.own.size()}, {in.d_l_own, in.own.size()}},
      [&] {
        heed::mix_backward(in.inputs(), in.rows, heed::view_of(in.d_v),
                           heed::MixGradients<float>{heed::mutable_view_of(in.d_l_first), heed::mutable_view_of(in.d_l_own),
                                                     heed::mutable_view_of(in.d_own)},
                           scratch, workers);
      },
      [&] {
        in.d_own += 0.7f * in.d_v;
        in.d_first += 0.3f * in.d_v;
        in.d_l_first(0, 0) += in.d_v.cwiseProduct(in.first).sum();
        in.d_l_own(0, 0) += in.d_v.cwiseProduct(in.own).sum();
      });
  heed::bench::set_bytes(state, 5 * in.own.size());
}

void value_difference(benchmark::State& state, Who who) {
  Operands in(state);
  heed::HeadRows<float> own_head{in.own.data(), nullptr, in.own.rows(), in.own.cols(), in.own.cols(), 0};
  const heed::ValueDifference<float> difference{0.4f, in.table, {&own_head, 1, 1}};
  Matrix<float> out = in.d_v;
  heed::Workers workers;
  heed::bench::time_checked(
      state, who, out, 4,
      [&] { add_value_difference(difference, in.rows, heed::view_of(in.d_v), heed::mutable_view_of(out), workers); },
      [&] { out = in.d_v + 0.4f * (in.first - in.own); });
  heed::bench::set_bytes(state, 4 * out.size());
}

HEED_BENCHMARK_BOTH(value_difference, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(mix, heed::bench::row_sizes);
HEED_BENCHMARK_BOTH(mix_backward, heed::bench::row_sizes);

}  // namespace
