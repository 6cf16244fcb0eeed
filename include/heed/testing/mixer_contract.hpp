// The mixer contract: one call gives a mixer, the library's or yours, the whole suite of laws.
//
//   const auto report = heed::testing::mixer_contract<app::GatedValueAttention>();
//   EXPECT_TRUE(report.holds()) << report.text();
//
// The mixer stands in a stack, above a standard layer if it consumes something. The laws:
//   names         visit names every tensor once
//   chunks        any split of the rows gives the whole pass                             within `Nearness`
//   packed        a ragged batch, with an empty sequence, gives what its sequences give alone        within `Nearness`
//   dynamic       the same layers chosen at run time give the same                       within `Nearness`
//   causality     rows do not change when later rows do (but those that have to come together)    to the bit
//   rollback      after a rollback the cache is as if the rejected rows had never been   to the bit
//   recent        where the cache keeps recent states, rows at the end of a call can be taken back one by one     within
//                 `Nearness`
//   saved         a cache that was saved and loaded goes on as the one that was not     to the bit
//   reorder       a sequence that became a copy of another goes on as that one          to the bit
//   fork          a fork and its origin go on independently                              to the bit
//   restart       truncate(sequence, 0) starts anew                                      to the bit
//   finite        zero rows, one row and large inputs give finite results and gradients
//   memory        the cache takes the bytes of its plan, and decoding row by row never outgrows its scratch
//   workers       any number of workers in any order gives the same rows and gradients        to the bit
//   gradients     every parameter, the input, every consumed signal and the echo of what a layer above reads of values and
//                 scores, by central differences in double; backward adds to what is there
//   heads         the same for two of it side by side, each on its own heads of one layer
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "../core/random.hpp"
#include "../mixers/attention.hpp"
#include "../model/dynamic_stack.hpp"
#include "../model/stack.hpp"
#include "finite_difference.hpp"
#include "signal_reader.hpp"
#include "signal_source.hpp"

namespace heed::inline HEED_ABI::testing {

/// What the contract found: one sentence for every law that does not hold.
struct Report {
  std::vector<std::string> broken;

  bool holds() const { return broken.empty(); }
  std::string text() const {
    std::string all;
    for (const std::string& sentence : broken) all += sentence + "\n";
    return all;
  }
};

/// The layers that stand below, or above, the mixer under test.
template <class... Mixers>
struct Layers {};

struct ContractOptions {
  Sizes sizes = {.width = 12, .heads = 4, .kv_heads = 2, .head_width = 6, .value_width = 5, .hidden = 10};
  std::vector<Index> lengths = {5, 0, 1, 9};  // of the sequences of a batch
  Index splits = 4;                           // random splits tried
  Index second_kv_heads = 1;                  // of the second of two side by side; 0: that is not tried
  std::uint64_t seed = 1;
};

namespace detail {

/// When two float results are the same up to rounding: with the same weights in double as oracle,
///   error(float) <= 2 max(error(float whole pass), eps n)      error = max |y - oracle| / max |oracle|
/// where n is the length of the longest sum that feeds a row.
struct Nearness {
  Matrix<double> oracle;
  double error_of_whole;
  double floor;

  template <class Scalar>
  static double error(const Matrix<Scalar>& y, const Matrix<double>& oracle) {
    const double scale = oracle.cwiseAbs().maxCoeff();
    return (y.template cast<double>() - oracle).cwiseAbs().maxCoeff() / (scale > 0 ? scale : 1);
  }
  bool holds(const Matrix<float>& y) const { return error(y, oracle) <= 2 * (std::max)(error_of_whole, floor); }
};

/// The reader of those published signals that are values or scores.
template <class Publishes>
struct reader_of {
  using type = std::conditional_t<
      Publishes::template contains<values>,
      std::conditional_t<Publishes::template contains<scores>, SignalReader<values, scores>, SignalReader<values>>,
      std::conditional_t<Publishes::template contains<scores>, SignalReader<scores>, SignalReader<>>>;
};

/// Runs jobs last to first, handing them to three workers in turn.
class Backwards final : public Executor {
 public:
  int workers() const override { return 3; }
  void run(Index jobs, Job job) override {
    for (Index index = jobs; index-- > 0;) job(index, static_cast<int>(index % 3));
  }
};

template <class Mixer, class Below, class Above>
struct Tower;
template <class Mixer, class... Below, class... Above>
struct Tower<Mixer, Layers<Below...>, Layers<Above...>> {
  template <class Scalar>
  using Static = Stack<Scalar, Block<Below>..., Block<Mixer>, Block<Above>...>;
  static constexpr std::size_t level = sizeof...(Below);

  template <class Scalar>
  static Static<Scalar> build(const Sizes& sizes, const typename Mixer::Config& config) {
    typename Static<Scalar>::Config all{sizes.width,      sizes.heads,       sizes.kv_heads,
                                        sizes.head_width, sizes.value_width, sizes.hidden};
    all.template layer<level>().mixer = config;
    return Static<Scalar>(all);
  }
  template <class Scalar>
  static DynamicStack<Scalar> build_dynamic(const Sizes& sizes, const typename Mixer::Config& config) {
    return DynamicStack<Scalar>::build(sizes, {choose<Below>()..., choose<Mixer>(config), choose<Above>()...});
  }
  /// With a layer on top that reads the values and scores of the mixer.
  template <class Scalar>
  static DynamicStack<Scalar> build_read(const Sizes& sizes, const typename Mixer::Config& config) {
    using Reader = typename reader_of<typename Mixer::publishes>::type;
    if constexpr (Reader::consumes::size == 0 || sizeof...(Above) > 0) {
      return build_dynamic<Scalar>(sizes, config);
    } else {
      const Shape shape = sizes.shape();
      typename Reader::Config reader{std::vector<unsigned char>(static_cast<std::size_t>(shape.kv_heads.count)),
                                     std::vector<unsigned char>(static_cast<std::size_t>(shape.heads.count))};
      mark_published<Mixer>(values::name, values::alignment, shape, config, reader.values);
      mark_published<Mixer>(scores::name, scores::alignment, shape, config, reader.scores);
      return DynamicStack<Scalar>::build(sizes, {choose<Below>()..., choose<Mixer>(config), choose<Reader>(reader)});
    }
  }
  /// Two of the mixer on one layer.
  template <class Scalar>
  static DynamicStack<Scalar> build_pair(const Sizes& sizes, const typename Mixer::Config& config, Index second_kv_heads) {
    return DynamicStack<Scalar>::build(
        sizes, {choose<Below>()..., choose_side_by_side(choose<Mixer>(config), choose<Mixer>(config), second_kv_heads)});
  }
};

/// Weights of unit gain, norms and coefficients off their round values, so that no term can hide.
template <class Params>
void randomise(Params& params, std::uint64_t seed) {
  visit(
      [&](std::string_view name, Role role, auto& tensor) {
        using Tensor = std::remove_cvref_t<decltype(tensor)>;
        Tensor noise(tensor.rows(), tensor.cols());
        const bool matrix = role == Role::matrix || role == Role::output || role == Role::embedding;
        Random(seed, name)
            .normal(noise, matrix ? 1 / std::sqrt(static_cast<double>((std::max)(tensor.rows(), Index(1)))) : 0.1);
        tensor = matrix ? noise : Tensor(tensor + noise);
      },
      params);
}

/// Copies tensor by tensor, in the order of visit.
template <class From, class To>
void copy_params(const From& from, To& to) {
  std::vector<Matrix<double>> all;
  visit([&](std::string_view, Role, const auto& tensor) { all.push_back(tensor.template cast<double>()); }, from);
  std::size_t next = 0;
  visit([&](std::string_view, Role,
            auto& tensor) { tensor = all[next++].template cast<typename std::remove_cvref_t<decltype(tensor)>::Scalar>(); },
        to);
}

template <class Scalar>
Matrix<Scalar> random_rows(Index rows, Index width, std::uint64_t seed, std::string_view name) {
  Matrix<Scalar> x(rows, width);
  Random(seed, name).normal(x, 1);
  return x;
}

inline Index total(const std::vector<Index>& lengths) {
  Index sum = 0;
  for (const Index length : lengths) sum += length;
  return sum;
}

/// The laws about one tower.
template <class Mixer, class Below, class Above>
class Laws {
 public:
  using tower = Tower<Mixer, Below, Above>;
  using Model = typename tower::template Static<float>;
  using Cache = typename Model::Cache;

  Laws(const typename Mixer::Config& config, const ContractOptions& options)
      : config_(config),
        options_(options),
        model_(tower::template build<float>(options.sizes, config)),
        rows_((std::max)(Index(1), total(options.lengths))),
        whole_rows_(whole_rows<Mixer>(config)) {
    randomise(model_.params(), options.seed);
    x_ = random_rows<float>(rows_, model_.shape().width, options.seed, "x");
  }

  void names(Report& report) const {
    std::vector<std::string> seen;
    visit([&](std::string_view name, Role, const auto&) { seen.emplace_back(name); }, model_.params());
    for (std::size_t i = 0; i < seen.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (seen[i] == seen[j]) report.broken.push_back("names: visit gives two tensors the name " + seen[i]);
  }

  void chunks(Report& report) const {
    if (whole_rows_ >= rows_) return;
    const Nearness near = nearness();
    Random random(options_.seed, "splits");
    for (Index split = 0; split < options_.splits; ++split) {
      auto cache = make_cache(1);
      Matrix<float> y(rows_, x_.cols());
      std::string sizes;
      for (Index done = 0; done < rows_;) {
        const Index most = rows_ - done;
        // The first split goes row by row, the others anyhow.
        Index count = split == 0 ? 1 : 1 + static_cast<Index>(random.next() % static_cast<std::uint64_t>(most));
        if (done == 0) count = (std::max)(count, whole_rows_);
        y.middleRows(done, count) = model_.forward(x_.middleRows(done, count), cache);
        sizes += (sizes.empty() ? "" : "+") + std::to_string(count);
        done += count;
      }
      if (!near.holds(y)) fail(report, "chunks: rows fed as " + sizes, Nearness::error(y, near.oracle), near);
    }
  }

  void packed(Report& report) const {
    const auto sequences = Sequences(std::span<const Index>(options_.lengths));
    auto cache = make_cache(sequences.size());
    const Matrix<float> y = model_.forward(x_, sequences, cache);
    for (Index b = 0; b < sequences.size(); ++b) {
      if (sequences.rows(b) == 0) continue;
      const Matrix<float> alone_x = x_.middleRows(sequences.begin(b), sequences.rows(b));
      const Nearness near = nearness(alone_x);
      const Matrix<float> in_batch = y.middleRows(sequences.begin(b), sequences.rows(b));
      if (!near.holds(in_batch))
        fail(report, "packed: sequence " + std::to_string(b) + " of a batch", Nearness::error(in_batch, near.oracle), near);
    }
    auto tape = model_.make_tape(sequences);
    const Matrix<float> taped = model_.forward(x_, tape);
    if (!same_bits(taped, y)) report.broken.push_back("packed: a training pass differs from inference on the same rows");
  }

  void dynamic(Report& report) const {
    auto chosen = tower::template build_dynamic<float>(options_.sizes, config_);
    copy_params(model_.params(), chosen.params());
    auto cache = chosen.make_cache({.positions = rows_, .rows = rows_});
    const Matrix<float> y = chosen.forward(x_, cache);
    const Nearness near = nearness();
    if (!near.holds(y)) fail(report, "dynamic: the same layers in a DynamicStack", Nearness::error(y, near.oracle), near);
    // The oracle is a DynamicStack too.
    if (!(near.error_of_whole <= std::sqrt(static_cast<double>(std::numeric_limits<float>::epsilon()))))
      report.broken.push_back(
          "dynamic: layers as types, in float, have less than half their digits in common with layers "
          "chosen at run time, in double");
  }

  void causality(Report& report) const {
    const Matrix<float> y = whole(x_);
    for (Index row = (std::max)(Index(1), whole_rows_); row < rows_; ++row) {
      Matrix<float> other = x_;
      other.bottomRows(rows_ - row) = random_rows<float>(rows_ - row, x_.cols(), options_.seed + 1, "later");
      if (!same_bits(Matrix<float>(whole(other).topRows(row)), Matrix<float>(y.topRows(row))))
        report.broken.push_back("causality: rows before row " + std::to_string(row) + " change with the rows from it on");
    }
  }

  void rollback(Report& report) const {
    const Index a = (std::max)(rows_ / 3, (std::min)(whole_rows_, rows_));
    const Index b = (std::min)(rows_ / 3, rows_ - a - 1);
    if (b < 1) return;
    auto cache = make_cache(1);
    static_cast<void>(model_.forward(x_.topRows(a), cache));
    const Mark mark = cache.checkpoint();
    for (int attempt = 0; attempt < 2; ++attempt) {
      static_cast<void>(model_.forward(x_.bottomRows(b), cache));
      static_cast<void>(model_.forward(x_.bottomRows(1), cache));
      if (!cache.rollback(mark)) {
        report.broken.push_back("rollback: a fresh mark is refused");
        return;
      }
    }
    const Matrix<float> after = model_.forward(x_.middleRows(a, b), cache);
    auto replay = make_cache(1);
    static_cast<void>(model_.forward(x_.topRows(a), replay));
    const Matrix<float> expected = model_.forward(x_.middleRows(a, b), replay);
    if (!same_bits(after, expected)) report.broken.push_back("rollback: rows after it differ from a replay");
  }

  // As speculative decoding does: a call has rows that stay, and others that are taken back.
  void recent(Report& report) const {
    if (whole_rows_ >= rows_) return;
    constexpr Index most = 3;
    const Nearness near = nearness();
    const Matrix<float> others = random_rows<float>(most, x_.cols(), options_.seed + 1, "rejected");
    auto cache = model_.make_cache({.positions = rows_ + most, .rows = rows_ + most, .recent_states = most});
    Matrix<float> y(rows_, x_.cols());
    Random random(options_.seed, "recent");
    for (Index done = 0; done < rows_;) {
      Index count = 1 + static_cast<Index>(random.next() % static_cast<std::uint64_t>((std::min)(rows_ - done, most)));
      if (done == 0) count = (std::max)(count, whole_rows_);
      const Index rejected = static_cast<Index>(random.next() % static_cast<std::uint64_t>(most + 1));
      Matrix<float> fed(count + rejected, x_.cols());
      fed << x_.middleRows(done, count), others.topRows(rejected);
      y.middleRows(done, count) = model_.forward(fed, cache).topRows(count);
      done += count;
      if (!cache.truncate(0, done)) {
        report.broken.push_back("recent: a cut of " + std::to_string(rejected) + " rows is refused");
        return;
      }
    }
    if (!near.holds(y))
      fail(report, "recent: rows among which others were taken back", Nearness::error(y, near.oracle), near);
  }

  void saved(Report& report) const {
    if (rows_ < 2 || whole_rows_ > rows_ - 1) return;
    auto cache = make_cache(1);
    static_cast<void>(model_.forward(x_.topRows(rows_ - 1), cache));
    auto loaded = make_cache(1);
    loaded.load(cache.save());
    const Matrix<float> next = model_.forward(x_.bottomRows(1), cache);
    if (!same_bits(Matrix<float>(model_.forward(x_.bottomRows(1), loaded)), next))
      report.broken.push_back("saved: a loaded cache differs from the one that was saved: does visit list all it keeps?");
  }

  void reorder(Report& report) const {
    if (rows_ < 3 || whole_rows_ > rows_ - 2) return;
    auto cache = make_cache(2);
    static_cast<void>(model_.forward(x_.topRows(rows_ - 1), {rows_ - 2, 1}, cache));
    auto copied = cache.fork(), swapped = cache.fork();
    if (!copied.reorder({0, 0}) || !swapped.reorder({1, 0})) {
      report.broken.push_back("reorder: sources that are there are refused");
      return;
    }
    const Matrix<float> expected = model_.forward(x_.bottomRows(1), {1, 0}, cache);
    if (!same_bits(Matrix<float>(model_.forward(x_.bottomRows(1), {0, 1}, copied)), expected) ||
        !same_bits(Matrix<float>(model_.forward(x_.bottomRows(1), {0, 1}, swapped)), expected))
      report.broken.push_back("reorder: a sequence differs from its source: does visit list all the cache keeps?");
  }

  void fork(Report& report) const {
    if (rows_ < 4 || whole_rows_ >= rows_) return;
    const Index a = (std::max)(rows_ / 2, whole_rows_);
    auto origin = make_cache(1);
    static_cast<void>(model_.forward(x_.topRows(a), origin));
    auto copy = origin.fork();
    const Matrix<float> other = model_.forward(x_.bottomRows(1), copy);
    const Matrix<float> next = model_.forward(x_.middleRows(a, 1), origin);
    auto replay = make_cache(1);
    static_cast<void>(model_.forward(x_.topRows(a), replay));
    if (!same_bits(next, Matrix<float>(model_.forward(x_.middleRows(a, 1), replay))))
      report.broken.push_back("fork: the origin differs from a replay");
    auto replay_other = make_cache(1);
    static_cast<void>(model_.forward(x_.topRows(a), replay_other));
    if (!same_bits(other, Matrix<float>(model_.forward(x_.bottomRows(1), replay_other))))
      report.broken.push_back("fork: the fork differs from a replay");
  }

  void restart(Report& report) const {
    auto cache = make_cache(1);
    static_cast<void>(model_.forward(x_.bottomRows(1), cache));
    if (!cache.truncate(0, 0)) report.broken.push_back("restart: truncate(0, 0) is refused");
    if (!same_bits(Matrix<float>(model_.forward(x_, cache)), whole(x_)))
      report.broken.push_back("restart: a new conversation differs from a new cache");
  }

  void memory(Report& report) const {
    const Index first = (std::max)(Index(1), (std::min)(whole_rows_, rows_));  // rows of the first call
    const CacheOptions options = {.sequences = 2, .positions = rows_, .rows = first, .checkpoints = 3};
    auto cache = model_.make_cache(options);
    Index planned = 0;
    for (std::size_t layer = 0; layer < static_cast<std::size_t>(model_.layers()); ++layer) {
      const CachePlan plan = model_.plan().cache(layer);
      planned +=
          2 * static_cast<Index>(sizeof(float)) * (plan.per_sequence + rows_ * plan.per_position + 5 * plan.per_state);
    }
    if (cache.bytes() != planned)
      report.broken.push_back("memory: the cache takes " + std::to_string(cache.bytes()) + " bytes, its plan says " +
                              std::to_string(planned));
    if (whole_rows_ >= rows_) return;
    const std::size_t blocks = cache.scratch_blocks();
    static_cast<void>(model_.forward(x_.topRows(first), {first, 0}, cache));
    for (Index row = first; row < rows_; ++row) static_cast<void>(model_.forward(x_.row(row), {1, 0}, cache));
    if (cache.scratch_blocks() != blocks)
      report.broken.push_back("memory: decoding outgrew its scratch: say what the mixer needs in scratch_per_row");
  }

  void workers(Report& report) const {
    const auto run = [&](Executor* executor) {
      auto tape = model_.make_tape(Sequences(std::span<const Index>(options_.lengths)), {.executor = executor});
      auto gradients = model_.make_gradients();
      const Matrix<float> y = model_.forward(x_, tape);
      std::vector<Matrix<float>> all = {y, model_.backward(y, tape, gradients)};
      visit([&](std::string_view, Role, const auto& tensor) { all.push_back(tensor); }, gradients);
      return all;
    };
    Backwards backwards;
    const auto alone = run(nullptr);
    const auto together = run(&backwards);
    for (std::size_t i = 0; i < alone.size(); ++i)
      if (!same_bits(alone[i], together[i])) {
        report.broken.push_back("workers: three workers, last job first, give other " +
                                std::string(i == 0 ? "rows" : "gradients"));
        return;
      }
  }

  void finite(Report& report) const {
    const auto check = [&](const Matrix<float>& x, const std::vector<Index>& lengths, const char* what) {
      auto tape = model_.make_tape(Sequences(std::span<const Index>(lengths)));
      const Matrix<float> y = model_.forward(x, tape);
      auto gradients = model_.make_gradients();
      const Matrix<float> d_x = model_.backward(y, tape, gradients);
      bool all = y.allFinite() && d_x.allFinite();
      visit([&](std::string_view, Role, const auto& tensor) { all = all && tensor.allFinite(); }, gradients);
      if (!all) report.broken.push_back(std::string("finite: ") + what + " give a result or a gradient that is not finite");
    };
    check(Matrix<float>::Zero(rows_, x_.cols()), options_.lengths, "zero rows");
    check(x_.topRows(1), {1}, "a single row");
    check(1e4f * x_, options_.lengths, "large inputs");
    if constexpr (requires(typename Mixer::Config c) { c.scores.mask; }) {
      typename Mixer::Config strict = config_;
      strict.scores.mask = Mask{unbounded, -1};  // a row sees only those before it: the first sees nothing
      auto model = tower::template build<float>(options_.sizes, strict);
      copy_params(model_.params(), model.params());
      auto cache = model.make_cache({.positions = rows_, .rows = rows_});
      if (!Matrix<float>(model.forward(x_, cache)).allFinite())
        report.broken.push_back("finite: a row that sees nothing gives a result that is not finite");
    }
  }

 private:
  Cache make_cache(Index sequences) const {
    return model_.make_cache({.sequences = sequences, .positions = rows_, .rows = rows_});
  }
  Matrix<float> whole(const Matrix<float>& x) const {
    auto cache = model_.make_cache({.positions = x.rows(), .rows = x.rows()});
    return model_.forward(x, cache);
  }
  Nearness nearness() const { return nearness(x_); }
  Nearness nearness(const Matrix<float>& x) const {
    auto exact = tower::template build_dynamic<double>(options_.sizes, config_);
    copy_params(model_.params(), exact.params());
    auto cache = exact.make_cache({.positions = x.rows(), .rows = x.rows()});
    Nearness near;
    near.oracle = exact.forward(Matrix<double>(x.cast<double>()), cache);
    near.error_of_whole = Nearness::error(whole(x), near.oracle);
    const Shape& shape = model_.shape();
    const Index longest = (std::max)({shape.width, shape.hidden, shape.q_width(), shape.o_width(), x.rows()});
    near.floor = static_cast<double>(std::numeric_limits<float>::epsilon()) * static_cast<double>(longest);
    return near;
  }
  static bool same_bits(const Matrix<float>& a, const Matrix<float>& b) {
    return a.rows() == b.rows() && a.cols() == b.cols() && (a.array() == b.array()).all();
  }
  static void fail(Report& report, const std::string& what, double error, const Nearness& near) {
    report.broken.push_back(what + ": error " + std::to_string(error * 1e6) + "e-6, expected at most twice the larger of " +
                            std::to_string(near.error_of_whole * 1e6) + "e-6 and " + std::to_string(near.floor * 1e6) +
                            "e-6");
  }

  typename Mixer::Config config_;
  ContractOptions options_;
  Model model_;
  Index rows_;
  Index whole_rows_;  // the first ones of a sequence, which have to come in one call
  Matrix<float> x_;
};

/// Every entry of every parameter and of the input, in double, against central differences.
inline void check_gradients(Report& report, DynamicStack<double> model, const std::vector<Index>& lengths,
                            std::uint64_t seed, const std::string& law) {
  randomise(model.params(), seed);
  const auto sequences = Sequences(std::span<const Index>(lengths));
  const Shape& shape = model.shape();
  Matrix<double> x = random_rows<double>(sequences.rows(), shape.width, seed, "x");
  const Matrix<double> d_y = random_rows<double>(sequences.rows(), shape.width, seed, "d_y");
  auto tape = model.make_tape(sequences);
  const auto loss = [&] { return dot_loss(model.forward(x, tape), view_of(d_y)); };
  const Index longest = (std::max)({shape.width, shape.hidden, shape.q_width(), shape.o_width(), sequences.rows()});

  static_cast<void>(loss());
  auto gradients = model.make_gradients();
  visit([](std::string_view, Role, auto& tensor) { tensor.setOnes(); }, gradients);  // backward adds
  const Matrix<double> d_x = model.backward(d_y, tape, gradients);
  const auto check = [&](std::string_view name, Matrix<double>& tensor, const Matrix<double>& gradient, double before) {
    for (Index i = 0; i < tensor.size(); ++i) {
      const Difference difference = central_difference(tensor.data()[i], longest, loss);
      const double found = gradient.data()[i] - before;
      const double rounding = std::numeric_limits<double>::epsilon() * std::abs(gradient.data()[i]);
      if (!(std::abs(difference.value - found) <= difference.bound + rounding)) {
        report.broken.push_back(law + ": " + std::string(name) + "[" + std::to_string(i) + "]: backward gives " +
                                std::to_string(found) + ", differences give " + std::to_string(difference.value) + " +- " +
                                std::to_string(difference.bound));
        return;
      }
    }
  };
  visit([&](std::string_view name, Role, auto& tensor, const auto& gradient) { check(name, tensor, gradient, 1); },
        model.params(), gradients);
  check("x", x, d_x, 0);
}

/// Above a SignalSource, for mixers that consume nothing but values and scores: their signals are free parameters.
template <class Mixer, class... Taps>
void signal_gradients(Report& report, const typename Mixer::Config& config, const ContractOptions& options,
                      signals<Taps...>) {
  constexpr bool known =
      ((std::same_as<typename Taps::signal, values> || std::same_as<typename Taps::signal, scores>)&&...);
  if constexpr (sizeof...(Taps) > 0 && known)
    check_gradients(
        report,
        DynamicStack<double>::build(options.sizes, {choose<SignalSource>({options.lengths}), choose<Mixer>(config)}),
        options.lengths, options.seed, "gradients");
}

template <class Mixer>
using default_below = std::conditional_t<Mixer::consumes::size == 0, Layers<>, Layers<Attention<>>>;

}  // namespace detail

/// Checks a mixer against every law. Below and Above: the mixers it stands between; above it, one that reads what it
/// publishes checks its echo.
template <class Mixer, class Below = detail::default_below<Mixer>, class Above = Layers<>>
Report mixer_contract(const typename Mixer::Config& config = {}, const ContractOptions& options = {}) {
  Report report;
  const detail::Laws<Mixer, Below, Above> laws(config, options);
  laws.names(report);
  laws.chunks(report);
  laws.packed(report);
  laws.dynamic(report);
  laws.causality(report);
  laws.rollback(report);
  laws.recent(report);
  laws.saved(report);
  laws.reorder(report);
  laws.fork(report);
  laws.restart(report);
  laws.finite(report);
  laws.memory(report);
  laws.workers(report);
  using Tower = detail::Tower<Mixer, Below, Above>;
  detail::check_gradients(report, Tower::template build_read<double>(options.sizes, config), options.lengths, options.seed,
                          "gradients");
  detail::signal_gradients<Mixer>(report, config, options, typename Mixer::consumes());
  if (options.second_kv_heads > 0 && options.second_kv_heads < options.sizes.shape().kv_heads.count)
    detail::check_gradients(report, Tower::template build_pair<double>(options.sizes, config, options.second_kv_heads),
                            {3, 1}, options.seed, "heads");
  return report;
}

}  // namespace heed::inline HEED_ABI::testing
