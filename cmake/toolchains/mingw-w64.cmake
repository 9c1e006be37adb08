# Windows programs, built on another system by Debian's mingw-w64 and run by its Wine.
#
#   cmake --preset mingw
#
# The variant with POSIX threads: the other one has no std::thread.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)

set(mingw_triple x86_64-w64-mingw32)
set(CMAKE_C_COMPILER ${mingw_triple}-gcc-posix)
set(CMAKE_CXX_COMPILER ${mingw_triple}-g++-posix)
set(CMAKE_RC_COMPILER ${mingw_triple}-windres)

# scripts/openssl-mingw puts OpenSSL into the second of these.
set(CMAKE_FIND_ROOT_PATH /usr/${mingw_triple} ${CMAKE_CURRENT_LIST_DIR}/../../build/openssl-mingw)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Nothing but Windows' own DLLs is needed to run what is built. (Wine reads DWARF 4 at most, for the
# stack of a program that crashed.)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(OPENSSL_USE_STATIC_LIBS ON) # and with it what a static OpenSSL needs of Windows
set(CMAKE_CXX_FLAGS_DEBUG_INIT -gdwarf-4)
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO_INIT -gdwarf-4)

find_program(WINE64 NAMES wine64 PATHS /usr/lib/wine NO_CMAKE_FIND_ROOT_PATH)
if(WINE64)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${CMAKE_CURRENT_LIST_DIR}/wine)
endif()

include(${CMAKE_CURRENT_LIST_DIR}/host-headers.cmake)
