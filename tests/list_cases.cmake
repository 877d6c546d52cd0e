# Run after a test executable is linked: asks it for its cases and writes them down for ctest.
#   executable, emulator (may be empty), room, catch (version), output
cmake_minimum_required(VERSION 3.22)

function(list_cases spec result)
    if(catch VERSION_GREATER_EQUAL 3)
        set(how --list-tests --verbosity quiet)
    else()
        set(how --list-test-names-only)
    endif()
    execute_process(COMMAND ${emulator} "${executable}" "${spec}" ${how}
        OUTPUT_VARIABLE text ERROR_VARIABLE problem RESULT_VARIABLE code)
    # Version 2 returns the number of cases.
    if(catch VERSION_GREATER_EQUAL 3 AND NOT code EQUAL 0)
        message(FATAL_ERROR "${executable} does not list its cases (${code}): ${problem}")
    elseif(NOT code MATCHES "^[0-9]+$")
        message(FATAL_ERROR "${executable} does not list its cases (${code}): ${problem}")
    endif()
    string(REGEX REPLACE "[][;]" "?" safe "${text}")
    if(NOT safe STREQUAL text)
        message(FATAL_ERROR "${room}: a test case's name has one of ] [ ; in it")
    endif()
    string(REGEX REPLACE "\r?\n" ";" names "${text}")
    list(FILTER names EXCLUDE REGEX "^ *$")
    set(${result} "${names}" PARENT_SCOPE)
endfunction()

set(no_case_fails "")
if(catch VERSION_LESS 3)
    set(no_case_fails "--warn NoTests") # version 3 fails by itself
endif()

function(write_case name labels)
    string(REGEX REPLACE "([\\,\"])" "\\\\\\1" pattern "${name}")   # what Catch2 reads as part of a pattern
    file(APPEND "${output}.new"
        "add_test([==[${room}.${name}]==] ${emulator} [==[${executable}]==] [==[${pattern}]==] ${no_case_fails})\n"
        "set_tests_properties([==[${room}.${name}]==] PROPERTIES LABELS \"${labels}\" "
        "SKIP_REGULAR_EXPRESSION \"case skipped: \")\n")
endfunction()

file(WRITE "${output}.new" "")
list_cases("~[long]" short_cases)
list_cases("[long]" long_cases)
foreach(name IN LISTS short_cases)
    write_case("${name}" "${room}")
endforeach()
foreach(name IN LISTS long_cases)
    write_case("${name}" "${room};long")
endforeach()
if(NOT short_cases AND NOT long_cases)
    # A room of static_asserts only: that it compiled is the proof.
    file(APPEND "${output}.new"
        "add_test([==[${room}.compiled]==] ${emulator} [==[${executable}]==] --list-tests)\n"
        "set_tests_properties([==[${room}.compiled]==] PROPERTIES LABELS \"${room}\")\n")
endif()
file(RENAME "${output}.new" "${output}")
