#include "heed/core/pages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace heed::detail {
namespace {

template <class T>
std::uintptr_t address(const Pages<T>& pages) {
  return reinterpret_cast<std::uintptr_t>(pages.data());
}

TEST(Pages, AreAlignedToLinesAndLargeOnesToHugePages) {
  for (const std::size_t n : {std::size_t(1), std::size_t(100), huge_page_bytes / 4 - 1})
    EXPECT_EQ(address(Pages<float>(n)) % line_bytes, 0u) << n;
  for (const std::size_t n : {huge_page_bytes / 4, huge_page_bytes / 4 + 1, huge_page_bytes})
    EXPECT_EQ(address(Pages<float>(n)) % huge_page_bytes, 0u) << n;
}

TEST(Pages, HoldAsManyNumbersAsWereAskedFor) {
  Pages<std::uint16_t> pages(3 * huge_page_bytes / 2 + 5);
  EXPECT_EQ(pages.size(), 3 * huge_page_bytes / 2 + 5);
  EXPECT_EQ(pages.bytes(), 3 * huge_page_bytes + 10);
  std::fill_n(pages.data(), pages.size(), std::uint16_t(7));
  EXPECT_EQ(pages.data()[pages.size() - 1], 7);
  EXPECT_EQ(Pages<float>().data(), nullptr);
  EXPECT_EQ(Pages<float>(0).bytes(), 0u);
}

TEST(Pages, AreCopiedByValue) {
  Pages<int> one(100);
  std::fill_n(one.data(), 100, 1);
  Pages<int> copy(one), assigned(100), resized(3);
  assigned = one;
  resized = one;
  one.data()[5] = 2;
  for (const Pages<int>* other : {&copy, &assigned, &resized}) {
    EXPECT_EQ(other->size(), 100u);
    EXPECT_EQ(other->data()[5], 1);
  }
  resized = Pages<int>();
  EXPECT_EQ(resized.size(), 0u);
}

TEST(Pages, MoveWithWhatTheyHold) {
  Pages<int> one(10);
  int* data = one.data();
  Pages<int> moved(std::move(one)), assigned;
  EXPECT_EQ(moved.data(), data);
  assigned = std::move(moved);
  EXPECT_EQ(assigned.data(), data);
}

TEST(Pages, PreferenceForHugeOnesChangesNothingThatIsHeld) {
  Pages<int> pages(huge_page_bytes);
  std::fill_n(pages.data(), pages.size(), 3);
  prefer_huge_pages(pages.data() + 1, pages.bytes() - 4);
  prefer_huge_pages(pages.data(), 100);  // holds none
  prefer_huge_pages(nullptr, 0);
  EXPECT_TRUE(std::all_of(pages.data(), pages.data() + pages.size(), [](int x) { return x == 3; }));
}

}  // namespace
}  // namespace heed::detail
