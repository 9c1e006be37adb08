# The host's {fmt} for a Windows build; see ../mingw-w64.cmake.
if(NOT TARGET fmt::fmt)
  add_library(fmt::fmt INTERFACE IMPORTED)
  set_target_properties(
    fmt::fmt PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/host-headers
                        INTERFACE_COMPILE_DEFINITIONS FMT_HEADER_ONLY)
endif()
