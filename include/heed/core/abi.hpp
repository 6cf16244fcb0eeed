// The inline namespace that keeps differently compiled copies of heed apart in one program.
//
// Everything that changes the body of an inline function is part of its name: the version, the instruction set, whether
// kernels are those of heed::compiled or products those of a BLAS, whether debug checks run and whether errors are
// exceptions. The linker then never mixes two of them.
#pragma once

#include "../version.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512BF16__) && defined(__FMA__)
#define HEED_AVX512_BF16 1
#if defined(__x86_64__) && \
    ((defined(__AMX_TILE__) && defined(__AMX_BF16__)) || (defined(__AMXTILE__) && defined(__AMXBF16__)))  // Clang's names
#define HEED_AMX 1
#endif
#endif

#if defined(HEED_AMX)
#define HEED_ABI_ISA avx512_amx
#elif defined(HEED_AVX512_BF16)
#define HEED_ABI_ISA avx512_bf16
#elif defined(__AVX512F__) && defined(__FMA__)
#define HEED_ABI_ISA avx512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define HEED_ABI_ISA avx2_fma_f16c
#elif defined(__AVX2__) && defined(__FMA__)
#define HEED_ABI_ISA avx2_fma
#elif defined(__AVX2__)
#define HEED_ABI_ISA avx2
#elif defined(__FMA__)
#define HEED_ABI_ISA fma
#elif defined(__AVX__)
#define HEED_ABI_ISA avx
#else
#define HEED_ABI_ISA base
#endif

#if defined(HEED_DEBUG_CHECKS)
#define HEED_ABI_CHECKS checked
#else
#define HEED_ABI_CHECKS unchecked
#endif

#if defined(__cpp_exceptions)
#define HEED_ABI_ERRORS throwing
#else
#define HEED_ABI_ERRORS failing
#endif

#if defined(HEED_COMPILED)
#define HEED_ABI_KERNELS compiled
#elif defined(EIGEN_USE_BLAS)
#define HEED_ABI_KERNELS blas
#else
#define HEED_ABI_KERNELS inlined
#endif

#define HEED_ABI_PASTE_(major, minor, isa, kernels, checks, errors) \
  v##major##_##minor##_##isa##_##kernels##_##checks##_##errors
#define HEED_ABI_PASTE(major, minor, isa, kernels, checks, errors) \
  HEED_ABI_PASTE_(major, minor, isa, kernels, checks, errors)
#define HEED_ABI \
  HEED_ABI_PASTE(HEED_VERSION_MAJOR, HEED_VERSION_MINOR, HEED_ABI_ISA, HEED_ABI_KERNELS, HEED_ABI_CHECKS, HEED_ABI_ERRORS)

namespace heed::inline HEED_ABI {}
