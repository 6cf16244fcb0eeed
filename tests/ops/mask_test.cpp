#include <gtest/gtest.h>

#include <functional>
#include <heed/ops/documents.hpp>
#include <heed/ops/mask.hpp>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support/error_text.hpp"

namespace {

using heed::Coverage;
using heed::Documents;
using heed::Index;
using heed::Interval;
using heed::Intervals;
using heed::Mask;
using heed::unbounded;

/// A mask, and its definition pair by pair.
struct Defined {
  std::string name;
  Mask mask;
  std::function<bool(Index, Index)> sees;
};

// Positions from -6 to 19 and keys from 0 to 16 are looked at; documents cover positions 0 to 13.
constexpr Index first_position = -6, last_position = 19, keys = 17;
const Documents& documents() {
  static const Documents table({3, 1, 0, 5, 4});
  return table;
}
bool share_document(Index p, Index j) {
  const Index ends[] = {3, 4, 9, 13};
  if (p < 0 || j < 0 || p >= 13 || j >= 13) return false;
  for (const Index end : ends)
    if ((p < end) != (j < end)) return false;
  return true;
}

std::vector<Defined> simple_masks() {
  std::vector<Defined> all;
  all.push_back({"causal", heed::causal(), [](Index p, Index j) { return j <= p; }});
  all.push_back({"bidirectional", heed::bidirectional(), [](Index, Index) { return true; }});
  for (const Index w : {1, 2, 4, 11})
    all.push_back({"window", heed::window(w), [w](Index p, Index j) { return p - w < j && j <= p; }});
  for (const Index l : {0, 2, 5})
    for (const Index r : {0, 1, 6})
      all.push_back(
          {"two-sided window", heed::window(l, r), [l, r](Index p, Index j) { return p - l <= j && j <= p + r; }});
  all.push_back({"from the left", heed::window(unbounded, 2), [](Index p, Index j) { return j <= p + 2; }});
  all.push_back({"to the right", heed::window(2, unbounded), [](Index p, Index j) { return p - 2 <= j; }});
  for (const Index m : {0, 1, 3, 8, 30})
    all.push_back({"prefix_lm", heed::prefix_lm(m), [m](Index p, Index j) { return j <= p || j < m; }});
  for (const Index s : {0, 1, 2, 5})
    for (const Index w : {1, 3, 6})
      all.push_back(
          {"streaming", heed::streaming(s, w), [s, w](Index p, Index j) { return j <= p && (j > p - w || j < s); }});
  for (const Index c : {1, 2, 4, 6})
    all.push_back({"chunked", heed::chunked(c), [c](Index p, Index j) {
                     Index begin = 0;  // of the chunk of p, by counting
                     while (begin + c <= p) begin += c;
                     return begin <= j && j <= p;
                   }});
  for (const Index n : {0, 1, 7, 40})
    all.push_back({"key_length", heed::key_length(n), [n](Index, Index j) { return j < n; }});
  all.push_back({"documents", documents().mask(), share_document});
  return all;
}

Defined both(const Defined& a, const Defined& b) {
  return {a.name + " & " + b.name, a.mask & b.mask, [a, b](Index p, Index j) { return a.sees(p, j) && b.sees(p, j); }};
}

/// Every intersection of two and some of three, as far as they are masks.
const std::vector<Defined>& masks() {
  static const std::vector<Defined> made = [] {
    const std::vector<Defined> simple = simple_masks();
    std::vector<Defined> all = simple;
    std::mt19937 random(1);
    const auto try_add = [&](const Defined& a, const Defined& b) {
      try {
        all.push_back(both(a, b));
      } catch (const heed::ConfigError&) {
      }
    };
    for (const Defined& a : simple)
      for (const Defined& b : simple) try_add(a, b);
    const std::size_t pairs = all.size();
    for (std::size_t i = simple.size(); i < pairs; ++i) try_add(all[i], simple[random() % simple.size()]);
    return all;
  }();
  return made;
}

TEST(Mask, VisibleKeysAreThoseOfTheDefinition) {
  for (const Defined& each : masks())
    for (const Index n : {Index(0), Index(1), keys})
      for (Index p = first_position; p <= last_position; ++p) {
        const Intervals visible = each.mask.visible(p, n);
        Index seen = 0;
        for (Index j = 0; j < n; ++j) {
          ASSERT_EQ(visible.contains(j), each.sees(p, j)) << each.name << ": " << p << " " << j;
          seen += each.sees(p, j) ? 1 : 0;
        }
        ASSERT_EQ(visible.size(), seen) << each.name << ": " << p;
        for (const Interval part : visible) ASSERT_TRUE(0 <= part.begin && part.begin <= part.end && part.end <= n);
        ASSERT_LE(visible.parts[0].end, visible.parts[1].begin) << each.name;
      }
}

TEST(Mask, VisibleKeysOfManyRowsHoldThoseOfEach) {
  for (const Defined& each : masks())
    for (Index first = first_position; first <= last_position; first += 5)
      for (const Index rows : {1, 2, 5, 12}) {
        const Intervals visible = each.mask.visible(first, first + rows - 1, keys);
        ASSERT_LE(visible.parts[0].end, visible.parts[1].begin) << each.name;
        for (const Interval part : visible) ASSERT_TRUE(0 <= part.begin && part.begin <= part.end && part.end <= keys);
        for (Index p = first; p < first + rows; ++p)
          for (Index j = 0; j < keys; ++j)
            ASSERT_TRUE(visible.contains(j) || !each.sees(p, j)) << each.name << ": " << p << " " << j;
      }
}

TEST(Mask, SeenByIsTheTransposeOfVisible) {
  for (const Defined& each : masks())
    for (Index j = 0; j < keys; ++j) {
      const Interval rows = each.mask.seen_by(j, first_position, last_position);
      EXPECT_TRUE(first_position <= rows.begin && rows.begin <= rows.end && rows.end <= last_position + 1) << each.name;
      for (Index p = first_position; p <= last_position; ++p)
        ASSERT_EQ(rows.contains(p), each.sees(p, j)) << each.name << ": " << p << " " << j;
    }
}

// The pairs of tiles are counted with a table of sums.
void expect_coverage(const Defined& each, bool exact) {
  constexpr Index rows = last_position - first_position + 1;
  Index sums[rows + 1][keys + 1] = {};
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < keys; ++j)
      sums[i + 1][j + 1] =
          sums[i][j + 1] + sums[i + 1][j] - sums[i][j] + (each.sees(first_position + i, j) ? Index(1) : Index(0));
  for (Index top = 0; top < rows; ++top)
    for (Index bottom = top; bottom < rows; ++bottom)
      for (Index first = 0; first < keys; ++first)
        for (Index last = first; last < keys; ++last) {
          const Index seen = sums[bottom + 1][last + 1] - sums[top][last + 1] - sums[bottom + 1][first] + sums[top][first];
          const Index pairs = (bottom - top + 1) * (last - first + 1);
          const Coverage expected = seen == 0 ? Coverage::none : seen == pairs ? Coverage::all : Coverage::partial;
          const Coverage found = each.mask.coverage(first_position + top, first_position + bottom, first, last);
          if (!exact && seen == 0 && found == Coverage::partial) continue;
          ASSERT_EQ(found, expected) << each.name << ": " << first_position + top << ".." << first_position + bottom << ", "
                                     << first << ".." << last;
        }
}

TEST(Mask, CoverageIsThatOfEveryPairInTheTile) {
  const std::size_t simple = simple_masks().size();
  for (std::size_t i = 0; i < masks().size(); i += i < simple ? 1 : 17) {
    expect_coverage(masks()[i], true);
    if (HasFatalFailure()) return;
  }
}

TEST(Mask, CoverageUnderStrictMasksIsNeverWrong) {
  const Defined strict{"strict", Mask{unbounded, -1}, [](Index p, Index j) { return j < p; }};
  const Defined past{"past", Mask{4, -2}, [](Index p, Index j) { return p - 4 <= j && j <= p - 2; }};
  for (const Defined& each : simple_masks())
    for (const Defined& other : {strict, past}) {
      try {
        expect_coverage(both(each, other), false);
      } catch (const heed::ConfigError&) {
      }
      if (HasFatalFailure()) return;
    }
}

TEST(Mask, AnEmptyTileIsNotCovered) {
  EXPECT_EQ(heed::bidirectional().coverage(3, 2, 0, 5), Coverage::none);
  EXPECT_EQ(heed::bidirectional().coverage(0, 2, 5, 4), Coverage::none);
}

TEST(Mask, AWindowCountsTheRowItself) {
  EXPECT_EQ(heed::window(1).visible(5, 10).parts[1], (Interval{5, 6}));
  EXPECT_EQ(heed::window(3).visible(5, 10).parts[1], (Interval{3, 6}));
}

TEST(Mask, OnlySinksFarFromTheWindowAreAnIntervalOfTheirOwn) {
  EXPECT_EQ(heed::streaming(2, 3).visible(9, 20), (Intervals{{Interval{0, 2}, Interval{7, 10}}}));
  EXPECT_EQ(heed::streaming(2, 3).visible(4, 20), (Intervals{{Interval{0, 0}, Interval{0, 5}}}));
  EXPECT_TRUE(heed::window(3).visible(9, 20).parts[0].empty());
}

TEST(Intervals, AreSlicedAsIfTheyWereOne) {
  const Intervals two{{Interval{2, 5}, Interval{10, 14}}};
  EXPECT_EQ(two.slice(0, 7), two);
  EXPECT_EQ(two.slice(1, 5), (Intervals{{Interval{3, 5}, Interval{10, 12}}}));
  EXPECT_EQ(two.slice(4, 6), (Intervals{{Interval{5, 5}, Interval{11, 13}}}));
  EXPECT_EQ(two.slice(0, 2).size(), 2);
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const heed::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Mask, WhatIsNoMaskIsRefused) {
  EXPECT_EQ(error_of([] { heed::window(0); }), "window: expected 1 visible key or more (the row itself), found 0");
  EXPECT_EQ(error_of([] { heed::window(2, -1); }), "window: expected 0 keys or more on both sides, found 2 and -1");
  EXPECT_EQ(error_of([] { heed::streaming(-1, 2); }), "streaming: expected 0 sinks or more, found -1");
  EXPECT_EQ(error_of([] { heed::prefix_lm(-1); }), "prefix_lm: expected a prefix of 0 keys or more, found -1");
  EXPECT_EQ(error_of([] { heed::chunked(0); }), "chunked: expected chunks of 1 position or more, found 0");
  EXPECT_EQ(error_of([] { heed::key_length(-1); }), "key_length: expected 0 keys or more, found -1");
  EXPECT_EQ(error_of([] { Documents({2, -1}); }), "documents: expected lengths of 0 or more, found -1");
}

TEST(Mask, AnIntersectionThatIsNoMaskIsRefused) {
  EXPECT_EQ(error_of([] { heed::streaming(4, 4) & heed::window(8); }),
            "masks: expected of two windows with sinks one inside the other, found 3 keys to the left with 4 sinks, and 7 "
            "with 0");
  EXPECT_EQ(error_of([] { heed::prefix_lm(8) & heed::window(2, 3); }),
            "masks: expected of two windows with a prefix one inside the other, found 0 keys to the right with a prefix of "
            "8, and 3 with 0");
  EXPECT_EQ(error_of([] { heed::chunked(4) & heed::chunked(6); }),
            "masks: expected of two chunks one to divide the other, found 4 and 6");
  const Documents other({13});
  EXPECT_EQ(error_of([&] { documents().mask() & other.mask(); }),
            "masks: expected the same documents in both, found two tables");
}

TEST(Mask, KnowsWhetherItSeesAhead) {
  for (const Defined& each : masks()) {
    bool ahead = false;  // within what is looked at, which no mask here exceeds
    for (Index p = 0; p <= last_position; ++p)
      for (Index j = p + 1; j < keys; ++j) ahead = ahead || each.sees(p, j);
    EXPECT_TRUE(!ahead || each.mask.sees_ahead()) << each.name;
  }
  for (const Mask& mask : {heed::causal(), heed::window(7), heed::streaming(3, 5), heed::chunked(4), heed::prefix_lm(1),
                           heed::prefix_lm(9) & heed::causal(), documents().mask() & heed::causal()})
    EXPECT_FALSE(mask.sees_ahead());
  EXPECT_TRUE(heed::bidirectional().sees_ahead());
  EXPECT_TRUE(heed::prefix_lm(2).sees_ahead());
  EXPECT_TRUE((Mask{0, 1}.sees_ahead()));
}

// A row sees no key behind it once as many rows are there as have to come together.
TEST(Mask, KnowsHowManyFirstRowsHaveToComeTogether) {
  for (const Defined& each : masks())
    for (Index p = each.mask.whole_rows(); p <= last_position; ++p)
      for (Index j = p + 1; j < keys; ++j) EXPECT_FALSE(each.sees(p, j)) << each.name << " " << p << " " << j;
  EXPECT_EQ(heed::causal().whole_rows(), 0);
  EXPECT_EQ(heed::prefix_lm(1).whole_rows(), 0);
  EXPECT_EQ(heed::prefix_lm(9).whole_rows(), 9);
  EXPECT_EQ((heed::prefix_lm(9) & heed::window(3)).whole_rows(), 0);
  EXPECT_EQ(heed::bidirectional().whole_rows(), heed::unbounded);
}

TEST(Mask, ChecksItsMembers) {
  const auto refusal = [](const Mask& mask) {
    return error_text<heed::ConfigError>([&] { mask.check<heed::ConfigError>("layer 1"); });
  };
  for (const Defined& each : masks()) EXPECT_EQ(refusal(each.mask), "no error") << each.name;
  EXPECT_EQ(refusal({.right = -1}), "no error");
  EXPECT_EQ(refusal({.left = 4, .right = -4}), "no error");
  EXPECT_EQ(refusal({.chunk = -5}), "layer 1: mask: chunk: expected 0 or more, up to unbounded, found -5");
  EXPECT_EQ(refusal({.sinks = -1}), "layer 1: mask: sinks: expected 0 or more, up to unbounded, found -1");
  EXPECT_EQ(refusal({.prefix = -2}), "layer 1: mask: prefix: expected 0 or more, up to unbounded, found -2");
  EXPECT_EQ(refusal({.length = -1}), "layer 1: mask: length: expected 0 or more, up to unbounded, found -1");
  EXPECT_EQ(
      refusal({.left = -5}),
      "layer 1: mask: left, right: expected a window of one key or more, found -5 keys before the row and 0 after it");
  EXPECT_NE(refusal({.left = 4, .right = -5}), "no error");
  EXPECT_NE(refusal({.right = unbounded + 1}), "no error");
  EXPECT_NE(refusal({.left = (std::numeric_limits<Index>::min)()}), "no error");
}

TEST(Mask, MasksCompareByWhatTheySee) {
  EXPECT_EQ(heed::causal(), heed::causal());
  EXPECT_NE(heed::causal(), heed::window(3));
  EXPECT_EQ(heed::window(unbounded * 2), heed::causal());
  EXPECT_EQ(heed::streaming(5, unbounded * 2), heed::causal());
  EXPECT_EQ(heed::window(2, 0), heed::window(3));
  EXPECT_EQ(heed::prefix_lm(0), heed::causal());
  EXPECT_EQ(heed::bidirectional() & heed::window(3), heed::window(3));
  EXPECT_EQ(heed::prefix_lm(7) & heed::causal(), heed::causal());
  EXPECT_NE(documents().mask(), heed::bidirectional());
}

TEST(Mask, DocumentsWithoutPositionsHideEverything) {
  EXPECT_TRUE(Documents({}).mask().visible(0, 5).empty());
}

}  // namespace
