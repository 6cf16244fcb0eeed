# heed_docs builds the docs as a site, docs/html in the build tree, and fails on any warning and any link that leads nowhere.
find_program(HEED_DOXYGEN doxygen)
find_path(HEED_DOXYGEN_AWESOME doxygen-awesome.css PATHS /usr/share PATH_SUFFIXES doxygen-awesome-css)
find_package(Python3 QUIET COMPONENTS Interpreter)
if(HEED_DOXYGEN AND HEED_DOXYGEN_AWESOME AND Python3_FOUND)
  add_custom_target(heed_docs
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${PROJECT_BINARY_DIR}/docs
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/docs
    COMMAND ${CMAKE_COMMAND} -E env HEED_VERSION=${PROJECT_VERSION} HEED_DOCS=${PROJECT_BINARY_DIR}/docs
            HEED_DOCS_STYLE=${HEED_DOXYGEN_AWESOME} ${HEED_DOXYGEN} docs/site/Doxyfile
    COMMAND ${Python3_EXECUTABLE} docs/site/check_links.py ${PROJECT_BINARY_DIR}/docs/html
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
else()
  add_custom_target(heed_docs COMMAND ${CMAKE_COMMAND} -E echo "The docs need doxygen, doxygen-awesome-css and python3."
                    COMMAND ${CMAKE_COMMAND} -E false)
endif()
