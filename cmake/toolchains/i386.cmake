# The tests on a 32-bit machine. An x86-64 kernel runs such programs by itself; elsewhere qemu-user does.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i386)
set(CMAKE_CXX_COMPILER i686-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "^(x86_64|i.86)$")
    find_program(STAGEWALK_EMULATOR NAMES qemu-i386-static qemu-i386 REQUIRED)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${STAGEWALK_EMULATOR}")
endif()
