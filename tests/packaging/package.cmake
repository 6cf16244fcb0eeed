# What a package of heed must be.

# Every header of the tree is in ROOT/include, and nothing else is.
function(expect_headers root)
  file(GLOB_RECURSE expected RELATIVE ${HEED_SOURCE}/include ${HEED_SOURCE}/include/*)
  file(GLOB_RECURSE found RELATIVE ${root}/include ${root}/include/*)
  if(NOT "${found}" STREQUAL "${expected}")
    message(FATAL_ERROR "${root}/include: expected the headers of ${HEED_SOURCE}/include, found ${found}")
  endif()
endfunction()

function(expect_program root)
  string(REPLACE "|" ";" directories "${EIGEN}")
  list(TRANSFORM directories PREPEND "-isystem")
  execute_process(COMMAND ${COMPILER} -std=c++20 -I${root}/include ${directories} ${HEED_SOURCE}/tests/consumers/main.cpp
                          -o ${WORK}/consumer COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${WORK}/consumer COMMAND_ERROR_IS_FATAL ANY)
endfunction()
