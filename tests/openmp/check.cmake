# ALONE and THREADED, without and with -fopenmp, pass the tests of threads and print the same hash.
function(hash_of program result)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env OMP_NUM_THREADS=3 ${program} --gtest_filter=ThreadBits.*
                  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE code)
  string(REGEX MATCH "hash of all results: ([0-9a-f]+)" _ "${output}")
  if(NOT code EQUAL 0 OR NOT CMAKE_MATCH_1)
    message(FATAL_ERROR "${program} failed:\n${output}")
  endif()
  set(${result} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()

hash_of(${ALONE} alone)
hash_of(${THREADED} threaded)
if(NOT alone STREQUAL threaded)
  message(FATAL_ERROR "the results differ: ${alone} without -fopenmp, ${threaded} with it")
endif()
message(STATUS "the same bits: ${alone}")
