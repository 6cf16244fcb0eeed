# What is installed is used; what is not is fetched. To fetch from elsewhere, set FETCHCONTENT_SOURCE_DIR_<PACKAGE>.

# heed_header_dependency(<package> <target> <repository> <tag> <include>): headers only. A fetched tree is used as it lies,
# without its own CMake files: no options, tests or install rules of theirs enter the project.
function(heed_header_dependency package target repository tag include)
  heed_find(${package} ${target})
  if(NOT TARGET ${target})
    heed_declare(${package} ${repository} ${tag} SOURCE_SUBDIR unused)
    FetchContent_MakeAvailable(${package})
    string(TOLOWER ${package} name)
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} INTERFACE ${${name}_SOURCE_DIR}/${include})
  endif()
endfunction()

# heed_dependency(<package> <target> <repository> <tag>): a library that its own project builds.
function(heed_dependency package target repository tag)  # [least version of an installed one]
  heed_find(${package} ${target} ${ARGN})
  if(NOT TARGET ${target})
    heed_declare(${package} ${repository} ${tag})
    FetchContent_MakeAvailable(${package})
    get_target_property(real ${target} ALIASED_TARGET)
    get_target_property(directories ${real} INTERFACE_INCLUDE_DIRECTORIES)
    set_target_properties(${real} PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${directories}")  # not ours to warn about
  endif()
endfunction()

macro(heed_find package target)
  if(NOT TARGET ${target})
    find_package(${package} ${ARGN} CONFIG QUIET)
    set(${package}_VERSION ${${package}_VERSION} PARENT_SCOPE)
  endif()
endmacro()

macro(heed_declare package repository tag)
  message(STATUS "heed: ${package} is not installed here, fetching ${tag} of ${repository}")
  include(FetchContent)
  FetchContent_Declare(${package} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW ON ${ARGN})
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # options of theirs can be set by plain variables
endmacro()
