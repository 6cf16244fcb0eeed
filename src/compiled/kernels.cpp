// The kernels for one instruction set: compiled once for each, with
//
//   HEED_COMPILED_SET      its name here: baseline, avx2, avx512, avx512_bf16, amx
//   HEED_COMPILED_NAME     the same as a string
//   HEED_COMPILED_BETTER   the next better one that is compiled, if there is one
//
// The list begins with the baseline, and each set refers to the next. So a linker meets them in this order; and of
// functions that several sets have under one name, which are Eigen's and the standard library's, it keeps the first, which
// runs everywhere.
#include <heed/compiled/kernels.hpp>
#include <heed/ops/attend_scratch.hpp>
#include <heed/ops/linear.hpp>
#include <heed/ops/operand.hpp>
#include <heed/ops/selective_scan.hpp>
#include <heed/ops/short_conv.hpp>
#include <heed/ops/ssd.hpp>
#include <iterator>
#include <utility>

namespace heed::compiled::inline HEED_COMPILED_VERSION {

namespace {

template <auto function>
struct Called;
template <class Result, class... Arguments, Result (*function)(Arguments...)>
struct Called<function> {
  static void entry(void* result, void* const* arguments) {
    call(result, arguments, std::index_sequence_for<Arguments...>());
  }
  template <std::size_t... I>
  static void call([[maybe_unused]] void* result, void* const* arguments, std::index_sequence<I...>) {
    if constexpr (std::is_void_v<Result>)
      function(*static_cast<std::remove_reference_t<Arguments>*>(arguments[I])...);
    else
      *static_cast<Result*>(result) = function(*static_cast<std::remove_reference_t<Arguments>*>(arguments[I])...);
  }
};

// In the order of Operation.
template <class S>
struct Entries {
  using Values = HeadTable<HeadRows<S>>;
  using Attend = void (*)(const Computed<S>&, Values, Division, MutableView<S>, Workers&);
  using AttendBackward = void (*)(const Computed<S>&, Values, Division, View<S>, View<S>, MutableView<S>, Workers&);
  using Give = void (*)(const Given<S>&, Values, Division, MutableView<S>, Workers&);
  using GiveBackward = void (*)(const Given<S>&, Values, Division, View<S>, Workers&);

  static constexpr Entry all[] = {
      Called<static_cast<Attend>(&heed::attend<S>)>::entry,
      Called<static_cast<AttendBackward>(&heed::attend_backward<S>)>::entry,
      Called<static_cast<Give>(&heed::attend<S>)>::entry,
      Called<static_cast<GiveBackward>(&heed::attend_backward<S>)>::entry,
      Called<&heed::attend_scratch_bytes<S>>::entry,
      Called<&heed::detail::multiply<S, heed::detail::Strided<S>>>::entry,
      Called<&heed::detail::multiply<S, heed::detail::NarrowStrided>>::entry,
      Called<&heed::selective_scan<S>>::entry,
      Called<&heed::selective_scan_backward<S>>::entry,
      Called<&heed::selective_scan_job_bytes<S>>::entry,
      Called<&heed::ssd<S>>::entry,
      Called<&heed::ssd_backward<S>>::entry,
      Called<&heed::ssd_job_bytes<S>>::entry,
      Called<&heed::short_conv<Silu, S>>::entry,
      Called<&heed::short_conv_backward<Silu, S>>::entry,
  };
  static_assert(std::size(all) == static_cast<std::size_t>(Operation::count));
};

#if defined(__x86_64__)
bool runs_here() {
  __builtin_cpu_init();
  bool runs = true;
#if defined(__AVX2__)
  runs = runs && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(__AVX512F__)
  runs = runs && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
#if defined(__AVX512BF16__)
  runs = runs && __builtin_cpu_supports("avx512bf16");
#endif
#if defined(HEED_AMX)
  runs = runs && detail::machine_has_tiles();  // they are asked for when a call wants them
#endif
  return runs;
}
#else
bool runs_here() {
  return true;
}
#endif

}  // namespace

#if defined(HEED_COMPILED_BETTER)
const Kernels& HEED_COMPILED_BETTER();
#endif

const Kernels& HEED_COMPILED_SET() {
  static const Kernels kernels {
    .instruction_set = HEED_COMPILED_NAME, .runs_here = runs_here,
#if defined(HEED_COMPILED_BETTER)
    .better = &HEED_COMPILED_BETTER(),
#else
    .better = nullptr,
#endif
    .of_float = Entries<float>::all, .of_double = Entries<double>::all
  };
  return kernels;
}

}  // namespace heed::compiled::inline HEED_COMPILED_VERSION
