# heed_single_header writes <heed/heed.hpp> and all it includes of heed as one file, single_include/heed/heed.hpp in the build tree.
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/*.hpp)
  set(single ${PROJECT_BINARY_DIR}/single_include/heed/heed.hpp)
  add_custom_command(OUTPUT ${single} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/scripts/amalgamate ${single}
                     DEPENDS ${headers} ${PROJECT_SOURCE_DIR}/scripts/amalgamate)
  add_custom_target(heed_single_header DEPENDS ${single})
endif()
