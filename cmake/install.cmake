# Installing: headers, a CMake package and a pkg-config file, all of them free of absolute paths.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/stagewalk")

if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.23)
    install(TARGETS stagewalk EXPORT stagewalkTargets
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
else()
    install(TARGETS stagewalk EXPORT stagewalkTargets)
    install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
endif()
install(EXPORT stagewalkTargets NAMESPACE stagewalk:: DESTINATION "${package_dir}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/stagewalkConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/stagewalkConfig.cmake"
    INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
# ARCH_INDEPENDENT: headers installed by a 64-bit build serve a 32-bit one.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/stagewalkConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/stagewalkConfig.cmake" "${PROJECT_BINARY_DIR}/stagewalkConfigVersion.cmake"
    DESTINATION "${package_dir}")

# The .pc file finds its prefix from where it lies itself, so the tree can be moved.
set(pc_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
if(IS_ABSOLUTE "${pc_dir}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
    set(pc_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
else()
    file(RELATIVE_PATH up "/x/${pc_dir}" "/x")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
    set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file("${CMAKE_CURRENT_LIST_DIR}/stagewalk.pc.in" "${PROJECT_BINARY_DIR}/stagewalk.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/stagewalk.pc" DESTINATION "${pc_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/stagewalk")
