# What every consumer does with heed::heed once it has it.

# heed brings nothing along but an include path, C++20 and Eigen.
foreach(property COMPILE_OPTIONS COMPILE_DEFINITIONS LINK_OPTIONS)
  get_target_property(pushed heed::heed INTERFACE_${property})
  if(pushed)
    message(FATAL_ERROR "heed::heed pushes ${property} to its users: ${pushed}")
  endif()
endforeach()
foreach(ours BUILD_TESTING CMAKE_CXX_COMPILER_LAUNCHER)
  if(DEFINED ${ours})
    message(FATAL_ERROR "heed set ${ours} in the project that uses it")
  endif()
endforeach()
foreach(ours heed_warnings heed_unit_tests)
  if(TARGET ${ours})
    message(FATAL_ERROR "heed defined ${ours} in the project that uses it")
  endif()
endforeach()

add_executable(consumer ${CMAKE_CURRENT_LIST_DIR}/main.cpp)
target_link_libraries(consumer PRIVATE heed::heed)
target_compile_options(consumer PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  -Wdouble-promotion -Werror)
