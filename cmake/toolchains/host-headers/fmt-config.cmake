# The host's {fmt} for another system; see ../host-headers.cmake.
if(NOT TARGET fmt::fmt)
  add_library(fmt::fmt INTERFACE IMPORTED)
  set_target_properties(
    fmt::fmt PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/host-headers
                        INTERFACE_COMPILE_DEFINITIONS FMT_HEADER_ONLY)
endif()
