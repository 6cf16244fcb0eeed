#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <heed/ops/attend.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../reference/attention.hpp"

namespace {

using heed::HeadRows;
using heed::HeadTable;
using heed::Index;
using heed::Mask;
using heed::Matrix;
using heed::Probabilities;
using heed::ScoreBias;
using heed::Storage;
using heed::View;
using heed::Workers;

/// The next wider type, in which the oracle runs.
template <class Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;

/// Jobs from the last to the first on one thread, as if by several workers.
class Reversed final : public heed::Executor {
 public:
  explicit Reversed(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  void run(Index jobs, heed::Job job) override {
    for (Index i = jobs - 1; i >= 0; --i) job(i, static_cast<int>(i % workers_));
  }

 private:
  int workers_;
};

/// Worker w takes jobs w, w + workers, ...
class Threads final : public heed::Executor {
 public:
  explicit Threads(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  void run(Index jobs, heed::Job job) override {
    std::vector<std::thread> threads;
    for (int w = 0; w < workers_; ++w)
      threads.emplace_back([&, w] {
        for (Index i = w; i < jobs; i += workers_) job(i, w);
      });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int workers_;
};

struct Lengths {
  Index rows, keys;
};

struct Case {
  Index heads = 2, kv_heads = 1, width = 8, value_width = 8;
  Mask mask = heed::causal();
  std::vector<Lengths> sequences = {{9, 9}};
  // options of logits
  double soft_cap = 0;
  bool slopes = false, sinks = false;
  bool added = false, shown = false;  // biases, and hidden pairs beside the mask
  Index offset = 0;                   // added to S - T
  Storage storage = Storage::arithmetic;

  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    out << "H " << c.heads << " G " << c.kv_heads << " E " << c.width << " E_v " << c.value_width << " left " << c.mask.left
        << " right " << c.mask.right << " sinks " << c.mask.sinks << " cap " << c.soft_cap << " slopes " << c.slopes
        << " sinks " << c.sinks << " added " << c.added << " shown " << c.shown << " offset " << c.offset;
    for (const Lengths& s : c.sequences) out << " (" << s.rows << ", " << s.keys << ")";
    return out;
  }
};

template <class To, class Derived>
reference::Rows<To> rows_from(const Eigen::MatrixBase<Derived>& matrix) {
  reference::Rows<To> rows(matrix.rows(), matrix.cols());
  for (Index i = 0; i < matrix.rows(); ++i)
    for (Index j = 0; j < matrix.cols(); ++j) rows(i, j) = static_cast<To>(matrix(i, j));
  return rows;
}

/// Everything a call reads and writes.
template <class Scalar>
struct Problem {
  Case c;
  heed::Sequences sequences;
  Index past_keys = 0;                // keys of all sequences
  Matrix<Scalar> q, k, v, d_o, echo;  // k, v: the sequences' keys under one another; echo: see echo_of
  Matrix<Scalar> o, log_sum_exp, d_q, d_k, d_v;
  heed::Arena arena;
  HeadTable<HeadRows<Scalar>> k_heads, v_heads;
  HeadTable<Probabilities<Scalar>> kept{};
  Scalar scale;
  std::vector<Scalar> slopes, sinks, d_sinks;  // [H], or empty
  std::vector<Index> offsets;                  // [B]
  std::vector<Matrix<Scalar>> added, d_added;  // [T x S] per (sequence, head), or none
  std::vector<Matrix<bool>> shown;
  HeadTable<ScoreBias<Scalar>> bias{};
  std::vector<std::uint16_t> k_narrow, v_narrow;

  static heed::Sequences rows_of(const Case& c) {
    std::vector<Index> rows;
    for (const Lengths& s : c.sequences) rows.push_back(s.rows);
    return heed::Sequences(std::span<const Index>(rows));
  }

  explicit Problem(const Case& of, bool keep = false, unsigned seed = 1) : c(of), sequences(rows_of(of)) {
    for (const Lengths& s : c.sequences) past_keys += s.keys;
    std::mt19937 random(seed);
    std::normal_distribution<Scalar> normal;
    const auto fill = [&](Matrix<Scalar>& m, Index rows, Index cols) {
      m.resize(rows, cols);
      for (Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
    };
    const Index T = sequences.rows();
    fill(q, T, c.heads * c.width);
    fill(k, past_keys, c.kv_heads * c.width);
    fill(v, past_keys, c.kv_heads * c.value_width);
    fill(d_o, T, c.heads * c.value_width);
    if (c.storage != Storage::arithmetic) store(k, k_narrow), store(v, v_narrow);
    scale = Scalar(1) / std::sqrt(static_cast<Scalar>(c.width));
    o.setZero(T, c.heads * c.value_width);
    log_sum_exp.setConstant(T, c.heads, Scalar(77));
    d_q.setZero(T, q.cols());
    d_k.setZero(k.rows(), k.cols());
    d_v.setZero(v.rows(), v.cols());
    const Index B = Index(c.sequences.size());
    for (Index b = 0; b < B; ++b) offsets.push_back(keys(b) - rows(b) + c.offset);
    for (Index h = 0; h < c.heads; ++h) {
      if (c.slopes) slopes.push_back(static_cast<Scalar>(std::exp2(-0.5 * double(h + 1))));
      if (c.sinks) sinks.push_back(h == 1 ? -std::numeric_limits<Scalar>::infinity() : normal(random));
    }
    d_sinks.assign(sinks.size(), Scalar(0));
    if (c.added || c.shown) bias = HeadTable<ScoreBias<Scalar>>::make(arena, B, c.heads);
    for (Index b = 0; b < bias.sequences; ++b)
      for (Index h = 0; h < c.heads; ++h) {
        fill(added.emplace_back(), rows(b), keys(b));
        d_added.push_back(Matrix<Scalar>::Zero(rows(b), keys(b)));
        Matrix<bool>& of_head = shown.emplace_back(rows(b), keys(b));
        for (Index i = 0; i < of_head.size(); ++i) {
          of_head.data()[i] = random() % 4 > 0;
          if (random() % 5 == 0) added.back().data()[i] = -std::numeric_limits<Scalar>::infinity();
        }
      }
    for (Index i = 0; i < Index(added.size()); ++i) {
      ScoreBias<Scalar>& entry = bias.entries[i];
      const auto at = std::size_t(i);
      if (c.added) {
        entry.added = added[at].data(), entry.gradient = d_added[at].data();
        entry.stride = entry.gradient_stride = added[at].cols();
      }
      if (c.shown) entry.shown = shown[at].data(), entry.shown_stride = shown[at].cols();
    }
    k_heads = HeadTable<HeadRows<Scalar>>::make(arena, B, c.kv_heads);
    v_heads = HeadTable<HeadRows<Scalar>>::make(arena, B, c.kv_heads);
    if (keep) kept = HeadTable<Probabilities<Scalar>>::make(arena, B, c.heads);
    for (Index b = 0; b < B; ++b) {
      for (Index g = 0; g < c.kv_heads; ++g) {
        const auto entry = [&](Matrix<Scalar>& x, Matrix<Scalar>& d_x, Index width,
                               const std::vector<std::uint16_t>& narrow) {
          const Index at = first_key(b) * x.cols() + g * width;
          HeadRows<Scalar> made{x.data() + at, d_x.data() + at, keys(b), width, x.cols(), d_x.cols()};
          made.storage = c.storage;
          if (c.storage != Storage::arithmetic) made.data = nullptr, made.narrow = narrow.data() + at;
          return made;
        };
        k_heads.at(b, g) = entry(k, d_k, c.width, k_narrow);
        v_heads.at(b, g) = entry(v, d_v, c.value_width, v_narrow);
      }
      for (Index h = 0; keep && h < c.heads; ++h)
        kept.at(b, h) = Probabilities<Scalar>::make(arena, rows(b), keys(b), c.mask, offsets[std::size_t(b)], true,
                                                    bias.heads > 0 ? bias.at(b, h) : ScoreBias<Scalar>{});
    }
  }

  /// x in 16 bits; x itself is rounded with it.
  void store(Matrix<Scalar>& x, std::vector<std::uint16_t>& narrow) const {
    narrow.resize(std::size_t(x.size()));
    heed::narrow(c.storage, x.data(), x.size(), narrow.data());
    heed::widen(c.storage, narrow.data(), x.size(), x.data());
  }

  Index rows(Index b) const { return c.sequences[std::size_t(b)].rows; }
  Index keys(Index b) const { return c.sequences[std::size_t(b)].keys; }
  Index first_key(Index b) const {
    Index first = 0;
    for (Index i = 0; i < b; ++i) first += keys(i);
    return first;
  }
  template <class To>
  reference::Logits<To> logits(Index b, Index h) const {
    reference::Logits<To> of;
    of.sees = [mask = c.mask](Index position, Index key) { return mask.visible(position, key + 1).contains(key); };
    of.offset = offsets[std::size_t(b)];
    of.scale = static_cast<To>(scale);
    of.soft_cap = static_cast<To>(static_cast<Scalar>(c.soft_cap));
    if (c.slopes) of.slope = static_cast<To>(slopes[std::size_t(h)]);
    if (c.sinks) of.sink = static_cast<To>(sinks[std::size_t(h)]);
    if (bias.heads == 0) return of;
    const auto at = std::size_t(b * c.heads + h);
    of.bias = reference::Rows<To>(rows(b), keys(b));
    for (Index i = 0; i < rows(b); ++i)
      for (Index j = 0; j < keys(b); ++j) {
        if (c.added) of.bias(i, j) = static_cast<To>(added[at](i, j));
        if (c.shown && !shown[at](i, j)) of.bias(i, j) = -std::numeric_limits<To>::infinity();
      }
    return of;
  }

  heed::Computed<Scalar> computed() {
    return {.q = heed::view_of(q),
            .k = k_heads,
            .mask = c.mask,
            .scale = scale,
            .log_sum_exp = heed::mutable_view_of(log_sum_exp),
            .probabilities = kept,
            .soft_cap = static_cast<Scalar>(c.soft_cap),
            .slopes = c.slopes ? slopes.data() : nullptr,
            .bias = bias,
            .sinks = c.sinks ? sinks.data() : nullptr,
            .d_sinks = c.sinks ? d_sinks.data() : nullptr,
            .offsets = c.offset != 0 ? offsets.data() : nullptr};
  }
  void forward(Workers& workers) {
    o.setZero();
    heed::attend(computed(), v_heads, sequences, heed::mutable_view_of(o), workers);
  }
  void backward(Workers& workers) {
    heed::attend_backward(computed(), v_heads, sequences, heed::view_of(o), heed::view_of(d_o), heed::mutable_view_of(d_q),
                          workers);
  }
  /// Some gradient that layers above gave the probabilities.
  void set_echo(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<Scalar> normal;
    for (Index b = 0; b < kept.sequences; ++b)
      for (Index h = 0; h < kept.heads; ++h) {
        std::vector<Scalar> row(std::size_t(keys(b)));
        for (Index i = 0; i < rows(b); ++i) {
          for (Scalar& x : row) x = normal(random);
          kept.at(b, h).add_gradient_row(i, row.data());
        }
      }
  }

  /// Block (sequence, head) of packed columns, in another scalar.
  template <class To>
  reference::Rows<To> part(const Matrix<Scalar>& x, Index first, Index count, Index head, Index width) const {
    return rows_from<To>(x.block(first, head * width, count, width));
  }

  template <class To>
  struct Expected {
    Matrix<To> o, log_sum_exp, d_q, d_k, d_v, d_sinks;
    std::vector<reference::Rows<To>> d_bias;
    std::vector<reference::Rows<To>> a;  // sequence * heads + head
  };
  template <class To>
  Expected<To> expected() const {
    Expected<To> e;
    e.o.setZero(o.rows(), o.cols());
    e.log_sum_exp.setZero(o.rows(), c.heads);
    e.d_q.setZero(q.rows(), q.cols());
    e.d_k.setZero(k.rows(), k.cols());
    e.d_v.setZero(v.rows(), v.cols());
    e.d_sinks.setZero(1, c.sinks ? c.heads : 0);
    const Index g = c.heads / c.kv_heads;
    // The scale is data like the rest: it enters as the rounded number that the operand holds.
    for (Index b = 0; b < Index(c.sequences.size()); ++b)
      for (Index h = 0; h < c.heads; ++h) {
        const Index row = sequences.begin(b), key = first_key(b);
        const auto q_h = part<To>(q, row, rows(b), h, c.width);
        const auto k_h = part<To>(k, key, keys(b), h / g, c.width);
        const auto v_h = part<To>(v, key, keys(b), h / g, c.value_width);
        const auto d_o_h = part<To>(d_o, row, rows(b), h, c.value_width);
        const auto of = logits<To>(b, h);
        const auto f = reference::attention(q_h, k_h, v_h, of);
        reference::Rows<To> echo_h;
        if (kept.heads > 0) {
          echo_h = reference::Rows<To>(rows(b), keys(b));
          for (Index i = 0; i < rows(b); ++i)
            for (Index j = 0; j < keys(b); ++j) echo_h(i, j) = static_cast<To>(kept.at(b, h).gradient(i, j));
        }
        const auto d = reference::attention_backward(q_h, k_h, v_h, of, f, d_o_h, echo_h);
        const auto add = [](Matrix<To>& to, const reference::Rows<To>& x, Index first, Index head) {
          for (Index i = 0; i < x.rows; ++i)
            for (Index j = 0; j < x.cols; ++j) to(first + i, head * x.cols + j) += x(i, j);
        };
        add(e.o, f.o, row, h);
        add(e.d_q, d.q, row, h);
        add(e.d_k, d.k, key, h / g);
        add(e.d_v, d.v, key, h / g);
        for (Index i = 0; i < rows(b); ++i) e.log_sum_exp(row + i, h) = f.log_sum_exp[std::size_t(i)];
        if (c.sinks) e.d_sinks(0, h) += d.sink;
        e.d_bias.push_back(d.bias);
        e.a.push_back(f.a);
      }
    return e;
  }
  /// The longest sum that feeds a gradient: keys or the group's rows, and the head's width within.
  Index longest_sum() const {
    Index longest = 1;
    for (const Lengths& s : c.sequences) longest = std::max({longest, s.keys, s.rows * (c.heads / c.kv_heads)});
    return longest + c.width + c.value_width;
  }
};

/// max|x - oracle| / max|oracle|, where both are finite; -inf must be -inf.
template <class A, class B>
double error_of(const A& x, const B& oracle) {
  long double worst = 0, largest = 0;
  for (Index i = 0; i < x.rows(); ++i)
    for (Index j = 0; j < x.cols(); ++j) {
      const auto value = static_cast<long double>(x(i, j)), truth = static_cast<long double>(oracle(i, j));
      if (std::isinf(truth) && value == truth) continue;
      const long double difference = std::abs(value - truth);
      worst = difference <= worst ? worst : difference;  // NaN is worst
      largest = std::max(largest, std::abs(truth));
    }
  return static_cast<double>(largest > 0 ? worst / largest : worst);
}

/// err(heed) <= 2 max(err(naive in the same scalar), eps n), n the longest sum that feeds the tensor.
template <class Scalar, class X, class Naive, class Oracle>
void expect_as_good_as_naive(const char* name, const X& x, const Naive& naive, const Oracle& oracle, Index longest_sum) {
  ASSERT_EQ(x.rows(), oracle.rows());
  ASSERT_EQ(x.cols(), oracle.cols());
  const double floor = static_cast<double>(std::numeric_limits<Scalar>::epsilon()) * static_cast<double>(longest_sum);
  EXPECT_LE(error_of(x, oracle), 2 * std::max(error_of(naive, oracle), floor)) << name;
}

/// One of the oracle's probability tables next to a kept one.
template <class Scalar>
struct AsMatrix {
  const Probabilities<Scalar>& kept;
  Index rows() const { return kept.rows(); }
  Index cols() const { return kept.keys(); }
  Scalar operator()(Index i, Index j) const { return kept(i, j); }
};
template <class To>
struct RowsAsMatrix {
  const reference::Rows<To>& x;
  Index rows() const { return x.rows; }
  Index cols() const { return x.cols; }
  To operator()(Index i, Index j) const { return x(i, j); }
};

template <class Scalar>
void expect_matches_reference(const Case& c, bool keep, bool gradients = true) {
  std::ostringstream text;
  text << c;
  SCOPED_TRACE(text.str());
  heed::Serial serial;
  Workers workers(serial);
  Problem<Scalar> p(c, keep);
  p.forward(workers);
  if (keep) p.set_echo(5);
  if (gradients) p.backward(workers);
  const auto oracle = p.template expected<Wide<Scalar>>();
  const auto naive = p.template expected<Scalar>();
  const Index n = p.longest_sum();
  expect_as_good_as_naive<Scalar>("o", p.o, naive.o, oracle.o, n);
  expect_as_good_as_naive<Scalar>("log_sum_exp", p.log_sum_exp, naive.log_sum_exp, oracle.log_sum_exp, n);
  if (gradients) {
    expect_as_good_as_naive<Scalar>("d_q", p.d_q, naive.d_q, oracle.d_q, n);
    expect_as_good_as_naive<Scalar>("d_k", p.d_k, naive.d_k, oracle.d_k, n);
    expect_as_good_as_naive<Scalar>("d_v", p.d_v, naive.d_v, oracle.d_v, n);
  }
  if (gradients && c.sinks) {
    const Index rows = p.sequences.rows() + n;
    Matrix<Scalar> d_sinks = Eigen::Map<const Matrix<Scalar>>(p.d_sinks.data(), 1, c.heads);
    expect_as_good_as_naive<Scalar>("d_sinks", d_sinks, naive.d_sinks, oracle.d_sinks, rows);
  }
  for (std::size_t i = 0; gradients && c.added && i < oracle.d_bias.size(); ++i)
    expect_as_good_as_naive<Scalar>("d_bias", p.d_added[i], RowsAsMatrix<Scalar>{naive.d_bias[i]},
                                    RowsAsMatrix<Wide<Scalar>>{oracle.d_bias[i]}, n);
  for (Index i = 0; keep && i < Index(oracle.a.size()); ++i)
    expect_as_good_as_naive<Scalar>("a", AsMatrix<Scalar>{p.kept.entries[i]}, RowsAsMatrix<Scalar>{naive.a[std::size_t(i)]},
                                    RowsAsMatrix<Wide<Scalar>>{oracle.a[std::size_t(i)]}, n);
}

const std::vector<Mask> masks = {heed::causal(),        heed::window(1),         heed::window(50),
                                 heed::bidirectional(), heed::window(3, 2),      heed::prefix_lm(20),
                                 heed::streaming(3, 7), heed::streaming(70, 30), heed::chunked(48) & heed::key_length(131)};

template <class Scalar>
class Attend : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Attend, Scalars);

TYPED_TEST(Attend, EqualsTheDefinitionAroundTheEdgesOfTiles) {
  for (Index n : {1, 7, 63, 64, 65, 127, 128, 129, 200})
    for (const Mask& mask : {heed::causal(), heed::window(50)})
      expect_matches_reference<TypeParam>({.heads = 1, .kv_heads = 1, .width = 8, .mask = mask, .sequences = {{n, n}}},
                                          false);
}

TYPED_TEST(Attend, EqualsTheDefinitionUnderEveryMaskForEveryGrouping) {
  for (const Mask& mask : masks)
    for (Index kv_heads : {6, 2, 1})
      expect_matches_reference<TypeParam>(
          {.heads = 6, .kv_heads = kv_heads, .width = 5, .value_width = 3, .mask = mask, .sequences = {{37, 37}}}, false);
}

TYPED_TEST(Attend, EqualsTheDefinitionForEveryHeadWidth) {
  for (Index width : {1, 3, 8, 24, 64})
    for (Index rows : {1, 33})
      expect_matches_reference<TypeParam>(
          {.heads = 2, .kv_heads = 1, .width = width, .value_width = width, .sequences = {{rows, 33}}}, false);
}

TYPED_TEST(Attend, EqualsTheDefinitionWhenDecodingAfterAPast) {
  for (Index rows : {1, 2, 5, 9})
    for (Index keys : {9, 130, 1025})
      for (const Mask& mask : {heed::causal(), heed::window(100)})
        for (Index kv_heads : {2, 4})
          expect_matches_reference<TypeParam>(
              {.heads = 4, .kv_heads = kv_heads, .width = 8, .mask = mask, .sequences = {{rows, keys}}}, true);
}

TYPED_TEST(Attend, EqualsTheDefinitionWhenMoreHeadsShareAKeyThanABlockHolds) {
  expect_matches_reference<TypeParam>({.heads = 70, .kv_heads = 1, .width = 3, .value_width = 2, .sequences = {{3, 5}}},
                                      true);
}

TYPED_TEST(Attend, EqualsTheDefinitionOnRaggedBatches) {
  for (const Mask& mask : masks)
    expect_matches_reference<TypeParam>({.heads = 4,
                                         .kv_heads = 2,
                                         .width = 8,
                                         .value_width = 6,
                                         .mask = mask,
                                         .sequences = {{5, 5}, {0, 0}, {1, 40}, {66, 70}, {0, 9}, {2, 2100}, {20, 1500}}},
                                        true);
}

TYPED_TEST(Attend, KeepsProbabilitiesAndTakesTheirGradientsIntoAccount) {
  for (const Mask& mask : masks)
    for (Index n : {1, 65, 130})
      expect_matches_reference<TypeParam>({.heads = 2, .kv_heads = 1, .width = 8, .mask = mask, .sequences = {{n, n}}},
                                          true);
}

TYPED_TEST(Attend, OfNoHeadsOrNoRowsDoesNothing) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> no_heads(Case{.heads = 0, .kv_heads = 0, .sequences = {{3, 3}}});
  no_heads.forward(workers);
  no_heads.backward(workers);
  Problem<TypeParam> no_rows(Case{.sequences = {{0, 0}, {0, 4}}});
  no_rows.forward(workers);
  no_rows.backward(workers);
  EXPECT_TRUE(no_rows.d_k.isZero(0));
  EXPECT_TRUE(no_rows.d_v.isZero(0));
}

TYPED_TEST(Attend, ARowThatSeesNothingIsZeroWithZeroGradients) {
  heed::Serial serial;
  Workers workers(serial);
  // causal, 40 and 3 rows over fewer keys: the first rows stand before every key; and rows without any key
  Problem<TypeParam> p(Case{.heads = 4, .kv_heads = 2, .sequences = {{40, 5}, {3, 2}, {2, 0}, {20, 0}}}, true);
  p.forward(workers);
  p.set_echo(3);
  p.backward(workers);
  const TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  std::vector<Index> blind;
  for (Index i = 0; i < 35; ++i) blind.push_back(i);
  blind.push_back(40);
  for (Index i = 43; i < 65; ++i) blind.push_back(i);
  for (Index i : blind) {
    EXPECT_TRUE(p.o.row(i).isZero(0)) << i;
    EXPECT_TRUE(p.d_q.row(i).isZero(0)) << i;
    EXPECT_TRUE((p.log_sum_exp.row(i).array() == -infinity).all()) << i;
  }
  EXPECT_TRUE((p.log_sum_exp.row(35).array() > -infinity).all());
  EXPECT_TRUE(p.d_k.allFinite() && p.d_v.allFinite() && p.o.allFinite());
}

TYPED_TEST(Attend, NaNBehindTheMaskDoesNotLeak) {
  heed::Serial serial;
  Workers workers(serial);
  constexpr TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const Mask& mask : {heed::causal(), heed::window(5), Mask{3, 2}})
    for (Index rows : {1, 2, 30, 140})
      for (Index poisoned : {0, 20, 131, 136, 139}) {
        const Case c{.heads = 4, .kv_heads = rows == 2 ? 4 : 2, .mask = mask, .sequences = {{rows, 140}}};
        Problem<TypeParam> clean(c, true), p(c, true);
        p.k.row(poisoned).setConstant(nan);
        p.v.row(poisoned).setConstant(nan);
        for (Problem<TypeParam>* each : {&clean, &p}) {
          each->forward(workers);
          each->set_echo(3);
          each->backward(workers);
        }
        const auto equal = [](const auto& a, const auto& b) { return (a.array() == b.array()).all(); };
        // A key's gradient may be poisoned by a row that sees the poisoned key.
        std::vector<bool> touched(140, false);
        for (Index i = 0; i < rows; ++i) {
          const Index position = i + 140 - rows;
          const heed::Intervals seen = mask.visible(position, 140);
          const bool sees = seen.contains(poisoned);
          if (sees)
            for (Index j = 0; j < 140; ++j) touched[std::size_t(j)] = touched[std::size_t(j)] || seen.contains(j);
          EXPECT_EQ(p.o.row(i).hasNaN(), sees) << i;
          EXPECT_EQ(p.d_q.row(i).hasNaN(), sees) << i;
          if (sees) continue;
          EXPECT_TRUE(equal(p.o.row(i), clean.o.row(i))) << i;
          EXPECT_TRUE(equal(p.log_sum_exp.row(i), clean.log_sum_exp.row(i))) << i;
          for (Index j = 0; j < 140; ++j) EXPECT_EQ(p.kept.at(0, 0)(i, j), clean.kept.at(0, 0)(i, j));
        }
        for (Index j = 0; j < 140; ++j) {
          if (touched[std::size_t(j)]) continue;
          EXPECT_FALSE(p.d_k.row(j).hasNaN()) << j;
          EXPECT_FALSE(p.d_v.row(j).hasNaN()) << j;
        }

        // and the same of given probabilities
        Problem<TypeParam> given(c, true);
        given.v.row(poisoned).setConstant(nan);
        for (Index h = 0; h < 4; ++h) given.kept.at(0, h) = clean.kept.at(0, h);
        heed::attend(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences, heed::mutable_view_of(given.o),
                     workers);
        heed::attend_backward(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences, heed::view_of(given.d_o),
                              workers);
        for (Index i = 0; i < rows; ++i) {
          const heed::Intervals seen = given.kept.at(0, 0).visible(i);
          EXPECT_EQ(given.o.row(i).hasNaN(), seen.contains(poisoned)) << i;
          for (Index j = 0; j < 140; ++j)
            EXPECT_EQ(std::isnan(given.kept.at(0, 1).gradient(i, j)), j == poisoned && seen.contains(j));
        }
        EXPECT_FALSE(given.d_v.hasNaN());
      }
}

TYPED_TEST(Attend, ANaNQueryPoisonsOnlyWhatItSees) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{70, 70}}}), clean(p.c);
  p.q.row(10).setConstant(std::numeric_limits<TypeParam>::quiet_NaN());
  p.d_o.row(20).setConstant(std::numeric_limits<TypeParam>::quiet_NaN());
  p.forward(workers);
  p.backward(workers);
  for (Index i = 0; i < 70; ++i) {
    EXPECT_EQ(p.o.row(i).hasNaN(), i == 10) << i;
    EXPECT_EQ(p.d_q.row(i).hasNaN(), i == 10 || i == 20) << i;
    EXPECT_EQ(p.d_k.row(i).hasNaN(), i <= 20) << i;
    EXPECT_EQ(p.d_v.row(i).hasNaN(), i <= 20) << i;
  }
}

TYPED_TEST(Attend, ANaNGradientOfARowReachesOnlyTheValuesItSees) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{70, 70}}}, true);
  p.forward(workers);
  p.d_o.row(20).setConstant(std::numeric_limits<TypeParam>::quiet_NaN());
  heed::attend_backward(heed::Given<TypeParam>{p.kept}, p.v_heads, p.sequences, heed::view_of(p.d_o), workers);
  for (Index j = 0; j < 70; ++j) EXPECT_EQ(p.d_v.row(j).hasNaN(), j <= 20) << j;
}

TYPED_TEST(Attend, LargeLogitsStayFinite) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.sequences = {{1, 30}, {40, 40}}});
  p.q *= TypeParam(1000);
  p.k *= TypeParam(1000);
  p.forward(workers);
  p.backward(workers);
  EXPECT_TRUE(p.o.allFinite() && p.d_q.allFinite() && p.d_k.allFinite() && p.d_v.allFinite());
}

TYPED_TEST(Attend, AddsToWhatIsThere) {
  heed::Serial serial;
  Workers workers(serial);
  const Case c{.sequences = {{1, 30}, {40, 40}}};
  Problem<TypeParam> once(c), twice(c);
  once.forward(workers);
  once.backward(workers);
  twice.forward(workers);
  twice.backward(workers);
  twice.backward(workers);
  EXPECT_TRUE(twice.d_q.isApprox(2 * once.d_q));
  EXPECT_TRUE(twice.d_k.isApprox(2 * once.d_k));
  EXPECT_TRUE(twice.d_v.isApprox(2 * once.d_v));
  heed::attend(twice.computed(), twice.v_heads, twice.sequences, heed::mutable_view_of(twice.o), workers);
  EXPECT_TRUE(twice.o.isApprox(2 * once.o));
}

template <class Scalar>
bool same_bits(const Matrix<Scalar>& a, const Matrix<Scalar>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(Scalar) * std::size_t(a.size())) == 0;
}

TYPED_TEST(Attend, HasTheSameBitsForAnyNumberOfWorkers) {
  for (const bool options : {false, true}) {
    Case c{.heads = 4, .kv_heads = 2, .sequences = {{150, 150}, {1, 3000}, {0, 4}, {12, 2500}, {3, 7}}};
    if (options) c.soft_cap = 3, c.slopes = c.sinks = c.shown = true, c.mask = heed::streaming(5, 1400);
    const auto run = [&](heed::Executor& executor, Problem<TypeParam>& p, Problem<TypeParam>& reader) {
      Workers workers(executor);
      p.forward(workers);
      heed::attend(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::mutable_view_of(reader.o), workers);
      heed::attend_backward(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::view_of(reader.d_o),
                            workers);
      p.backward(workers);
    };
    heed::Serial serial;
    Problem<TypeParam> one(c, true), reader_one(c, false, 2);
    run(serial, one, reader_one);
    Reversed reversed_one(1), reversed_two(2), reversed_three(3);
    Threads two(2), three(3);
    for (heed::Executor* executor :
         std::initializer_list<heed::Executor*>{&reversed_one, &reversed_two, &reversed_three, &two, &three}) {
      Problem<TypeParam> p(c, true), reader(c, false, 2);
      run(*executor, p, reader);
      EXPECT_TRUE(same_bits(p.o, one.o));
      EXPECT_TRUE(same_bits(p.log_sum_exp, one.log_sum_exp));
      EXPECT_TRUE(same_bits(p.d_q, one.d_q));
      EXPECT_TRUE(same_bits(p.d_k, one.d_k));
      EXPECT_TRUE(same_bits(p.d_v, one.d_v));
      EXPECT_TRUE(same_bits(reader.o, reader_one.o));
      EXPECT_TRUE(same_bits(reader.d_v, reader_one.d_v));
      for (Index i = 0; i < 150; ++i)
        for (Index j = 0; j < 150; ++j) {
          ASSERT_EQ(p.kept.at(0, 3)(i, j), one.kept.at(0, 3)(i, j));
          ASSERT_EQ(p.kept.at(0, 3).gradient(i, j), one.kept.at(0, 3).gradient(i, j));
        }
      EXPECT_EQ(p.d_sinks, one.d_sinks);
    }
  }
}

TYPED_TEST(Attend, OfGivenProbabilitiesEqualsTheDefinition) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Mask& mask : masks) {
    const Case c{.heads = 4,
                 .kv_heads = 2,
                 .value_width = 5,
                 .mask = mask,
                 .sequences = {{5, 5}, {0, 0}, {1, 40}, {66, 140}, {0, 9}, {2, 2100}, {20, 1500}}};
    Problem<TypeParam> p(c, true), reader(c, false, 9);
    p.forward(workers);
    reader.o.setZero();
    heed::attend(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::mutable_view_of(reader.o), workers);
    heed::attend_backward(heed::Given<TypeParam>{p.kept}, reader.v_heads, p.sequences, heed::view_of(reader.d_o), workers);
    const auto expected = [&]<class To>(To) {
      auto e = typename Problem<TypeParam>::template Expected<To>{};
      e.o.setZero(reader.o.rows(), reader.o.cols());
      e.d_v.setZero(reader.v.rows(), reader.v.cols());
      for (Index b = 0; b < p.kept.sequences; ++b)
        for (Index h = 0; h < c.heads; ++h) {
          reference::Rows<To> a(p.rows(b), p.keys(b)), d_a(p.rows(b), p.keys(b));
          const Index row = p.sequences.begin(b), key = p.first_key(b), kv = h / 2;
          const auto v = reader.template part<To>(reader.v, key, p.keys(b), kv, c.value_width);
          const auto d_o = reader.template part<To>(reader.d_o, row, p.rows(b), h, c.value_width);
          for (Index i = 0; i < a.rows; ++i)
            for (Index j = 0; j < a.cols; ++j) a(i, j) = static_cast<To>(p.kept.at(b, h)(i, j));
          const auto of = p.template logits<To>(b, h);
          const auto o = reference::probabilities_times_values(a, v, of);
          for (Index i = 0; i < o.rows; ++i)
            for (Index e_v = 0; e_v < o.cols; ++e_v) e.o(row + i, h * c.value_width + e_v) = o(i, e_v);
          for (Index i = 0; i < a.rows; ++i)
            for (Index j = 0; j < a.cols; ++j)
              for (Index e_v = 0; e_v < v.cols && of.see(i, j); ++e_v) {
                e.d_v(key + j, kv * c.value_width + e_v) += a(i, j) * d_o(i, e_v);
                d_a(i, j) += d_o(i, e_v) * v(j, e_v);
              }
          e.a.push_back(d_a);
        }
      return e;
    };
    const auto oracle = expected(Wide<TypeParam>{});
    const auto naive = expected(TypeParam{});
    const Index n = p.longest_sum();
    expect_as_good_as_naive<TypeParam>("o", reader.o, naive.o, oracle.o, n);
    expect_as_good_as_naive<TypeParam>("d_v", reader.d_v, naive.d_v, oracle.d_v, n);
    for (Index i = 0; i < Index(oracle.a.size()); ++i) {
      const Probabilities<TypeParam>& kept = p.kept.entries[i];
      Matrix<TypeParam> gradient(kept.rows(), kept.keys());
      for (Index row = 0; row < kept.rows(); ++row) kept.read_gradient_row(row, gradient.row(row).data());
      expect_as_good_as_naive<TypeParam>("d_a", gradient, RowsAsMatrix<TypeParam>{naive.a[std::size_t(i)]},
                                         RowsAsMatrix<Wide<TypeParam>>{oracle.a[std::size_t(i)]}, n);
    }
  }
}

TYPED_TEST(Attend, OfGivenHeadsThatAreNotKeptAddsNothing) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.sequences = {{1, 9}, {33, 33}}}, true);
  for (Index b = 0; b < 2; ++b) p.kept.at(b, 1) = {};
  p.forward(workers);
  Matrix<TypeParam> o = Matrix<TypeParam>::Zero(p.o.rows(), p.o.cols());
  heed::attend(heed::Given<TypeParam>{p.kept}, p.v_heads, p.sequences, heed::mutable_view_of(o), workers);
  EXPECT_TRUE(o.leftCols(8).isApprox(p.o.leftCols(8)));
  EXPECT_TRUE(o.rightCols(8).isZero(0));
}

/// One option of logits at a time, and all together.
std::vector<Case> with_options(const Case& c) {
  std::vector<Case> all(7, c);
  all[0].soft_cap = 2;
  all[1].slopes = true;
  all[2].sinks = true;
  all[3].added = true;
  all[4].shown = true;
  all[5].offset = -2;
  all[6].soft_cap = 1, all[6].slopes = all[6].sinks = all[6].added = all[6].shown = true, all[6].offset = 3;
  return all;
}

TYPED_TEST(Attend, EqualsTheDefinitionUnderEveryOptionOfLogits) {
  for (const Mask& mask : {heed::causal(), heed::bidirectional(), heed::streaming(3, 9), heed::prefix_lm(5)})
    for (const Case& c : with_options({.heads = 4,
                         .kv_heads = 2,
                         .width = 3,
                         .value_width = 2,
                         .mask = mask,
                         .sequences = {{5, 5}, {0, 4}, {1, 130}, {70, 75}, {2, 9}}}))
      expect_matches_reference<TypeParam>(c, true);
}

TYPED_TEST(Attend, EqualsTheDefinitionWhenFewRowsSeeTwoIntervalsInManyCuts) {
  for (const Mask& mask : {heed::streaming(3, 50), heed::streaming(1500, 600), heed::streaming(2600, 9),
                           heed::chunked(2000), heed::prefix_lm(2900)})
    for (const Case& c : {Case{.heads = 2, .kv_heads = 2, .mask = mask, .sequences = {{1, 2800}, {2, 3000}}},
                          Case{.heads = 4, .kv_heads = 2, .mask = mask, .sequences = {{20, 2700}}}})
      expect_matches_reference<TypeParam>(c, true);
}

TYPED_TEST(Attend, OverRowsIn16BitsIsAttendOverWhatTheyHold) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Storage storage : {Storage::bfloat16, Storage::half})
    for (const Mask& mask : {heed::causal(), heed::streaming(3, 40)}) {
      const Case c{.heads = 4,
                   .kv_heads = 2,
                   .width = 5,
                   .value_width = 3,
                   .mask = mask,
                   .sequences = {{70, 75}, {1, 1500}, {2, 70}, {20, 90}},
                   .storage = storage};
      Problem<TypeParam> narrow(c, true), wide(c, true);
      for (Index b = 0; b < 4; ++b)
        for (Index g = 0; g < 2; ++g) {
          const Index row = wide.first_key(b);
          wide.k_heads.at(b, g).storage = wide.v_heads.at(b, g).storage = Storage::arithmetic;
          wide.k_heads.at(b, g).data = wide.k.data() + row * wide.k.cols() + g * 5;
          wide.v_heads.at(b, g).data = wide.v.data() + row * wide.v.cols() + g * 3;
        }
      for (Problem<TypeParam>* each : {&narrow, &wide}) {
        each->forward(workers);
        each->set_echo(4);
        each->backward(workers);
      }
      EXPECT_TRUE(same_bits(narrow.o, wide.o));
      EXPECT_TRUE(same_bits(narrow.log_sum_exp, wide.log_sum_exp));
      EXPECT_TRUE(same_bits(narrow.d_q, wide.d_q));
      EXPECT_TRUE(same_bits(narrow.d_k, wide.d_k));
      EXPECT_TRUE(same_bits(narrow.d_v, wide.d_v));
      for (Problem<TypeParam>* each : {&narrow, &wide}) {
        const heed::Given<TypeParam> given{each->kept};
        heed::attend(given, each->v_heads, each->sequences, heed::mutable_view_of(each->o), workers);
        heed::attend_backward(given, each->v_heads, each->sequences, heed::view_of(each->d_o), workers);
      }
      // the same products in the same order; rows of one tile at a time, so that sums may be cut elsewhere
      expect_as_good_as_naive<TypeParam>("o", narrow.o, wide.o, wide.o.template cast<Wide<TypeParam>>(), 1500);
      EXPECT_TRUE(same_bits(narrow.d_v, wide.d_v));
    }
}

// Each number is off by u of itself, so a logit by d = u scale max sum |q k|, a probability by a factor of e^2d.
TYPED_TEST(Attend, OverRowsIn16BitsIsAsFarOffAsTheirRoundingAllows) {
  heed::Serial serial;
  Workers workers(serial);
  for (const auto& [storage, u] : {std::pair(Storage::bfloat16, 0x1p-8), std::pair(Storage::half, 0x1p-11)})
    for (const Index rows : {1, 40}) {
      const Case plain{.heads = 2, .kv_heads = 1, .sequences = {{rows, 90}}};
      Case rounded = plain;
      rounded.storage = storage;
      Problem<TypeParam> p(rounded);
      const Problem<TypeParam> unrounded(plain);
      p.forward(workers);
      const auto exact = unrounded.template expected<Wide<TypeParam>>().o;
      double sum = 0;
      for (Index i = 0; i < rows; ++i)
        for (Index h = 0; h < 2; ++h)
          for (Index j = 0; j < 90; ++j)
            sum = (std::max)(
                sum, static_cast<double>(p.q.row(i).segment(h * 8, 8).cwiseProduct(unrounded.k.row(j)).cwiseAbs().sum()));
      const double d = u * static_cast<double>(p.scale) * sum;
      const double largest = static_cast<double>(unrounded.v.cwiseAbs().maxCoeff());
      const double arithmetic = static_cast<double>(std::numeric_limits<TypeParam>::epsilon()) * 100;
      const double off = static_cast<double>((p.o.template cast<Wide<TypeParam>>() - exact).cwiseAbs().maxCoeff());
      EXPECT_LE(off, ((1 + u) * std::exp(2 * d) - 1 + arithmetic) * largest) << heed::name_of(storage);
      EXPECT_GT(off, 0) << "it was rounded";
    }
}

TYPED_TEST(Attend, NaNBehindABiasDoesNotLeak) {
  heed::Serial serial;
  Workers workers(serial);
  constexpr TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN(),
                      infinity = std::numeric_limits<TypeParam>::infinity();
  constexpr Index keys = 90;
  for (const bool by_flag : {false, true})
    for (const Index rows : {1, 2, 70})
      for (const double cap : {0.0, 5.0})
        for (const TypeParam poison : {nan, infinity}) {
          Case c{.heads = 4, .kv_heads = rows == 2 ? 4 : 2, .mask = heed::bidirectional(), .sequences = {{rows, keys}}};
          c.soft_cap = cap, c.added = true, c.shown = by_flag, c.slopes = c.sinks = true;
          Problem<TypeParam> clean(c, true), p(c, true);
          for (Problem<TypeParam>* each : {&clean, &p}) {
            for (std::size_t h = 0; h < 4; ++h) {  // key 7 is hidden from all rows, key 66 from all but the last
              for (const Index key : {7, 66})
                for (Index i = 0; i < rows - (key == 66 ? 1 : 0); ++i) {
                  if (by_flag)
                    each->shown[h](i, key) = false;
                  else
                    each->added[h](i, key) = -infinity;
                }
              each->shown[h](rows - 1, 66) = true, each->added[h](rows - 1, 66) = 0;
            }
          }
          for (const Index key : {7, 66}) p.k.row(key).setConstant(poison), p.v.row(key).setConstant(poison);
          for (Problem<TypeParam>* each : {&clean, &p}) {
            each->forward(workers);
            each->set_echo(3);
            each->backward(workers);
          }
          EXPECT_EQ(p.kept.at(0, 0)(rows - 1, 7), TypeParam(0));
          EXPECT_FALSE(p.o.row(rows - 1).allFinite());
          // the same products, added in another order
          const Matrix<TypeParam> others = p.o.topRows(rows - 1), clean_others = clean.o.topRows(rows - 1);
          expect_as_good_as_naive<TypeParam>("o", others, clean_others, clean_others.template cast<Wide<TypeParam>>(),
                                             keys);
          EXPECT_TRUE(p.d_q.topRows(rows - 1).allFinite());
          for (const Matrix<TypeParam>* d : {&p.d_k, &p.d_v}) EXPECT_TRUE(d->row(7).isZero(0));
          for (std::size_t h = 0; h < 4; ++h)
            for (Index i = 0; i < rows; ++i) EXPECT_EQ(p.d_added[h](i, 7), TypeParam(0));

          // and given probabilities; the last row sees key 66, and so do its gradients
          Problem<TypeParam> given(c, true);
          for (const Index key : {7, 66}) given.v.row(key).setConstant(poison);
          for (Index h = 0; h < 4; ++h) given.kept.at(0, h) = clean.kept.at(0, h);
          given.o.setZero();
          heed::attend(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences, heed::mutable_view_of(given.o),
                       workers);
          heed::attend_backward(heed::Given<TypeParam>{given.kept}, given.v_heads, given.sequences,
                                heed::view_of(given.d_o), workers);
          EXPECT_FALSE(given.o.row(rows - 1).allFinite());
          EXPECT_TRUE(given.o.topRows(rows - 1).allFinite());
          for (Index i = 0; i < rows; ++i) EXPECT_TRUE(std::isfinite(given.kept.at(0, 2).gradient(i, 7)));
          EXPECT_TRUE(given.d_v.allFinite());
        }
}

TYPED_TEST(Attend, ARowThatABiasHidesEverythingFromIsZeroWithZeroGradients) {
  heed::Serial serial;
  Workers workers(serial);
  constexpr TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  for (const bool sinks : {false, true})
    for (const Index rows : {1, 40}) {
      Case c{.heads = 2, .kv_heads = 1, .sequences = {{rows, 50}}, .sinks = sinks, .added = true};
      Problem<TypeParam> p(c, true);
      for (Matrix<TypeParam>& of_head : p.added) of_head.row(0).setConstant(-infinity);
      p.forward(workers);
      p.set_echo(2);
      p.backward(workers);
      EXPECT_TRUE(p.o.row(0).isZero(0));
      EXPECT_TRUE(p.d_q.row(0).isZero(0));
      for (Index h = 0; h < 2; ++h) EXPECT_EQ(p.log_sum_exp(0, h), sinks ? p.sinks[std::size_t(h)] : -infinity);
      EXPECT_TRUE(p.d_added[0].row(0).isZero(0));
      for (Index j = 0; j < 50; ++j) EXPECT_EQ(p.kept.at(0, 0)(0, j), TypeParam(0));
      EXPECT_TRUE(p.d_k.allFinite() && p.d_v.allFinite());
      for (const TypeParam d : p.d_sinks) EXPECT_TRUE(std::isfinite(d));
    }
}

TYPED_TEST(Attend, ASinkOfMinusInfinityIsNoSink) {
  heed::Serial serial;
  Workers workers(serial);
  const Case without{.sequences = {{1, 30}, {40, 40}}};
  Case with = without;
  with.sinks = true;
  Problem<TypeParam> plain(without), p(with);
  p.sinks.assign(2, -std::numeric_limits<TypeParam>::infinity());
  p.q = plain.q, p.k = plain.k, p.v = plain.v, p.d_o = plain.d_o;
  for (Problem<TypeParam>* each : {&plain, &p}) each->forward(workers), each->backward(workers);
  EXPECT_TRUE(same_bits(p.o, plain.o));
  EXPECT_TRUE(same_bits(p.log_sum_exp, plain.log_sum_exp));
  EXPECT_TRUE(same_bits(p.d_q, plain.d_q));
  EXPECT_EQ(p.d_sinks, (std::vector<TypeParam>{0, 0}));
}

TYPED_TEST(Attend, ScoresOfAnySizeStayFinite) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Case& c : with_options({.heads = 2, .kv_heads = 1, .sequences = {{1, 30}, {40, 40}}})) {
    Problem<TypeParam> p(c);
    p.q *= TypeParam(1e15);  // scores of 10^30
    p.k *= TypeParam(1e15);
    p.forward(workers);
    p.backward(workers);
    EXPECT_TRUE(p.o.allFinite() && p.d_q.allFinite() && p.d_k.allFinite() && p.d_v.allFinite()) << c;
    for (const Matrix<TypeParam>& d : p.d_added) EXPECT_TRUE(d.allFinite()) << c;
  }
}

TYPED_TEST(Attend, EqualScoresAverageTheValues) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Index rows : {1, 70}) {
    Problem<TypeParam> p(Case{.mask = heed::bidirectional(), .sequences = {{rows, 70}}});
    p.q.setZero();
    p.v.setConstant(TypeParam(0.75));
    p.forward(workers);
    EXPECT_LE((p.o.array() - TypeParam(0.75)).abs().maxCoeff(), 70 * std::numeric_limits<TypeParam>::epsilon());
  }
}

TYPED_TEST(Attend, OfOnePositionIsItsValue) {
  heed::Serial serial;
  Workers workers(serial);
  Problem<TypeParam> p(Case{.heads = 1, .kv_heads = 1, .sequences = {{1, 1}}});
  p.forward(workers);
  p.backward(workers);
  EXPECT_TRUE(same_bits(p.o, p.v));
  // backward forms z, a sum of 8 products, once more: p = e^(z - lse) is 1 up to its rounding
  const TypeParam z = std::abs(p.log_sum_exp(0, 0)) + 1;
  EXPECT_LE((p.d_v - p.d_o).cwiseAbs().maxCoeff(),
            8 * z * std::numeric_limits<TypeParam>::epsilon() * p.d_o.cwiseAbs().maxCoeff());
  EXPECT_TRUE(p.d_q.isZero(std::numeric_limits<TypeParam>::epsilon() * 8 * 8));
}

TYPED_TEST(Attend, HeadsThatShareABiasAddToOneGradient) {
  heed::Serial serial;
  Workers workers(serial);
  const Case c{.heads = 4, .kv_heads = 2, .sequences = {{9, 9}, {9, 9}}, .added = true};
  Problem<TypeParam> apart(c), shared(c);
  for (Problem<TypeParam>* each : {&apart, &shared})
    for (Matrix<TypeParam>& of_head : each->added) of_head.setConstant(TypeParam(0.5));
  for (Index i = 0; i < 8; ++i) {
    shared.bias.entries[i].gradient = shared.d_added[0].data();
    shared.bias.entries[i].gradient_stride = 0;  // and so do all rows
    shared.bias.entries[i].stride = 0;
  }
  for (Problem<TypeParam>* each : {&apart, &shared}) each->forward(workers), each->backward(workers);
  Matrix<TypeParam> sum = Matrix<TypeParam>::Zero(1, 9);
  for (const Matrix<TypeParam>& d : apart.d_added) sum += d.colwise().sum();
  EXPECT_LE((shared.d_added[0].row(0) - sum).cwiseAbs().maxCoeff(),
            std::numeric_limits<TypeParam>::epsilon() * 8 * 9 * sum.cwiseAbs().maxCoeff());
}

// d/dx dot(o, d_o) + dot(a, echo) by central differences: with step h = eps^(1/3), the truncation error h^2 |f'''| / 6 and
// the rounding error eps |f| / h are both of the order eps^(2/3) times the size of f, whose terms are counted.
TEST(AttendGradients, AreThoseOfCentralDifferences) {
  heed::Serial serial;
  Workers workers(serial);
  for (const Mask& mask : {heed::causal(), heed::window(3), heed::bidirectional()}) {
    Problem<double> p(
        Case{.heads = 4, .kv_heads = 2, .width = 3, .value_width = 2, .mask = mask, .sequences = {{5, 7}, {1, 1}, {4, 3}}},
        true);
    p.forward(workers);
    p.set_echo(8);
    p.backward(workers);
    const auto objective = [&] {
      p.forward(workers);
      double sum = p.o.cwiseProduct(p.d_o).sum();
      for (Index b = 0; b < 3; ++b)
        for (Index h = 0; h < 4; ++h)
          for (Index i = 0; i < p.rows(b); ++i)
            for (Index j = 0; j < p.keys(b); ++j) sum += p.kept.at(b, h)(i, j) * p.kept.at(b, h).gradient(i, j);
      return sum;
    };
    const double eps = std::numeric_limits<double>::epsilon();
    const double h = std::cbrt(eps), terms = static_cast<double>(p.o.size() + 4 * (5 * 7 + 1 + 4 * 3));
    const auto check = [&](const char* name, Matrix<double>& x, const Matrix<double>& d_x) {
      for (Index i = 0; i < x.size(); ++i) {
        const double at = x.data()[i];
        x.data()[i] = at + h;
        const double above = objective();
        x.data()[i] = at - h;
        const double below = objective();
        x.data()[i] = at;
        EXPECT_NEAR(d_x.data()[i], (above - below) / (2 * h), h * h * terms) << name << " " << i;
      }
    };
    check("q", p.q, p.d_q);
    check("k", p.k, p.d_k);
    check("v", p.v, p.d_v);
  }
}

TEST(AttendMemory, Of32kPositionsIsBounded) {
  heed::Serial serial;
  constexpr Index positions = 32768;
  for (Index rows : {Index(1), Index(200), positions}) {
    Case c{.heads = 2, .kv_heads = 1, .width = 4, .value_width = 4, .sequences = {{rows, positions}}};
    if (rows == positions) c.mask = heed::window(300);
    Workers workers(&serial, std::size_t(1) << 18);
    Problem<float> p(c);
    p.forward(workers);
    EXPECT_EQ(workers.blocks(), 1u) << "256 KiB were not enough";
    EXPECT_TRUE(p.o.allFinite());
  }
}

// Keys are zero, so that all scores are equal, and values are 0 and 1 in turn: sums are whole numbers, and exact.
TEST(AttendMemory, OfLongSequencesIsBoundedAndTheirMeansAreRight) {
  struct Long {
    Mask mask;
    Index rows, keys;
  };
  for (const Long& c : {Long{heed::causal(), 32768, 32768}, Long{heed::window(300), 100000, 100000},
                        Long{heed::streaming(5, 200), 100000, 100000}, Long{heed::causal(), 1, 100000},
                        Long{heed::streaming(5, 200), 1, 100000}, Long{heed::prefix_lm(100000), 1, 100000}}) {
    const Matrix<float> q = Matrix<float>::Ones(c.rows, 1), k = Matrix<float>::Zero(c.keys, 1);
    Matrix<float> v(c.keys, 1), y(c.rows, 1);
    for (Index j = 0; j < c.keys; ++j) v(j, 0) = static_cast<float>(j % 2);
    Workers workers(nullptr, std::size_t(1) << 18);
    heed::attend_into(q, k, v, {.mask = c.mask}, y, workers);
    // scratch and one log-sum-exp a row; an arena that was too small at most doubles
    EXPECT_LE(workers.capacity(), 2 * ((std::size_t(1) << 18) + sizeof(float) * std::size_t(c.rows)));
    Index wrong = 0;
    for (Index i = 0; i < c.rows; ++i) {
      Index ones = 0, seen = 0;
      for (const heed::Interval part : c.mask.visible(i + c.keys - c.rows, c.keys)) {
        ones += part.end / 2 - part.begin / 2;
        seen += part.size();
      }
      const float mean = static_cast<float>(ones) / static_cast<float>(seen);
      wrong += std::abs(y(i, 0) - mean) <= 2 * std::numeric_limits<float>::epsilon() * mean ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0) << c.rows << " rows over " << c.keys << " keys";
  }
}

TEST(AttendMemory, RepeatedCallsDoNotGrow) {
  heed::Serial serial;
  const Case c{.heads = 32, .kv_heads = 8, .width = 64, .value_width = 64, .sequences = {{1, 8192}}};
  Problem<float> p(c);
  Workers workers(&serial, heed::attend_scratch_bytes<float>(1, 1, 8192, 32, 8, 64, 64));
  for (int i = 0; i < 2; ++i) p.forward(workers);
  EXPECT_EQ(workers.blocks(), 1u);
}

TEST(AttendMemory, IsWhatWasPredicted) {
  heed::Serial serial;
  for (const Case& c :
       {Case{.heads = 2, .kv_heads = 2, .width = 1, .value_width = 1, .sequences = {{2, 1020}}},
        Case{.heads = 8, .kv_heads = 2, .width = 24, .value_width = 40, .sequences = {{100, 100}}},
        Case{.heads = 70, .kv_heads = 1, .width = 64, .value_width = 64, .sequences = {{2, 5000}, {0, 3}}},
        Case{.heads = 6, .kv_heads = 3, .width = 128, .value_width = 128, .sequences = {{1, 9000}, {30, 8000}}},
        Case{.heads = 8, .kv_heads = 1, .width = 8, .value_width = 64, .sequences = {{30, 3000}, {32, 3000}}},
        Case{.heads = 8,
        .kv_heads = 2,
        .width = 24,
        .value_width = 40,
        .sequences = {{100, 100}, {1, 3000}},
        .soft_cap = 2,
        .slopes = true,
        .sinks = true,
        .storage = Storage::half}}) {
    Index rows = 0, keys = 0;
    for (const Lengths& s : c.sequences) rows += s.rows, keys = std::max(keys, s.keys);
    Problem<double> p(c, true);
    Workers workers(&serial, heed::attend_scratch_bytes<double>(Index(c.sequences.size()), rows, keys, c.heads, c.kv_heads,
                                                                c.width, c.value_width));
    p.forward(workers);
    p.backward(workers);
    heed::attend(heed::Given<double>{p.kept}, p.v_heads, p.sequences, heed::mutable_view_of(p.o), workers);
    heed::attend_backward(heed::Given<double>{p.kept}, p.v_heads, p.sequences, heed::view_of(p.d_o), workers);
    EXPECT_EQ(workers.blocks(), 1u) << c;
  }
}

TYPED_TEST(Attend, AsAFreeFunctionEqualsTheDefinition) {
  const Problem<TypeParam> p(Case{.heads = 8, .kv_heads = 2, .width = 4, .value_width = 3, .sequences = {{21, 30}}});
  const auto oracle = p.template expected<Wide<TypeParam>>();
  const auto naive = p.template expected<TypeParam>();
  const Matrix<TypeParam> y = heed::attend(p.q, p.k, p.v, {.heads = 8, .kv_heads = 2});
  expect_as_good_as_naive<TypeParam>("y", y, naive.o, oracle.o, p.longest_sum());
  Matrix<TypeParam> into = Matrix<TypeParam>::Constant(25, 24, TypeParam(5));
  heed::attend_into(p.q, p.k, p.v, {.heads = 8, .kv_heads = 2}, into.middleRows(2, 21));
  EXPECT_TRUE(same_bits<TypeParam>(into.middleRows(2, 21), y));
  EXPECT_EQ(into(1, 0), TypeParam(5));
  EXPECT_EQ(into(23, 0), TypeParam(5));
}

TYPED_TEST(Attend, AsAFreeFunctionTakesBlocksAndAScale) {
  Problem<TypeParam> p(
      Case{.heads = 1, .kv_heads = 1, .width = 4, .value_width = 4, .mask = heed::bidirectional(), .sequences = {{6, 6}}});
  Matrix<TypeParam> wide(6, 12);
  wide << p.q, p.k, p.v;
  const Matrix<TypeParam> y = heed::attend(p.q, p.k, p.v, {.mask = heed::bidirectional(), .scale = 0.25});
  const Matrix<TypeParam> of_blocks = heed::attend(wide.leftCols(4), wide.middleCols(4, 4), wide.rightCols(4),
                                                   {.mask = heed::bidirectional(), .scale = 0.25});
  EXPECT_TRUE(same_bits(y, of_blocks));
  p.scale = TypeParam(0.25);
  expect_as_good_as_naive<TypeParam>("y", y, p.template expected<TypeParam>().o, p.template expected<Wide<TypeParam>>().o,
                                     p.longest_sum());
}

/// The options of a free call that say what a problem of one sequence says.
template <class Scalar>
heed::AttendOptions options_of(const Problem<Scalar>& p, const Matrix<Scalar>& sinks, const Matrix<Scalar>& bias,
                               const Matrix<bool>& shown) {
  heed::AttendOptions options{.heads = p.c.heads, .kv_heads = p.c.kv_heads, .mask = p.c.mask, .soft_cap = p.c.soft_cap};
  if (p.c.offset != 0) options.offset = p.offsets[0];
  if (p.c.slopes) options.slopes = p.slopes;
  if (p.c.sinks) options.sinks = sinks;
  if (p.c.added) options.bias = bias;
  if (p.c.shown) options.shown = shown;
  return options;
}

TYPED_TEST(Attend, AsAFreeFunctionTakesEveryOptionForwardAndBackward) {
  for (const Mask& mask : {heed::causal(), heed::bidirectional()})
    for (const Case& c :
         with_options({.heads = 4, .kv_heads = 2, .width = 3, .value_width = 2, .mask = mask, .sequences = {{11, 14}}})) {
      SCOPED_TRACE(testing::Message() << c);
      Problem<TypeParam> p(c);
      Matrix<TypeParam> sinks(1, 4), bias(44, 14);
      Matrix<bool> shown(44, 14);
      for (Index h = 0; h < 4; ++h) {
        if (c.sinks) sinks(0, h) = p.sinks[std::size_t(h)];
        if (c.added) bias.middleRows(h * 11, 11) = p.added[std::size_t(h)];
        if (c.shown) shown.middleRows(h * 11, 11) = p.shown[std::size_t(h)];
      }
      const heed::AttendOptions options = options_of(p, sinks, bias, shown);
      heed::Attended<TypeParam> out;
      heed::attend_into(p.q, p.k, p.v, options, out);
      const auto d = heed::attend_backward(p.q, p.k, p.v, options, out, p.d_o);
      const auto oracle = p.template expected<Wide<TypeParam>>();
      const auto naive = p.template expected<TypeParam>();
      const Index n = p.longest_sum();
      EXPECT_TRUE(same_bits(heed::attend(p.q, p.k, p.v, options), out.y));
      expect_as_good_as_naive<TypeParam>("y", out.y, naive.o, oracle.o, n);
      expect_as_good_as_naive<TypeParam>("log_sum_exp", out.log_sum_exp, naive.log_sum_exp, oracle.log_sum_exp, n);
      expect_as_good_as_naive<TypeParam>("d_q", d.q, naive.d_q, oracle.d_q, n);
      expect_as_good_as_naive<TypeParam>("d_k", d.k, naive.d_k, oracle.d_k, n);
      expect_as_good_as_naive<TypeParam>("d_v", d.v, naive.d_v, oracle.d_v, n);
      if (c.sinks) expect_as_good_as_naive<TypeParam>("d_sinks", d.sinks, naive.d_sinks, oracle.d_sinks, n + 11);
      for (Index h = 0; c.added && h < 4; ++h)
        expect_as_good_as_naive<TypeParam>("d_bias", Matrix<TypeParam>(d.bias.middleRows(h * 11, 11)),
                                           RowsAsMatrix<TypeParam>{naive.d_bias[std::size_t(h)]},
                                           RowsAsMatrix<Wide<TypeParam>>{oracle.d_bias[std::size_t(h)]}, n);
    }
}

TYPED_TEST(Attend, AsAFreeFunctionBroadcastsBiases) {
  const Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .sequences = {{5, 6}}, .added = true, .shown = true});
  const Matrix<TypeParam> row = p.added[0].topRows(1);
  const Matrix<bool> row_shown = p.shown[0].topRows(1);
  const Matrix<TypeParam> by_row = row.replicate(5, 1), by_head = row.replicate(10, 1);
  const Matrix<bool> row_shown_by_row = row_shown.replicate(5, 1), row_shown_by_head = row_shown.replicate(10, 1);
  const auto y = [&](const Matrix<TypeParam>& bias, const Matrix<bool>& shown) {
    return heed::attend(p.q, p.k, p.v, {.heads = 2, .kv_heads = 1, .bias = bias, .shown = shown});
  };
  EXPECT_TRUE(same_bits(y(row, row_shown), y(by_head, row_shown_by_head)));
  EXPECT_TRUE(same_bits(y(by_row, row_shown_by_row), y(by_head, row_shown_by_head)));

  heed::Attended<TypeParam> out;
  const heed::AttendOptions options{.heads = 2, .kv_heads = 1, .bias = row},
      whole{.heads = 2, .kv_heads = 1, .bias = by_head};
  heed::attend_into(p.q, p.k, p.v, options, out);
  const auto d_row = heed::attend_backward(p.q, p.k, p.v, options, out, p.d_o).bias;
  const auto d_all = heed::attend_backward(p.q, p.k, p.v, whole, out, p.d_o).bias;
  ASSERT_EQ(d_row.rows(), 1);
  EXPECT_LE((d_row - d_all.colwise().sum()).cwiseAbs().maxCoeff(),
            10 * std::numeric_limits<TypeParam>::epsilon() * d_all.cwiseAbs().sum());
}

TYPED_TEST(Attend, AsAFreeFunctionCrossesSequences) {
  const Problem<TypeParam> p(Case{.heads = 2, .kv_heads = 1, .mask = heed::bidirectional(), .sequences = {{9, 4}}});
  const Matrix<TypeParam> y = heed::attend(p.q, p.k, p.v, {.heads = 2, .kv_heads = 1, .mask = heed::bidirectional()});
  expect_as_good_as_naive<TypeParam>("y", y, p.template expected<TypeParam>().o, p.template expected<Wide<TypeParam>>().o,
                                     p.longest_sum());
}

std::string error_of_call(const Matrix<float>& q, const Matrix<float>& k, const Matrix<float>& v,
                          heed::AttendOptions options) {
  try {
    heed::attend(q, k, v, options);
  } catch (const heed::ShapeError& error) {
    return error.what();
  }
  return "no error";
}

TEST(AttendErrors, NameWhatWasExpectedAndFound) {
  const auto zeros = [](Index rows, Index cols) -> Matrix<float> { return Matrix<float>::Zero(rows, cols); };
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 0}),
            "attend: heads: expected 1 or more, found 0");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 4, .kv_heads = 3}),
            "attend: kv_heads: expected a divisor of 4 heads, found 3");
  EXPECT_EQ(error_of_call(zeros(2, 9), zeros(3, 8), zeros(3, 8), {.heads = 4}),
            "attend: q: expected the columns of 4 heads of equal width, found 9");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 4, .kv_heads = 2}),
            "attend: k: expected [3 x 4], found [3 x 8]");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 4), zeros(3, 5), {.heads = 4, .kv_heads = 2}),
            "attend: v: expected the columns of 2 kv heads of equal width, found 5");
  EXPECT_EQ(error_of_call(zeros(2, 8), zeros(3, 4), zeros(4, 4), {.heads = 4, .kv_heads = 2}),
            "attend: v: expected [3 x 4], found [4 x 4]");
  EXPECT_EQ(error_of_call(zeros(0, 8), zeros(0, 4), zeros(0, 4), {.heads = 4, .kv_heads = 2}), "no error");
  const Matrix<float> q = zeros(2, 8), k = zeros(3, 8), row = zeros(1, 3), bias = zeros(3, 3);
  const Matrix<double> wide = Matrix<double>::Zero(2, 3);
  const Matrix<bool> shown = Matrix<bool>::Constant(2, 4, true);
  const std::vector<float> three(3);
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .soft_cap = -1}),
            "attend: soft_cap: expected 0 (none) or more, found -1.000000");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .sinks = three}), "attend: sinks: expected 4 numbers, found [1 x 3]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .slopes = row}), "attend: slopes: expected 4 numbers, found [1 x 3]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .bias = bias}),
            "attend: bias: expected [2 x 3], one row of it, or one for each of 4 heads, found [3 x 3]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .shown = shown}),
            "attend: shown: expected [2 x 3], one row of it, or one for each of 4 heads, found [2 x 4]");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .bias = wide}), "attend: bias: expected the scalar of q, found another");
  EXPECT_EQ(error_of_call(q, k, k, {.heads = 4, .bias = row}), "no error");

  heed::Attended<float> forward;
  heed::attend_into(q, k, k, {.heads = 4}, forward);
  heed::Workers workers;
  heed::AttendGradients<float> gradients{zeros(2, 8), zeros(3, 8), zeros(2, 8), {}, {}};
  try {
    heed::attend_backward_into(q, k, k, {.heads = 4}, forward, q, gradients, workers);
    FAIL();
  } catch (const heed::ShapeError& error) {
    EXPECT_STREQ(error.what(), "attend_backward: gradient of v: expected [3 x 8], found [2 x 8]");
  }
  EXPECT_TRUE(gradients.q.isZero(0));
  Matrix<float> y = Matrix<float>::Constant(2, 7, 5.0f);
  EXPECT_THROW(heed::attend_into(zeros(2, 8), zeros(3, 8), zeros(3, 8), {.heads = 4}, y), heed::ShapeError);
  EXPECT_TRUE((y.array() == 5.0f).all());
}

}  // namespace
