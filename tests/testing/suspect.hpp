// A small mixer with every feature a law is about, and a fault to choose: what the contract must find.
//
//   s_t = s_{t-1} / 2 + x_t,   s_{-1} = 0        y_t += s_t W + n_t U        publishes the rows of s as `notes`
//
//   x, y, s [T x D]   n [T x D] the notes of the first layer   W, U [D x D]
//
// NoteSource stands below and publishes notes r * x_t; NoteReader stands above and reads: y_t += r * s_t. r [1 x D].
#pragma once

#include <heed/core/pieces.hpp>
#include <heed/mixers/mixer.hpp>
#include <heed/ops/linear.hpp>
#include <memory>

namespace suspect {

using heed::Index;
using heed::Matrix;
using heed::MutableView;
using heed::View;

enum class Fault {
  none,
  two_tensors_of_one_name,
  forgets_its_state,        // every call begins anew
  one_state_for_all_slots,  // a rollback does not bring the old one back
  one_state_for_all_forks,  // a copied cache shares its memory
  state_that_visit_does_not_list,
  one_state_for_all_rows,    // a call keeps its last state only, whatever is asked for
  state_outlives_a_restart,  // the state of a sequence cut to nothing is read
  state_of_the_sequence_before,
  differs_in_training,
  config_lost_when_moved,
  reads_the_next_row,
  not_finite_for_zero_rows,
  gradient_not_finite_for_zero_rows,
  wrong_gradient_of_one_parameter,
  forgets_d_x,
  forgets_the_gradient_of_what_it_consumes,
  forgets_the_echo_of_what_it_publishes,
  assigns_the_gradient_of_a_parameter,
  assigns_d_x,
  plans_less_than_it_keeps,
  takes_more_scratch_than_it_says,
  depends_on_the_order_of_jobs,
};

struct notes {
  static constexpr std::string_view name = "notes";
  static constexpr heed::Alignment alignment = heed::Alignment::layer;
};

// Becomes 1 when it is moved from, if it has that fault.
struct Factor {
  double value = 1;
  bool lost_when_moved = false;

  Factor() = default;
  Factor(const Factor&) = default;
  Factor(Factor&& other) noexcept : Factor(other) { forget(); }
  Factor& operator=(const Factor&) = default;
  Factor& operator=(Factor&& other) noexcept {
    *this = other;
    forget();
    return *this;
  }
  ~Factor() = default;

 private:
  void forget() { value = lost_when_moved ? 1 : value; }
};

/// The rows of one sequence as the entry of a table.
template <class Scalar>
heed::HeadRows<Scalar> note_of(const MutableView<Scalar>& rows, const MutableView<Scalar>& gradients, Index begin,
                               Index count) {
  const Index D = rows.cols();
  return {rows.data() + begin * D, const_cast<Scalar*>(gradients.data()) + begin * D, count, D, D, D};
}

struct Mixer {
  static constexpr std::string_view name = "suspect";
  using consumes = heed::signals<heed::first<notes>>;
  using publishes = heed::signals<notes>;

  struct Config {
    Fault fault = Fault::none;
    Factor factor = {};  // of y
  };
  static Config with(Fault fault) {
    Config config;
    config.fault = fault;
    config.factor.value = 0.75;
    config.factor.lost_when_moved = fault == Fault::config_lost_when_moved;
    return config;
  }

  template <class Scalar>
  struct Params {
    Matrix<Scalar> w;  // [D x D]
    Matrix<Scalar> u;  // [D x D]
    bool same_names = false;

    Params() = default;
    Params(const heed::Shape& shape, const Config& config)
        : w(shape.width, shape.width),
          u(shape.width, shape.width),
          same_names(config.fault == Fault::two_tensors_of_one_name) {}
    template <class F, class P, class... Others>
    static void visit(F&& f, P&& p, Others&&... others) {
      f("w", heed::Role::output, p.w, others.w...);
      f(p.same_names ? "w" : "u", heed::Role::output, p.u, others.u...);
    }
  };

  template <class Scalar>
  struct Cache {
    heed::CachedStates<Scalar> states;
    std::vector<Scalar> unlisted;
    std::shared_ptr<std::vector<Scalar>> shared;

    Cache(const heed::Shape& shape, const Config&, const heed::CacheSize& size)
        : states(size, shape.width),
          unlisted(static_cast<std::size_t>(shape.width * size.sequences() * size.slots)),
          shared(std::make_shared<std::vector<Scalar>>(static_cast<std::size_t>(shape.width * size.sequences()))) {
      for (Index b = 0; b < size.sequences(); ++b)
        for (Index slot = 0; slot < size.slots; ++slot) std::fill_n(states.at(b, slot), shape.width, Scalar(0));
    }
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("states", c.states...);
    }
  };
  static heed::CachePlan plan(const heed::Shape& shape, const Config& config) {
    return {.per_state = config.fault == Fault::plans_less_than_it_keeps ? 1 : shape.width};
  }

  template <class Scalar>
  struct Record {
    Scalar* s = nullptr;    // [T x D]
    Scalar* d_s = nullptr;  // [T x D] where the reader adds
  };

  template <class Scalar>
  static void apply(const heed::Call<Mixer, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const heed::Pass& pass = call.pass;
    const Fault fault = call.config.fault;
    const Index D = x.cols();
    MutableView<Scalar> s = pass.kept.zeros<Scalar>(x.rows(), D);
    MutableView<Scalar> d_s = pass.kept.zeros<Scalar>(x.rows(), D);
    MutableView<Scalar> sum = pass.scratch.zeros<Scalar>(x.rows(), D);
    const auto below = call.inputs.template get<heed::first<notes>>();
    const auto table = call.outputs.template get<notes>().table;
    Matrix<Scalar> state = Matrix<Scalar>::Zero(1, D);
    const auto run = [&](const heed::Piece& piece) {
      for (Index b = 0; b < piece.sequences(); ++b) {
        const heed::StateSlots slots = piece.slots[static_cast<std::size_t>(b)];
        const Index rows = piece.rows.rows(b);
        const bool past = piece.past[static_cast<std::size_t>(b)] > 0;
        if (fault != Fault::state_of_the_sequence_before || past) state.setZero();
        if ((past && fault != Fault::forgets_its_state) || fault == Fault::state_outlives_a_restart)
          state = heed::view_of<Scalar>(at(call, b, slots.read), 1, D, D);
        for (Index t = 0; t < rows; ++t) {
          const Index row = piece.rows.begin(b) + t;
          const Index seen = fault == Fault::reads_the_next_row && t + 1 < rows ? row + 1 : row;
          state = Scalar(0.5) * state + x.row(seen);
          s.row(row) = state;
        }
        heed::mutable_view_of(at(call, b, slots.write), 1, D, D) = state;
      }
    };
    if (fault == Fault::one_state_for_all_rows)
      run({pass.rows, pass.past, pass.states.whole});
    else
      heed::for_each_piece(pass, run);
    for (Index b = 0; b < pass.sequences(); ++b) {
      const Index rows = pass.rows.rows(b);
      table.at(b, 0) = note_of(s, d_s, pass.rows.begin(b), rows);
      heed::linear(below.at(b, 0).view(), call.params.u, heed::rows_of(sum, pass.rows.begin(b), rows), pass.workers);
    }
    call.record.s = s.data();
    call.record.d_s = d_s.data();
    heed::linear(s, call.params.w, sum, pass.workers);
    y += factor<Scalar>(call.config) * (fault == Fault::differs_in_training && pass.training() ? 2 : 1) * sum;
    if (fault == Fault::depends_on_the_order_of_jobs) {
      Index last = 0;
      pass.workers.run(2, [&](Index job, heed::Arena&) { last = job; });
      y.array() += static_cast<Scalar>(last);
    }
    if (fault == Fault::takes_more_scratch_than_it_says) pass.scratch.take<Scalar>(Index(1) << 20);
    if (fault == Fault::not_finite_for_zero_rows) y.array().colwise() *= x.col(0).array() / x.col(0).array();
  }

  template <class Scalar>
  static void backward(const heed::Call<Mixer, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const heed::Pass& pass = call.pass;
    const Fault fault = call.config.fault;
    const Index D = x.cols();
    MutableView<Scalar> d_sum = pass.scratch.zeros<Scalar>(x.rows(), D);
    MutableView<Scalar> d_s = heed::mutable_view_of(call.record.d_s, x.rows(), D, D);
    if (fault == Fault::forgets_the_echo_of_what_it_publishes) d_s.setZero();
    if (fault == Fault::assigns_the_gradient_of_a_parameter) gradients.w.setZero();
    if (fault == Fault::assigns_d_x) d_x.setZero();
    // y += factor sum
    d_sum = factor<Scalar>(call.config) * d_y;
    // sum += s w
    heed::linear_backward(heed::view_of<Scalar>(call.record.s, x.rows(), D, D), call.params.w, d_sum, d_s, gradients.w,
                          pass.workers);
    if (fault == Fault::wrong_gradient_of_one_parameter) d_sum *= Scalar(1.001);
    const auto below = call.inputs.template get<heed::first<notes>>();
    for (Index b = 0; b < pass.sequences(); ++b) {
      const Index begin = pass.rows.begin(b);
      const Index rows = pass.rows.rows(b);
      MutableView<Scalar> d_n = pass.scratch.zeros<Scalar>(rows, D);
      // sum += n u
      heed::linear_backward(below.at(b, 0).view(), call.params.u, heed::rows_of(d_sum, begin, rows), d_n, gradients.u,
                            pass.workers);
      if (fault != Fault::forgets_the_gradient_of_what_it_consumes) below.at(b, 0).gradient_view() += d_n;
      for (Index row = begin + rows - 1; row >= begin; --row) {
        // s_t = s_{t-1} / 2 + x_t
        if (row > begin) d_s.row(row - 1) += Scalar(0.5) * d_s.row(row);
        if (fault != Fault::forgets_d_x) d_x.row(row) += d_s.row(row);
      }
    }
    if (fault == Fault::gradient_not_finite_for_zero_rows && (x.array() == 0).all()) gradients.w(0, 0) /= x(0, 0);
  }

 private:
  template <class Scalar>
  static Scalar factor(const Config& config) {
    return static_cast<Scalar>(config.factor.value);
  }
  // Where the state of a sequence is kept.
  template <class Scalar>
  static Scalar* at(const heed::Call<Mixer, Scalar>& call, Index sequence, Index slot) {
    if (call.config.fault == Fault::one_state_for_all_forks) return call.cache.shared->data() + sequence * call.shape.width;
    if (call.config.fault == Fault::state_that_visit_does_not_list) {
      const auto slots = static_cast<Index>(call.cache.unlisted.size()) / (call.shape.width * call.pass.sequences());
      return call.cache.unlisted.data() + (sequence * slots + slot) * call.shape.width;
    }
    return call.cache.states.at(sequence, call.config.fault == Fault::one_state_for_all_slots ? 0 : slot);
  }
};

template <class Scalar>
struct NoteParams {
  Matrix<Scalar> r;  // [1 x D]

  NoteParams() = default;
  template <class Config>
  NoteParams(const heed::Shape& shape, const Config&) : r(1, shape.width) {}
  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    f("r", heed::Role::matrix, p.r...);
  }
};

struct NoteSource {
  using consumes = heed::signals<>;
  using publishes = heed::signals<notes>;
  struct Config {};
  template <class Scalar>
  using Params = NoteParams<Scalar>;
  template <class Scalar>
  using Cache = heed::NoCache;
  template <class Scalar>
  struct Record {
    const Scalar* d_n = nullptr;  // [T x D] where the reader adds
  };
  static heed::CachePlan plan(const heed::Shape&, const Config&) { return {}; }

  template <class Scalar>
  static void apply(const heed::Call<NoteSource, Scalar>& call, const View<Scalar>& x, MutableView<Scalar>) {
    const heed::Pass& pass = call.pass;
    MutableView<Scalar> n = pass.kept.zeros<Scalar>(x.rows(), x.cols());
    MutableView<Scalar> d_n = pass.kept.zeros<Scalar>(x.rows(), x.cols());
    for (Index t = 0; t < x.rows(); ++t) n.row(t).array() = call.params.r.row(0).array() * x.row(t).array();
    for (Index b = 0; b < pass.sequences(); ++b)
      call.outputs.template get<notes>().table.at(b, 0) = note_of(n, d_n, pass.rows.begin(b), pass.rows.rows(b));
    call.record.d_n = d_n.data();
  }
  template <class Scalar>
  static void backward(const heed::Call<NoteSource, Scalar>& call, const View<Scalar>& x, const View<Scalar>&,
                       MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    const View<Scalar> d_n = heed::view_of(call.record.d_n, x.rows(), x.cols(), x.cols());
    for (Index t = 0; t < x.rows(); ++t) {
      // n_t = r x_t
      d_x.row(t).array() += d_n.row(t).array() * call.params.r.row(0).array();
      gradients.r.row(0).array() += d_n.row(t).array() * x.row(t).array();
    }
  }
};

struct NoteReader {
  using consumes = heed::signals<heed::nearest<notes>>;
  using publishes = heed::signals<>;
  struct Config {};
  template <class Scalar>
  using Params = NoteParams<Scalar>;
  template <class Scalar>
  using Cache = heed::NoCache;
  template <class Scalar>
  using Record = heed::NoRecord;
  static heed::CachePlan plan(const heed::Shape&, const Config&) { return {}; }

  template <class Scalar>
  static void apply(const heed::Call<NoteReader, Scalar>& call, const View<Scalar>&, MutableView<Scalar> y) {
    const auto s = call.inputs.template get<heed::nearest<notes>>();
    for (Index b = 0; b < s.sequences; ++b)
      for (Index t = 0; t < s.at(b, 0).rows; ++t)
        y.row(call.pass.rows.begin(b) + t).array() += call.params.r.row(0).array() * s.at(b, 0).view().row(t).array();
  }
  template <class Scalar>
  static void backward(const heed::Call<NoteReader, Scalar>& call, const View<Scalar>&, const View<Scalar>& d_y,
                       MutableView<Scalar>, Params<Scalar>& gradients) {
    const auto s = call.inputs.template get<heed::nearest<notes>>();
    for (Index b = 0; b < s.sequences; ++b)
      for (Index t = 0; t < s.at(b, 0).rows; ++t) {
        const auto d = d_y.row(call.pass.rows.begin(b) + t).array();
        // y_t += r s_t
        gradients.r.row(0).array() += d * s.at(b, 0).view().row(t).array();
        s.at(b, 0).gradient_view().row(t).array() += d * call.params.r.row(0).array();
      }
  }
};

}  // namespace suspect
