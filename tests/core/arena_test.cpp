#include "heed/core/arena.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "../support/allocations.hpp"

namespace heed {
namespace {

TEST(Arena, AlignsEverythingTo64Bytes) {
  Arena arena(1000);
  for (const Index n : {1, 3, 64, 65, 500})
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.take<char>(n)) % Arena::alignment, 0u) << n;
}

TEST(Arena, GivesPlacesThatDoNotOverlap) {
  Arena arena;
  int* a = arena.take<int>(5);
  double* b = arena.take<double>(7);
  int* c = arena.take<int>(100);
  std::fill_n(a, 5, 1);
  std::fill_n(b, 7, 2.0);
  std::fill_n(c, 100, 3);
  EXPECT_TRUE(std::all_of(a, a + 5, [](int i) { return i == 1; }));
  EXPECT_TRUE(std::all_of(b, b + 7, [](double i) { return i == 2; }));
  EXPECT_TRUE(std::all_of(c, c + 100, [](int i) { return i == 3; }));
}

TEST(Arena, OfTheRightSizeTakesNothingMoreFromTheHeap) {
  const std::size_t bytes = Arena::bytes_of<float>(100) + Arena::bytes_of<double>(3) + Arena::bytes_of<char>(1);
  Arena arena(bytes);
  const std::size_t before = allocations_so_far();
  for (int call = 0; call < 3; ++call) {
    const Arena::Scope scope(arena);
    arena.take<float>(100);
    arena.take_zeroed<double>(3);
    arena.take<char>(1);
  }
  EXPECT_EQ(allocations_so_far(), before);
  EXPECT_EQ(arena.blocks(), 1u);
  EXPECT_EQ(arena.capacity(), bytes);
}

TEST(Arena, ThatIsTooSmallChainsABlockAndMovesNothing) {
  Arena arena(64);
  int* first = arena.take<int>(16);
  std::fill_n(first, 16, 7);
  arena.take<int>(1000);
  EXPECT_EQ(arena.blocks(), 2u);
  EXPECT_TRUE(std::all_of(first, first + 16, [](int i) { return i == 7; }));
}

TEST(Arena, KeepsItsBlocksForTheNextCall) {
  Arena arena;
  const auto call = [&] {
    const Arena::Scope scope(arena);
    for (int i = 0; i < 10; ++i) arena.take<double>(100);
  };
  call();
  call();  // the blocks of the first call have other sizes than its takes, so the second may still add one
  const std::size_t blocks = arena.blocks(), before = allocations_so_far();
  call();
  EXPECT_EQ(arena.blocks(), blocks);
  EXPECT_EQ(allocations_so_far(), before);
}

TEST(Arena, ScopeGivesBackWhatWasTakenInIt) {
  Arena arena(1024);
  arena.take<char>(64);
  char* inner;
  {
    const Arena::Scope scope(arena);
    inner = arena.take<char>(64);
    {
      const Arena::Scope nested(arena);
      EXPECT_NE(arena.take<char>(64), inner);
    }
    EXPECT_EQ(arena.take<char>(64), inner + 64);
  }
  EXPECT_EQ(arena.take<char>(64), inner);
}

TEST(Arena, ScopeGoesBackOverBlocks) {
  Arena arena(128);
  arena.take<char>(64);
  char* second;
  {
    const Arena::Scope scope(arena);
    second = arena.take<char>(64);
    arena.take<char>(5000);
  }
  EXPECT_EQ(arena.take<char>(64), second);
}

TEST(Arena, ResetGivesEverythingBack) {
  Arena arena(128);
  char* first = arena.take<char>(64);
  arena.take<char>(5000);
  arena.reset();
  EXPECT_EQ(arena.take<char>(64), first);
}

TEST(Arena, ZeroesWhatIsAskedForZeroed) {
  Arena arena(256);
  std::memset(arena.take<char>(256), 0x5A, 256);
  arena.reset();
  const double* zeroed = arena.take_zeroed<double>(32);
  EXPECT_TRUE(std::all_of(zeroed, zeroed + 32, [](double x) { return x == 0; }));
}

TEST(Arena, MakesMatricesWithTouchingRows) {
  Arena arena;
  MutableView<float> zeros = arena.zeros<float>(3, 5), matrix = arena.matrix<float>(2, 7), none = arena.matrix<float>(0, 7);
  EXPECT_TRUE((zeros.array() == 0).all());
  EXPECT_EQ(zeros.outerStride(), 5);
  EXPECT_EQ(matrix.rows(), 2);
  EXPECT_EQ(matrix.cols(), 7);
  EXPECT_EQ(none.rows(), 0);
}

TEST(Arena, CopiesItsSizeAndNotItsContents) {
  Arena arena(64);
  arena.take<char>(1000);
  Arena copy(arena), assigned;
  assigned = arena;
  for (Arena* other : {&copy, &assigned}) {
    EXPECT_EQ(other->capacity(), arena.capacity());
    EXPECT_EQ(other->blocks(), 1u);
    const std::size_t before = allocations_so_far();
    other->take<char>(static_cast<Index>(arena.capacity()));
    EXPECT_EQ(allocations_so_far(), before);
  }
}

TEST(Arena, MovesWithWhatItHolds) {
  Arena arena(64);
  char* taken = arena.take<char>(64);
  taken[0] = 'x';
  const Arena moved = std::move(arena);
  EXPECT_EQ(taken[0], 'x');
  EXPECT_EQ(moved.capacity(), 64u);
}

}  // namespace
}  // namespace heed
