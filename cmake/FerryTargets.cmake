# How ferry's targets are made.

# Warnings, and whether they are errors, for a target of ours. A project that embeds ferry gets
# its own warnings in its own code, not ours.
function(ferry_developer_flags target)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang" AND (PROJECT_IS_TOP_LEVEL OR FERRY_WERROR))
    target_compile_options(
      ${target}
      PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wconversion;-Wshadow>
              $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${FERRY_WERROR}>>:-Werror>)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      # g++ 12 warns of std::string's own copies in optimized builds (GCC bug 105651).
      target_compile_options(${target} PRIVATE -Wno-restrict)
    endif()
  endif()
endfunction()

# A library of these sources: ferry itself, and its twin for the tests.
function(ferry_add_library target kind)
  add_library(${target} ${kind} ${ARGN})
  target_include_directories(
    ${target}
    PUBLIC $<BUILD_INTERFACE:${ferry_SOURCE_DIR}/include>
    PRIVATE ${ferry_SOURCE_DIR}/src)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(
    ${target}
    PUBLIC Threads::Threads
    PRIVATE fmt::fmt ${FERRY_TLS_LIBRARIES} ${FERRY_SYSTEM_LIBRARIES})
  set_target_properties(
    ${target}
    PROPERTIES CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               # A static ferry may end up inside somebody's shared object.
               POSITION_INDEPENDENT_CODE ON
               # Each file is read alone, also where the embedding project builds in unity.
               UNITY_BUILD OFF)
  if(FERRY_SANITIZE)
    set(sanitize -fsanitize=${FERRY_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_compile_options(${target} PUBLIC "$<BUILD_INTERFACE:${sanitize}>")
    target_link_options(${target} PUBLIC "$<BUILD_INTERFACE:${sanitize}>")
  endif()
  ferry_developer_flags(${target})
endfunction()
