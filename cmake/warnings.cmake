# The warnings our own tests, benchmarks and examples are built with. Nobody else's.
add_library(heed_warnings INTERFACE)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  target_compile_options(heed_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
    -Wold-style-cast -Wdouble-promotion -Werror)
endif()
# With AVX-512, GCC before 13 takes the undefined vectors of its own headers for mistakes of whoever includes them (its bug 105593).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13 AND CMAKE_CXX_FLAGS MATCHES "-march=")
  target_compile_options(heed_warnings INTERFACE -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
