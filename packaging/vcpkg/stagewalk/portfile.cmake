# An overlay port: vcpkg install stagewalk --overlay-ports=packaging/vcpkg
# It takes the sources from the tree that it lies in. A port outside of it would put this in place of the next line:
#   vcpkg_from_github(OUT_SOURCE_PATH SOURCE_PATH REPO stagewalk/stagewalk REF "v${VERSION}" SHA512 ... HEAD_REF main)
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

set(VCPKG_BUILD_TYPE release) # header-only

vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        -DSTAGEWALK_BUILD_TESTS=OFF
        -DSTAGEWALK_BUILD_BENCH=OFF
        -DSTAGEWALK_BUILD_DOCS=OFF
        -DSTAGEWALK_BUILD_EXAMPLES=OFF
        -DSTAGEWALK_BUILD_FUZZERS=OFF
        -DSTAGEWALK_INSTALL=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME stagewalk CONFIG_PATH share/cmake/stagewalk)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE
    "${CURRENT_PACKAGES_DIR}/debug"
    "${CURRENT_PACKAGES_DIR}/lib"
    "${CURRENT_PACKAGES_DIR}/share/cmake"
    "${CURRENT_PACKAGES_DIR}/share/licenses"
)
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
