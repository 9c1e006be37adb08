# {fmt} and Catch2 are used as headers, which are the same for every system: links to the host's,
# because the rest of the folder that they are in is not for the system that we build for.
set(host_headers ${CMAKE_BINARY_DIR}/host-headers)
foreach(library fmt catch2)
  if(EXISTS /usr/include/${library} AND NOT EXISTS ${host_headers}/${library})
    file(MAKE_DIRECTORY ${host_headers})
    file(CREATE_LINK /usr/include/${library} ${host_headers}/${library} SYMBOLIC)
  endif()
endforeach()
set(fmt_DIR ${CMAKE_CURRENT_LIST_DIR}/host-headers)
set(Catch2_DIR ${CMAKE_CURRENT_LIST_DIR}/host-headers)
