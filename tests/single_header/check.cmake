# Writes the single header, and holds it against the compiler's own list of what <heed/heed.hpp> includes, and against an
# example's output.
cmake_minimum_required(VERSION 3.21)
set(header ${WORK}/heed/heed.hpp)
execute_process(COMMAND ${PYTHON} ${HEED_SOURCE}/scripts/amalgamate ${header} COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "|" ";" eigen "${EIGEN}")
list(TRANSFORM eigen PREPEND "-isystem")

execute_process(COMMAND ${COMPILER} -std=c++20 -MM ${eigen} -x c++ ${HEED_SOURCE}/include/heed/heed.hpp
                OUTPUT_VARIABLE rule COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \n\\]+\\.hpp" paths "${rule}")
foreach(path IN LISTS paths)
  get_filename_component(path ${path} ABSOLUTE)
  file(RELATIVE_PATH name ${HEED_SOURCE}/include ${path})
  list(APPEND expected ${name})
endforeach()
list(REMOVE_DUPLICATES expected)
list(SORT expected)

file(STRINGS ${header} found REGEX "^// ---- ")
list(TRANSFORM found REPLACE "^// ---- " "")
list(SORT found)
if(NOT "${found}" STREQUAL "${expected}")
  message(FATAL_ERROR "expected each of these once:\n${expected}\nfound:\n${found}")
endif()
file(STRINGS ${header} left REGEX "^#include \"|^#include <heed/")
if(left)
  message(FATAL_ERROR "expected no header of heed to be left to include, found ${left}")
endif()

set(example ${HEED_SOURCE}/examples/03_mixed_stack)
execute_process(COMMAND ${COMPILER} -std=c++20 -O1 -I${WORK} ${eigen} -Wall -Wextra -Werror ${example}.cpp -o ${WORK}/example
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/example OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
file(READ ${example}.txt expected)
if(NOT printed STREQUAL expected)
  message(FATAL_ERROR "--- expected (${example}.txt)\n${expected}\n--- found\n${printed}")
endif()
