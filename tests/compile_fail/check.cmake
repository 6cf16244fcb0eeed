# Compiles SOURCE with COMPILER twice: it must succeed, and with HEED_BAD it must fail with the sentence it promises.
file(READ ${SOURCE} text)
if(NOT text MATCHES "^// expect: ([^\n]+)\n")
  message(FATAL_ERROR "${SOURCE}: the first line must be '// expect: <part of the message>'")
endif()
set(expected "${CMAKE_MATCH_1}")

string(REPLACE "|" ";" EIGEN "${EIGEN}")
list(TRANSFORM EIGEN PREPEND "-isystem")
set(compile ${COMPILER} -std=c++20 -fsyntax-only -I${HEED} ${EIGEN} ${SOURCE})

execute_process(COMMAND ${compile} RESULT_VARIABLE result ERROR_VARIABLE errors)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} must compile without HEED_BAD, and does not:\n${errors}")
endif()

execute_process(COMMAND ${compile} -DHEED_BAD RESULT_VARIABLE result ERROR_VARIABLE errors)
if(result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} must not compile with HEED_BAD, and does")
endif()
string(FIND "${errors}" "${expected}" position)
if(position EQUAL -1)
  message(FATAL_ERROR "${SOURCE} fails as it must, but without saying '${expected}':\n${errors}")
endif()
