// Memory for many numbers: what is large lies in huge pages, where the system has them.
//
//   less than 2 MiB     aligned to 64 bytes
//   2 MiB and more      aligned to 2 MiB; Linux is advised to back it by pages of that size
//
// A pass over a cache is as fast as memory is read, and that is up to twice as fast where the processor need not look up a
// page every 4 KiB. Advice is all it is: where huge pages are switched off, or run out, the same memory comes in small
// ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "matrix.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace heed::inline HEED_ABI::detail {

inline constexpr std::size_t line_bytes = 64;
inline constexpr std::size_t huge_page_bytes = std::size_t(1) << 21;

/// Advises the system to back the whole huge pages within [data, data + bytes) by such. For memory not yet written to.
inline void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = (begin + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
  const std::uintptr_t end = (begin + bytes) / huge_page_bytes * huge_page_bytes;
  if (first < end)
    static_cast<void>(::madvise(static_cast<std::byte*>(data) + (first - begin), end - first, MADV_HUGEPAGE));
#endif
}

/// n numbers, uninitialised, in memory of their own. A copy copies them.
template <class T>
class Pages {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>, "heed: pages hold plain numbers");

 public:
  Pages() = default;
  explicit Pages(std::size_t n) : size_(n) {
    if (n == 0) return;
    data_ = static_cast<T*>(::operator new[](bytes(), alignment()));
    if (bytes() >= huge_page_bytes) prefer_huge_pages(data_, bytes());
  }
  Pages(const Pages& other) : Pages(other.size_) { copy(other); }
  Pages(Pages&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Pages& operator=(const Pages& other) {
    if (size_ != other.size_) {
      *this = Pages(other);
    } else if (this != &other) {
      copy(other);
    }
    return *this;
  }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages() {
    if (data_ != nullptr) ::operator delete[](data_, alignment());
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }

 private:
  std::align_val_t alignment() const { return std::align_val_t(bytes() >= huge_page_bytes ? huge_page_bytes : line_bytes); }
  void copy(const Pages& other) {
    if (size_ > 0) std::memcpy(static_cast<void*>(data_), other.data_, bytes());
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace heed::inline HEED_ABI::detail
