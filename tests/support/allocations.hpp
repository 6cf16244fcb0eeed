// Counts what the program takes from the heap, by whatever name it asks.
#pragma once

#include <cstddef>

/// The calls of malloc, calloc, realloc and the aligned forms (operator new among their callers) so far, over all threads.
std::size_t allocations_so_far();
