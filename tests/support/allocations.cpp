#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>

namespace {
std::atomic<std::size_t> allocations = 0;
}

std::size_t allocations_so_far() {
  return allocations.load();
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEED_UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HEED_UNDER_SANITIZER 1
#endif
#endif

extern "C" {

#if defined(HEED_UNDER_SANITIZER)

// The sanitizer owns malloc, and calls this for each.
void __sanitizer_malloc_hook(const volatile void*, std::size_t) {
  ++allocations;
}

#elif defined(__GLIBC__)

void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* at, std::size_t size) {
  ++allocations;
  return __libc_realloc(at, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return memalign(alignment, size);
}
int posix_memalign(void** at, std::size_t alignment, std::size_t size) {
  *at = memalign(alignment, size);
  return *at != nullptr || size == 0 ? 0 : 12;  // ENOMEM
}

#endif

}  // extern "C"
