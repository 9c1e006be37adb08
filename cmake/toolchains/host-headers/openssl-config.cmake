# The host's OpenSSL headers for macOS, and no library; see ../macos-zig.cmake.
foreach(library Crypto SSL)
  if(NOT TARGET OpenSSL::${library})
    add_library(OpenSSL::${library} INTERFACE IMPORTED)
    set_target_properties(
      OpenSSL::${library}
      PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/host-openssl
                 INTERFACE_LINK_OPTIONS -Wl,-undefined,dynamic_lookup)
  endif()
endforeach()
set(OPENSSL_FOUND TRUE) # as FindOpenSSL.cmake says it
