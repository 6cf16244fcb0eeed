// A layer whose published signals are its parameters: checking its gradients checks those of every consumed signal.
//
//   publishes values and scores, adds nothing to y
#pragma once

#include "../mixers/mixer.hpp"

namespace heed::inline HEED_ABI::testing {

struct SignalSource {
  static constexpr std::string_view name = "signal source";
  using consumes = signals<>;
  using publishes = signals<values, scores>;

  struct Config {
    std::vector<Index> lengths;  // of the sequences, which come whole
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> values;  // [T x G E_v]
    Matrix<Scalar> scores;  // [H x sum of T_b T_b], row after row of A

    Params() = default;
    Params(const Shape& shape, const Config& config) {
      Index rows = 0;
      Index pairs = 0;
      for (const Index length : config.lengths) {
        rows += length;
        pairs += length * length;
      }
      values.resize(rows, shape.v_width());
      scores.resize(shape.heads.count, pairs);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("values", Role::matrix, p.values...);
      f("scores", Role::matrix, p.scores...);
    }
  };

  template <class Scalar>
  using Cache = NoCache;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  template <class Scalar>
  struct Record {
    Scalar* d_values = nullptr;  // [T x G E_v]
  };

  template <class Scalar>
  static void apply(const Call<SignalSource, Scalar>& call, const View<Scalar>& x, MutableView<Scalar>) {
    const Pass& pass = call.pass;
    const auto v = call.outputs.template get<heed::values>().table;
    const Matrix<Scalar>& values = call.params.values;
    for (Index b = 0; b < v.sequences; ++b)
      for (Index g = 0; g < v.heads; ++g) {
        const Index width = call.shape.value_width;
        v.at(b, g) = {values.data() + pass.rows.begin(b) * values.cols() + g * width,
                      nullptr,
                      pass.rows.rows(b),
                      width,
                      values.cols(),
                      0};
      }
    MutableView<Scalar> d_values = pass.kept.template zeros<Scalar>(x.rows(), values.cols());
    set_gradients(v, pass, d_values);
    call.record.d_values = d_values.data();

    const auto a = call.outputs.template get<heed::scores>().table;
    for_each_row(call, [&](Index b, Index h, Index row, Index at) {
      if (row == 0)
        a.at(b, h) = Probabilities<Scalar>::make(
            pass.kept, {.rows = pass.rows.rows(b), .keys = pass.rows.rows(b), .gradient = pass.training()});
      a.at(b, h).write_row(row, call.params.scores.row(h).data() + at);
    });
  }

  template <class Scalar>
  static void backward(const Call<SignalSource, Scalar>& call, const View<Scalar>& x, const View<Scalar>&,
                       MutableView<Scalar>, Params<Scalar>& gradients) {
    const auto a = call.outputs.template get<heed::scores>().table;
    for_each_row(call, [&](Index b, Index h, Index row, Index at) {
      for (Index key = 0; key < a.at(b, h).keys(); ++key) gradients.scores(h, at + key) += a.at(b, h).gradient(row, key);
    });
    const Index width = call.params.values.cols();
    gradients.values += view_of(static_cast<const Scalar*>(call.record.d_values), x.rows(), width, width);
  }

 private:
  // f(sequence, head, row of A, where that row begins in a row of params.scores)
  template <class Scalar, class F>
  static void for_each_row(const Call<SignalSource, Scalar>& call, F&& f) {
    Index at = 0;
    for (Index b = 0; b < call.pass.sequences(); ++b)
      for (Index row = 0; row < call.pass.rows.rows(b); ++row) {
        for (Index h = 0; h < call.shape.heads.count; ++h) f(b, h, row, at);
        at += call.pass.rows.rows(b);
      }
  }
};

}  // namespace heed::inline HEED_ABI::testing
