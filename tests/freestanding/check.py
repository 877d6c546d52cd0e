#!/usr/bin/env python3
"""Compiles one file for one machine without a hosted library and looks at what the object still asks for.

A `// machines: host aarch64 ...` line in the file names the only machines that it is meant for.
Exit status: 0 nothing but the four memory functions is undefined, 1 otherwise, 77 no such compiler here.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

# A freestanding compiler may call these four whatever its flags.
ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}
# On machines without such instructions the compiler calls its own run-time library (libgcc, compiler-rt), which is part
# of the compiler and present in every freestanding build.
BIT_HELPERS = {"__clzdi2", "__ctzdi2", "__popcountdi2", "__bswapdi2", "__bswapsi2", "__ffsdi2"}
WORD_HELPERS = BIT_HELPERS | {"__ashldi3", "__ashrdi3", "__lshrdi3", "__muldi3", "__udivdi3", "__umoddi3"}

FLAGS = ["-std=c++20", "-O2", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics",
         "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
         "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]

MACHINES = {  # name: compilers to try, options, further symbols allowed
    "host": ([], [], set()),
    "clang": (["clang++"], [], set()),
    "aarch64": (["aarch64-linux-gnu-g++"], ["-mno-outline-atomics"], set()),
    "clang-aarch64-none": (["clang++"], ["--target=aarch64-none-elf"], set()),
    "i386": (["i686-linux-gnu-g++"], ["-march=i686", "-fno-pic", "-fno-pie"], WORD_HELPERS),
    "riscv64": (["riscv64-linux-gnu-g++"], ["-march=rv64gc"], BIT_HELPERS),
    "s390x": (["s390x-linux-gnu-g++"], [], BIT_HELPERS),
}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def run(command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace")


def library_folders(cross):
    """Where the cross compiler finds the C++ headers: a clang without a library of its own borrows them."""
    text = run([cross, "-E", "-v", "-x", "c++", "/dev/null"]).stdout
    listed = re.search(r"search starts here:\n(.*?)\nEnd of search list", text, re.S)
    folders = [os.path.normpath(line.strip()) for line in listed[1].splitlines()] if listed else []
    # Neither the other compiler's own headers nor this host's.
    return [folder for folder in folders if "/lib/gcc" not in folder and folder != "/usr/include"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--machine", required=True, choices=MACHINES)
    parser.add_argument("--host-compiler", required=True)
    parser.add_argument("--include", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("source")
    options = parser.parse_args()

    with open(options.source, encoding="utf-8") as file:
        only = re.search(r"^\s*//\s*machines:\s*(.*)$", file.read(), re.M)
    if only and options.machine not in only[1].split():
        skip(f"meant for {only[1].strip()}")

    compilers, more, also = MACHINES[options.machine]
    compiler = next(filter(shutil.which, compilers), None) if compilers else options.host_compiler
    if not compiler:
        skip(f"{' or '.join(compilers)} is not installed")
    if options.machine == "clang-aarch64-none":
        cross = "aarch64-linux-gnu-g++"
        if not shutil.which(cross):
            skip(f"{cross}, whose C++ headers clang would use, is not installed")
        more = more + ["-nostdinc++"] + [word for folder in library_folders(cross) for word in ("-isystem", folder)]

    done = run([compiler, *FLAGS, *more, "-I", options.include, "-c", options.source, "-o", options.output])
    if done.returncode:
        print(f"{compiler} refuses it:\n{done.stdout}")
        sys.exit(1)
    tool = next(filter(shutil.which, ["llvm-nm", "nm"]), None)
    prefix = re.match(r"(.*-linux-gnu-)g\+\+$", compiler)
    if prefix and shutil.which(prefix[1] + "nm"):
        tool = prefix[1] + "nm"
    elif options.machine == "clang-aarch64-none":
        tool = shutil.which("aarch64-linux-gnu-nm") or tool
    if not tool:
        skip("nm is not installed")
    listed = run([tool, "-u", options.output])
    if listed.returncode:
        print(f"{tool} cannot read the object:\n{listed.stdout}")
        sys.exit(1)
    needed = {line.split()[-1] for line in listed.stdout.splitlines() if re.match(r"\s*[UuwWv]\s", line)}
    alien = needed - ALLOWED - also
    if alien:
        print("the object also needs: " + " ".join(sorted(alien)))
        sys.exit(1)
    print("undefined: " + (" ".join(sorted(needed)) or "nothing"))


if __name__ == "__main__":
    main()
