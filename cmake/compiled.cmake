# heed::compiled: the kernels of heed for several instruction sets in one library. A program that links it defines
# HEED_COMPILED, and runs those of the best set that its machine has.
#
# What is compiled is the same on every machine of an architecture, so the sources are installed, and compiled in the project that asks
# for the component `compiled`.
include(CheckCXXCompilerFlag)

# name and flags, in ascending order
set(heed_compiled_sets "baseline")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  set(heed_flags_of_avx2 -mavx2 -mfma -mf16c)
  set(heed_flags_of_avx512 ${heed_flags_of_avx2} -mavx512f -mavx512dq -mavx512bw -mavx512vl)
  set(heed_flags_of_avx512_bf16 ${heed_flags_of_avx512} -mavx512bf16)
  set(heed_flags_of_amx ${heed_flags_of_avx512_bf16} -mamx-tile -mamx-bf16)
  foreach(set avx2 avx512 avx512_bf16 amx)
    string(REPLACE ";" " " flags "${heed_flags_of_${set}}")
    check_cxx_compiler_flag("${flags}" HEED_COMPILES_${set})
    if(HEED_COMPILES_${set})
      list(APPEND heed_compiled_sets ${set})
    endif()
  endforeach()
endif()

add_library(heed_compiled STATIC ${CMAKE_CURRENT_LIST_DIR}/../src/compiled/best.cpp)
add_library(heed::compiled ALIAS heed_compiled)
set_target_properties(heed_compiled PROPERTIES EXPORT_NAME compiled)
target_link_libraries(heed_compiled PUBLIC heed::heed)
target_compile_definitions(heed_compiled INTERFACE HEED_COMPILED)
set(sets ${heed_compiled_sets})
foreach(set IN LISTS heed_compiled_sets)
  list(POP_FRONT sets)
  set(better)
  if(sets)
    list(GET sets 0 next)
    set(better HEED_COMPILED_BETTER=${next})
  endif()
  add_library(heed_compiled_${set} OBJECT ${CMAKE_CURRENT_LIST_DIR}/../src/compiled/kernels.cpp)
  target_link_libraries(heed_compiled_${set} PRIVATE heed::heed)
  target_compile_options(heed_compiled_${set} PRIVATE ${heed_flags_of_${set}})
  target_compile_definitions(heed_compiled_${set} PRIVATE HEED_COMPILED_SET=${set} HEED_COMPILED_NAME="${set}" ${better})
  set_target_properties(heed_compiled_${set} PROPERTIES POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
  if(TARGET heed_warnings)
    target_link_libraries(heed_compiled_${set} PRIVATE heed_warnings)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)  # its bug 105593, as in warnings.cmake
      target_compile_options(heed_compiled_${set} PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
  endif()
  target_sources(heed_compiled PRIVATE $<TARGET_OBJECTS:heed_compiled_${set}>)
endforeach()
