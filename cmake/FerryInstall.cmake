# What `cmake --install` puts where: the library, its headers, a CMake package, a pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ferry)

install(
  TARGETS ferry
  EXPORT ferry-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  INCLUDES
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  DIRECTORY ${PROJECT_SOURCE_DIR}/include/ferry
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING
  PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE
        DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/licenses/ferry)

# find_package(ferry)
install(EXPORT ferry-targets NAMESPACE ferry:: DESTINATION ${package_dir})
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/ferry-config.cmake.in ${PROJECT_BINARY_DIR}/ferry-config.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ferry-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ferry-config.cmake
              ${PROJECT_BINARY_DIR}/ferry-config-version.cmake DESTINATION ${package_dir})

# pkg-config ferry. The prefix is found from where the file lies, so that the tree can be moved.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
  set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
else()
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
  set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
else()
  set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
# Where only the archive is installed, everybody who links it must link what it needs: with and
# without --static. A shared ferry brings these itself.
set(pc_packages "fmt >= 9")
if(FERRY_TLS)
  string(APPEND pc_packages ", openssl >= 3")
endif()
if(FERRY_SHARED)
  set(pc_cflags "-I\${includedir} -DFERRY_SHARED=1")
  set(pc_needs "Requires.private: ${pc_packages}\nLibs.private: -pthread")
  set(pc_libs "-L\${libdir} -lferry")
else()
  set(pc_cflags "-I\${includedir}")
  set(pc_needs "Requires: ${pc_packages}")
  set(pc_libs "-L\${libdir} -lferry -pthread")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/ferry.pc.in ${PROJECT_BINARY_DIR}/ferry.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ferry.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
