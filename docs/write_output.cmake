# Runs `program` and writes what it prints to `output`, all of it or nothing.
execute_process(COMMAND "${program}" OUTPUT_FILE "${output}.new" RESULT_VARIABLE code)
if(NOT code EQUAL 0)
    message(FATAL_ERROR "${program} ended with ${code}")
endif()
file(RENAME "${output}.new" "${output}")
