# Packages the tree that it lies in:  vcpkg install heed[io] --overlay-ports=<heed>/packaging/vcpkg
set(VCPKG_BUILD_TYPE release)  # headers are the same in debug
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS FEATURES io HEED_IO)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    ${FEATURE_OPTIONS}
    -DHEED_BUILD_TESTS=OFF
    -DHEED_BUILD_BENCHMARKS=OFF
    -DHEED_BUILD_EXAMPLES=OFF
    -DHEED_BUILD_REPORT=OFF
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/heed)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
