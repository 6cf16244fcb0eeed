include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(destination ${CMAKE_INSTALL_DATADIR}/cmake/heed)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/heed DESTINATION include FILES_MATCHING PATTERN "*.hpp")
function(install_target target export)
  install(TARGETS ${target} EXPORT ${export})
  install(EXPORT ${export} NAMESPACE heed:: DESTINATION ${destination})
endfunction()
install_target(heed heedTargets)
install_target(heed_threads heedThreadsTargets)
if(TARGET heed_io)
  install_target(heed_io heedIoTargets)
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/heedConfig.cmake.in heedConfig.cmake
  INSTALL_DESTINATION ${destination})
write_basic_package_version_file(heedConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/heedConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/heedConfigVersion.cmake
  DESTINATION ${destination})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
