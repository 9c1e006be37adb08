# The host's Catch2 for another system; see ../host-headers.cmake.
if(NOT TARGET Catch2::Catch2)
  add_library(Catch2::Catch2 INTERFACE IMPORTED)
  set_target_properties(Catch2::Catch2 PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
                                                  ${CMAKE_BINARY_DIR}/host-headers)
endif()
list(APPEND CMAKE_MODULE_PATH /usr/lib/cmake/Catch2) # catch_discover_tests()
