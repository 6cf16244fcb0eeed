# Runs packaging/conan/conanfile.py with stand-ins for Conan's modules (the folder conan beside this file).
cmake_minimum_required(VERSION 3.21)
include(${CMAKE_CURRENT_LIST_DIR}/package.cmake)
file(REMOVE_RECURSE ${WORK})
execute_process(COMMAND ${CMAKE_COMMAND} -E env PYTHONDONTWRITEBYTECODE=1 ${PYTHON} ${CMAKE_CURRENT_LIST_DIR}/conan.py
                        ${HEED_SOURCE}/packaging/conan ${WORK} COMMAND_ERROR_IS_FATAL ANY)
expect_headers(${WORK}/package)
expect_program(${WORK}/package)
file(READ ${WORK}/version version)
if(NOT version STREQUAL VERSION)
  message(FATAL_ERROR "the recipe's version: expected ${VERSION}, found ${version}")
endif()
