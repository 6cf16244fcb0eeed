// y += out(A V) W_o + b_o,   A from Scores, V from Values, out from Output
//
//   x [T x D]   A [T x S] per query head   V [S x E_v] per kv head   A V [T x H E_v]   W_o [H E_v x D]   b_o [1 x D]
// Where the probabilities come from, where the value rows come from and what becomes of their product are three choices;
// the menu is their product.
// Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.2.
#pragma once

#include "../ops/attend_scratch.hpp"
#include "computed_scores.hpp"
#include "plain_output.hpp"
#include "projected_values.hpp"
#include "reach.hpp"

namespace heed::inline HEED_ABI {

template <class Scores = ComputedScores, class Values = ProjectedValues, class Output = PlainOutput>
struct Attention {
  using consumes = join<join<typename Scores::consumes, typename Values::consumes>, typename Output::consumes>;
  using publishes = join<typename Values::publishes, typename Scores::publishes>;

  struct Config {
    typename Scores::Config scores = {};
    typename Values::Config values = {};
    typename Output::Config output = {};
    bool output_bias = false;  // b_o

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("scores", config.scores);
      f("values", config.values);
      f("output", config.output);
      f("output_bias", config.output_bias);
    }
  };

  template <class Scalar>
  struct Params {
    typename Scores::template Params<Scalar> scores;
    typename Values::template Params<Scalar> values;
    typename Output::template Params<Scalar> output;
    Weight<Scalar> w_o;  // [H E_v x D]
    Matrix<Scalar> b_o;  // [1 x D], or absent

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : scores(shape, config.scores),
          values(shape, config.values),
          output(shape, config.output),
          w_o(shape.o_width(), shape.width) {
      if (config.output_bias) b_o.setZero(1, shape.width);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      heed::visit(f, p.scores...);
      heed::visit(f, p.values...);
      heed::visit(f, p.output...);
      f("w_o", Role::output, p.w_o...);
      visit_if_present(f, "b_o", Role::bias, p.b_o...);
    }
  };

  template <class Scalar>
  struct Cache {
    typename Scores::template Cache<Scalar> scores;
    typename Values::template Cache<Scalar> values;
    typename Output::template Cache<Scalar> output;

    Cache(const Shape& shape, const Config& config, const CacheSize& size)
        : scores(shape, config.scores, size), values(shape, config.values, size), output(shape, config.output, size) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      heed::visit(f, c.scores...);
      heed::visit(f, c.values...);
      heed::visit(f, c.output...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) {
    return Scores::plan(shape, config.scores) + Values::plan(shape, config.values) + Output::plan(shape, config.output);
  }

  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    check_config<Scores>(shape, config.scores, layer);
    check_config<Values>(shape, config.values, layer);
    check_config<Output>(shape, config.output, layer);
  }
  static void count_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                              std::span<Index> counts) {
    heed::count_published<Values>(signal, alignment, shape, config.values, counts);
    heed::count_published<Scores>(signal, alignment, shape, config.scores, counts);
  }
  static void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                         std::span<const Index> counts, std::string_view layer) {
    heed::check_read<Scores>(tap, alignment, shape, config.scores, counts, layer);
    heed::check_read<Values>(tap, alignment, shape, config.values, counts, layer);
    heed::check_read<Output>(tap, alignment, shape, config.output, counts, layer);
  }
  static std::string describe(const Config&) {
    const std::string output = std::same_as<Output, PlainOutput> ? "" : ", " + std::string(Output::name);
    return "attention(" + std::string(Scores::name) + ", " + std::string(Values::name) + output + ")";
  }
  static Index scratch_per_row(const Shape& shape, const Config& config) {
    return heed::scratch_per_row<Scores>(shape, config.scores) + heed::scratch_per_row<Values>(shape, config.values) +
           heed::scratch_per_row<Output>(shape, config.output);
  }
  static Index kept_per_row(const Shape& shape, const Config& config) {
    return heed::kept_per_row<Values>(shape, config.values);
  }
  static Index whole_rows(const Config& config) { return heed::whole_rows<Scores>(config.scores); }
  /// A V, over the keys that the mask lets through; scores that were given count with all keys
  static Index flops(const Shape& shape, const Config& config, Index keys) {
    Index seen = keys;
    if constexpr (requires { config.scores.seen(keys); }) seen = config.scores.seen(keys);
    return heed::flops<Scores>(shape, config.scores, keys) + heed::flops<Values>(shape, config.values, keys) +
           2 * shape.o_width() * seen;
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, [[maybe_unused]] const Config& config, const CallSize& size) {
    Precision precision = Precision::full;
    if constexpr (requires { config.scores.precision; }) precision = config.scores.precision;
    return attend_scratch_bytes<Scalar>(size.sequences, size.rows, size.keys, shape.heads.count, shape.kv_heads.count,
                                        shape.head_width, shape.value_width, precision);
  }

  template <class Scalar>
  struct Record {
    typename Scores::template Record<Scalar> scores;
    typename Values::template Record<Scalar> values;
    typename Output::template Record<Scalar> output;
    HeadTable<HeadRows<Scalar>> v;  // per (sequence, kv head) [S x E_v]
    const Scalar* o = nullptr;      // [T x H E_v] a v
    const Scalar* out = nullptr;    // [T x H E_v] what Output made of it
  };

  template <class Scalar>
  static void apply(const Call<Attention, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const Pass& pass = call.pass;
    const auto a = Scores::template apply<Scalar>(scores_of(call), x);                    // per query head [T x S]
    const auto v = Values::template apply<Scalar>(values_of(call), x);                    // per kv head [S x E_v]
    MutableView<Scalar> o = pass.record().zeros<Scalar>(x.rows(), call.shape.o_width());  // [T x H E_v]
    attend(a, v, pass.rows, o, pass.workers);
    const View<Scalar> out = Output::template apply<Scalar>(output_of(call), v, view_of(o));  // [T x H E_v]
    linear(out, call.params.w_o, y, pass.workers);
    if (call.config.output_bias) add_bias(call.params.b_o, y, pass.workers);
    call.record.v = v;
    call.record.o = o.data();
    call.record.out = out.data();
  }

  template <class Scalar>
  static void backward(const Call<Attention, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const Pass& pass = call.pass;
    const Index width = call.shape.o_width();
    const Arena::Scope scope(pass.scratch);
    const View<Scalar> o = view_of(call.record.o, x.rows(), width, width);      // [T x H E_v]
    const View<Scalar> out = view_of(call.record.out, x.rows(), width, width);  // [T x H E_v]
    // y += out w_o + b_o   =>   d_b_o += sum_t d_y,  d_out += d_y w_o^T,  d_w_o += out^T d_y
    if (call.config.output_bias) add_bias_backward(d_y, gradients.b_o, pass.scratch, pass.workers);
    MutableView<Scalar> d_out = pass.scratch.zeros<Scalar>(x.rows(), width);  // [T x H E_v]
    linear_backward(out, call.params.w_o, d_y, d_out, gradients.w_o, pass.workers);
    // out = output(o)   =>   d_o
    const View<Scalar> d_o =
        Output::template backward<Scalar>(output_of(call), call.record.v, o, view_of(d_out), gradients.output);
    // o = a v   =>   d_a, d_v; then back through where a and v came from
    Scores::template backward<Scalar>(scores_of(call), x, call.record.v, o, d_o, d_x, gradients.scores);
    Values::template backward<Scalar>(values_of(call), x, d_x, gradients.values);
  }

 private:
  template <class Scalar>
  static Call<Scores, Scalar> scores_of(const Call<Attention, Scalar>& call) {
    return part_of<Scores>(call, call.config.scores, call.params.scores, call.cache.scores, call.record.scores);
  }
  template <class Scalar>
  static Call<Values, Scalar> values_of(const Call<Attention, Scalar>& call) {
    return part_of<Values>(call, call.config.values, call.params.values, call.cache.values, call.record.values);
  }
  template <class Scalar>
  static Call<Output, Scalar> output_of(const Call<Attention, Scalar>& call) {
    return part_of<Output>(call, call.config.output, call.params.output, call.cache.output, call.record.output);
  }
};

}  // namespace heed::inline HEED_ABI
