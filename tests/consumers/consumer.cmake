# What every consumer does with heed::heed once it has it, and what it does not put up with.

# heed brings nothing along but an include path, C++20 and Eigen.
foreach(property COMPILE_OPTIONS COMPILE_DEFINITIONS LINK_OPTIONS SOURCES)
  get_target_property(pushed heed::heed INTERFACE_${property})
  if(pushed)
    message(FATAL_ERROR "heed::heed pushes ${property} to its users: ${pushed}")
  endif()
endforeach()

# The project that uses it is as it was.
if(NOT BUILD_TESTING STREQUAL "mine" OR DEFINED CACHE{BUILD_TESTING})
  message(FATAL_ERROR "heed set BUILD_TESTING in the project that uses it, to '${BUILD_TESTING}' or in the cache")
endif()
foreach(ours CMAKE_CXX_COMPILER_LAUNCHER CMAKE_CXX_STANDARD CMAKE_CXX_EXTENSIONS CMAKE_EXPORT_COMPILE_COMMANDS
             CMAKE_BUILD_TYPE CMAKE_CXX_FLAGS)
  if(DEFINED ${ours} AND NOT "${${ours}}" STREQUAL "")
    message(FATAL_ERROR "heed set ${ours} in the project that uses it")
  endif()
endforeach()

# Nothing of heed is built: its targets are interfaces.
function(expect_interfaces directory)
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(NOT type STREQUAL "INTERFACE_LIBRARY")
      message(FATAL_ERROR "heed defined ${target} (${type}) in the project that uses it")
    endif()
  endforeach()
  get_property(directories DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  foreach(below IN LISTS directories)
    expect_interfaces(${below})
  endforeach()
endfunction()
expect_interfaces(${CMAKE_CURRENT_SOURCE_DIR})

add_executable(consumer ${CMAKE_CURRENT_LIST_DIR}/main.cpp)
target_link_libraries(consumer PRIVATE heed::heed)
target_compile_options(consumer PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  -Wdouble-promotion -Werror)
enable_testing()
add_test(NAME consumer COMMAND consumer)
