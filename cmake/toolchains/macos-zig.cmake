# macOS programs, built and linked on Linux by the clang, the headers and the libraries that come
# with zig. They are not run.
#
#   scripts/zig && cmake --preset macos-arm64        (or macos-x86_64)
#
# FERRY_MACOS_ARCH: x86_64 or arm64.
set(CMAKE_SYSTEM_NAME Darwin)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES FERRY_MACOS_ARCH)
set(CMAKE_SYSTEM_PROCESSOR ${FERRY_MACOS_ARCH})
if(FERRY_MACOS_ARCH STREQUAL "arm64")
  set(zig_target aarch64-macos)
else()
  set(zig_target x86_64-macos)
endif()

# Small scripts, because CMake wants one program and no arguments for each of these.
set(zig_tools ${CMAKE_CURRENT_LIST_DIR}/zig)
set(CMAKE_C_COMPILER ${zig_tools}/zig-cc)
set(CMAKE_CXX_COMPILER ${zig_tools}/zig-c++)
set(CMAKE_AR ${zig_tools}/zig-ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${zig_tools}/zig-ranlib CACHE FILEPATH "")
# The oldest macOS that ferry's code is for.
set(CMAKE_C_FLAGS_INIT "-target ${zig_target}.11.0")
set(CMAKE_CXX_FLAGS_INIT "-target ${zig_target}.11.0")

# There is no SDK, and no Mac's idea of what to build for.
set(CMAKE_OSX_ARCHITECTURES "" CACHE STRING "" FORCE)
set(CMAKE_OSX_SYSROOT "" CACHE STRING "" FORCE)
set(CMAKE_OSX_DEPLOYMENT_TARGET "" CACHE STRING "" FORCE)

# Nothing of the host's but its programs.
set(CMAKE_FIND_ROOT_PATH ${CMAKE_CURRENT_LIST_DIR}/zig)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

include(${CMAKE_CURRENT_LIST_DIR}/host-headers.cmake)

# OpenSSL as headers, too; what is called of it is left for a Mac to find when the program starts.
set(host_openssl ${CMAKE_BINARY_DIR}/host-openssl)
if(NOT EXISTS ${host_openssl})
  file(GLOB openssl_headers /usr/include/openssl/*.h
       /usr/include/${CMAKE_HOST_SYSTEM_PROCESSOR}-linux-gnu/openssl/*.h)
  file(MAKE_DIRECTORY ${host_openssl}/openssl)
  foreach(header IN LISTS openssl_headers)
    get_filename_component(name ${header} NAME)
    file(CREATE_LINK ${header} ${host_openssl}/openssl/${name} SYMBOLIC)
  endforeach()
endif()
set(CMAKE_FIND_PACKAGE_PREFER_CONFIG ON) # instead of CMake's own FindOpenSSL
set(OpenSSL_DIR ${CMAKE_CURRENT_LIST_DIR}/host-headers)
