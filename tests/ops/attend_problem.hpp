// A call of attention with everything it reads and writes, drawn at random, and what the definition makes of it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <heed/ops/documents.hpp>
#include <heed/ops/operand.hpp>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "../reference/attention.hpp"
#include "../reference/executors.hpp"

namespace attend_problem {

using heed::HeadRows;
using heed::HeadTable;
using heed::Index;
using heed::Mask;
using heed::Matrix;
using heed::Probabilities;
using heed::ScoreBias;
using heed::Storage;
using heed::Workers;

/// The next wider type, in which the oracle runs.
template <class Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;

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
  Storage kept = Storage::arithmetic;  // of probabilities

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
      for (Index h = 0; keep && h < c.heads; ++h) kept.at(b, h) = made_kept(b, h);
    }
  }

  /// Not zero: attend has to write all of it.
  Probabilities<Scalar> made_kept(Index b, Index h) {
    const auto made =
        Probabilities<Scalar>::reserve(arena, {rows(b), keys(b), c.mask, offsets[std::size_t(b)], c.kept, true},
                                       bias.heads > 0 ? bias.at(b, h) : ScoreBias<Scalar>{});
    const std::vector<Scalar> poison(16, std::numeric_limits<Scalar>::quiet_NaN());
    made.for_each_panel(0, rows(b), [&](const auto& panel, Index, Index count) {
      for (const heed::Interval part : panel.keys)
        for (Index key = part.begin; key < part.end; ++key) made.write(panel, key, 0, count, poison.data());
    });
    return made;
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
  /// The same by one kernel, whichever this instruction set would choose: kernel(group, row, count, keys, partial,
  /// scratch).
  template <class Kernel>
  void forward_by(Kernel&& kernel) {
    using namespace heed::detail;
    o.setZero();
    const auto a = computed();
    const Index heads = c.heads / c.kv_heads, block = std::max(Index(1), attend_block_lanes<Scalar> / heads);
    for (Index b = 0; b < k_heads.sequences; ++b)
      for (Index g = 0; g < c.kv_heads; ++g)
        for (Index row = 0; row < rows(b); row += block) {
          heed::Arena scratch;
          const Index count = std::min(block, rows(b) - row), first = sequences.begin(b) + row;
          const auto group = group_of(a, v_heads, sequences, b, g);
          const auto keys = stacked<Scalar>(heads, count, group.past + row, group.mask).visible(group.k.rows);
          Scalar* partial = scratch.take<Scalar>(Partial<Scalar>::size(heads * count, c.value_width));
          kernel(group, row, count, keys, Partial<Scalar>::at(partial, heads * count), scratch);
          finish_rows(group, row, count, partial, 1, &o(first, g * heads * c.value_width), o.cols(),
                      &log_sum_exp(first, g * heads), log_sum_exp.cols(), scratch);
        }
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

inline const heed::Documents documents{40, 3, 64, 30, 3000};

inline const std::vector<Mask> masks = {
    heed::causal(),
    heed::window(1),
    heed::window(50),
    heed::bidirectional(),
    heed::window(3, 2),
    heed::prefix_lm(20),
    heed::streaming(3, 7),
    heed::streaming(70, 30),
    heed::chunked(48) & heed::key_length(131),
    documents.mask() & heed::causal(),
    documents.mask() & heed::streaming(3, 7),
    Mask{.right = -1},  // not even itself
};

template <class Scalar>
bool same_bits(const Matrix<Scalar>& a, const Matrix<Scalar>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(Scalar) * std::size_t(a.size())) == 0;
}

/// Every kernel that is compiled in, not only the one that this instruction set and scalar take.
template <class Scalar>
void expect_every_kernel_matches_reference(const Case& c, bool keep) {
  std::ostringstream text;
  text << c;
  SCOPED_TRACE(text.str());
  Problem<Scalar> p(c, keep);
  const auto oracle = p.template expected<Wide<Scalar>>();
  const auto naive = p.template expected<Scalar>();
  const Index n = p.longest_sum();
  const auto expect = [&](const char* name, auto&& kernel) {
    SCOPED_TRACE(name);
    p.forward_by(kernel);
    expect_as_good_as_naive<Scalar>("o", p.o, naive.o, oracle.o, n);
    expect_as_good_as_naive<Scalar>("log_sum_exp", p.log_sum_exp, naive.log_sum_exp, oracle.log_sum_exp, n);
    for (Index i = 0; keep && i < Index(oracle.a.size()); ++i)
      expect_as_good_as_naive<Scalar>("a", AsMatrix<Scalar>{p.kept.entries[i]},
                                      RowsAsMatrix<Scalar>{naive.a[std::size_t(i)]},
                                      RowsAsMatrix<Wide<Scalar>>{oracle.a[std::size_t(i)]}, n);
  };
  expect("tiles", [](auto&&... all) { heed::detail::attend_tiled<Scalar>(all...); });
  expect("strips", [](auto&&... all) { heed::detail::attend_strips<Scalar>(all...); });
}

/// One option of logits at a time, and all together.
inline std::vector<Case> with_options(const Case& c) {
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

}  // namespace attend_problem
