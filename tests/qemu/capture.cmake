# The script `capture`, held against QEMU, against the captures that we ship, and against tables that nobody should write.
# Included by CMakeLists.txt of this room.
if(NOT Python3_Interpreter_FOUND)
    find_package(Python3 COMPONENTS Interpreter QUIET)
endif()

if(NOT Python3_Interpreter_FOUND OR Python3_VERSION VERSION_LESS 3.10)
    stagewalk_skipped_test(qemu.capture "python3 (3.10 or later) is not installed" qemu)
elseif(NOT TARGET stagewalk-inspect)
    stagewalk_skipped_test(qemu.capture "stagewalk-inspect is not built" qemu)
else()
    add_executable(stagewalk_write_tables "${CMAKE_CURRENT_LIST_DIR}/write_tables.cpp")
    stagewalk_target(stagewalk_write_tables)

    # stagewalk_capture_test(name label case [option...])
    function(stagewalk_capture_test name label case)
        add_test(NAME "qemu.capture_${name}"
            COMMAND Python3::Interpreter -B "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/capture_test.py" ${case}
                --tool "$<TARGET_FILE:stagewalk-inspect>" --write-tables "$<TARGET_FILE:stagewalk_write_tables>" ${ARGN})
        set_tests_properties("qemu.capture_${name}" PROPERTIES LABELS "${label}" SKIP_RETURN_CODE 77 TIMEOUT 600)
    endfunction()

    foreach(case IN ITEMS vtd smmuv3 amdvi replay hostile)
        stagewalk_capture_test(${case} qemu ${case})
    endforeach()
    foreach(case IN ITEMS vtd smmuv3 amdvi)
        stagewalk_capture_test(${case}_linux "qemu;long" ${case} --linux)
    endforeach()
endif()
