# What is installed: the headers, what find_package and pkg-config read, and the licence. Nothing of it depends on the machine.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/heed DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(destination ${CMAKE_INSTALL_DATADIR}/cmake/heed)
function(install_target target export)
  install(TARGETS ${target} EXPORT ${export})
  install(EXPORT ${export} NAMESPACE heed:: DESTINATION ${destination})
endfunction()
install_target(heed heedTargets)
install_target(heed_threads heedThreadsTargets)
if(TARGET heed_io)
  install_target(heed_io heedIoTargets)
endif()

# heed::compiled is compiled by whoever asks for it: its sources are the same on every machine.
install(FILES ${PROJECT_SOURCE_DIR}/cmake/compiled.cmake DESTINATION ${destination}/compiled/cmake)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/compiled DESTINATION ${destination}/compiled/src)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/heedConfig.cmake.in heedConfig.cmake
  INSTALL_DESTINATION ${destination})
write_basic_package_version_file(heedConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/heedConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/heedConfigVersion.cmake
  DESTINATION ${destination})

# The prefix is found from where the file lies, so that an installed tree can be moved.
file(RELATIVE_PATH heed_pc_to_prefix ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/heed.pc.in heed.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/heed.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
