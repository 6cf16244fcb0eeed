// Kernels that are compiled beforehand for several instruction sets, and how operations reach them: the target
// heed::compiled.
//
// Where HEED_COMPILED is defined, which linking heed::compiled does, the operations below run the kernels of the best
// instruction set that the machine has, whatever set the program itself is compiled for. Everything else stays in the
// program. Results are those of a program that is compiled for that set.
//
// Both sides are compiled from the same headers, each under names of its own (core/abi.hpp). So arguments cross by address:
// they are plain data of the same layout on both sides, which does not depend on the instruction set.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

#include "../core/abi.hpp"

#define HEED_COMPILED_VERSION_PASTE_(major, minor, patch) v##major##_##minor##_##patch
#define HEED_COMPILED_VERSION_PASTE(major, minor, patch) HEED_COMPILED_VERSION_PASTE_(major, minor, patch)
#define HEED_COMPILED_VERSION HEED_COMPILED_VERSION_PASTE(HEED_VERSION_MAJOR, HEED_VERSION_MINOR, HEED_VERSION_PATCH)

/// One namespace for all parts of a program.
namespace heed::compiled::inline HEED_COMPILED_VERSION {

enum class Operation {
  attend,
  attend_backward,
  attend_given,
  attend_given_backward,
  attend_scratch_bytes,
  multiply,
  multiply_narrow,
  selective_scan,
  selective_scan_backward,
  selective_scan_job_bytes,
  ssd,
  ssd_backward,
  ssd_job_bytes,
  short_conv,
  short_conv_backward,
  count
};

/// *result = operation(*arguments[0], *arguments[1], ...)
using Entry = void (*)(void* result, void* const* arguments);

/// What is compiled for one instruction set. The sets form a list, from the one that every machine has upwards.
struct Kernels {
  const char* instruction_set;
  bool (*runs_here)();
  const Kernels* better;   // null: none
  const Entry* of_float;   // [Operation::count]
  const Entry* of_double;  // [Operation::count]
};

/// The first of the list.
const Kernels& baseline();
/// The last of the list that the machine runs: asked once.
const Kernels& best();

}  // namespace heed::compiled::inline HEED_COMPILED_VERSION

namespace heed::inline HEED_ABI::detail {

#if defined(HEED_COMPILED)
/// Operations in Scalar are those of heed::compiled.
template <class Scalar>
inline constexpr bool is_compiled = std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>;
#else
template <class Scalar>
inline constexpr bool is_compiled = false;
#endif

/// operation(arguments...), as these kernels have it.
template <class Scalar, class Result = void, class... Arguments>
Result run_compiled(const compiled::Kernels& kernels, compiled::Operation operation, const Arguments&... arguments) {
  void* addresses[] = {const_cast<void*>(static_cast<const void*>(std::addressof(arguments)))...};
  const compiled::Entry* entries = std::is_same_v<Scalar, float> ? kernels.of_float : kernels.of_double;
  const compiled::Entry entry = entries[static_cast<std::size_t>(operation)];
  if constexpr (std::is_void_v<Result>) {
    entry(nullptr, addresses);
  } else {
    Result result;
    entry(&result, addresses);
    return result;
  }
}

/// The same as the best kernels have it.
template <class Scalar, class Result = void, class... Arguments>
Result run_compiled(compiled::Operation operation, const Arguments&... arguments) {
  return run_compiled<Scalar, Result>(compiled::best(), operation, arguments...);
}

}  // namespace heed::inline HEED_ABI::detail
