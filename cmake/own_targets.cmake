# For the targets that this project builds itself. Nothing here reaches a project that includes us.

# stagewalk_warnings(target...): the warnings our own code must be free of.
function(stagewalk_warnings)
    foreach(target IN LISTS ARGN)
        if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
            target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wshadow -Wpedantic
                "$<$<BOOL:${STAGEWALK_WERROR}>:-Werror>")
        elseif(MSVC)
            target_compile_options(${target} PRIVATE /W4 /permissive- "$<$<BOOL:${STAGEWALK_WERROR}>:/WX>")
        endif()
    endforeach()
endfunction()

# stagewalk_target(target...): one of our programs: the library, strict C++20, the warnings.
function(stagewalk_target)
    foreach(target IN LISTS ARGN)
        target_link_libraries(${target} PRIVATE stagewalk::stagewalk)
        set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
        stagewalk_warnings(${target})
    endforeach()
endfunction()

# stagewalk_skipped_test(name reason label...): an entry that ctest shows as skipped, with the reason.
function(stagewalk_skipped_test name reason)
    add_test(NAME "${name}" COMMAND "${CMAKE_COMMAND}" -E echo "skipped: ${reason}")
    set_tests_properties("${name}" PROPERTIES SKIP_REGULAR_EXPRESSION "skipped: " LABELS "${ARGN}")
endfunction()
