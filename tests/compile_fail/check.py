#!/usr/bin/env python3
"""Compiles one file twice: with its mistake (must be refused, in the right words) and without (must compile).

Comment lines in the file direct it. A regular expression is Python's.
    // expect: REGEX       the first line that has `error:` must match (required)
    // note: REGEX         some line of the output must match: where a compiler puts the name of an unmet concept into a
                           note and not into the error itself (may be repeated)
    // flags: -Werror=...  more options for both compilations
    // only: gcc|clang     the other compiler is skipped
`expect` and `note` may be written `expect-gcc`, `expect-clang`, `note-gcc`, `note-clang` where the two differ.

The mistake stands under `#ifndef STAGEWALK_EXPECT_OK`; with that macro defined the file must compile without a warning,
so that it cannot be refused for a reason of its own.
Exit status: 0 as expected, 1 not, 77 skipped.
"""
import argparse
import os
import re
import subprocess
import sys

DIRECTIVE = re.compile(r"^\s*//\s*(expect|note|flags|only)(?:-(gcc|clang))?:\s*(.*?)\s*$")


def directives(path, family):
    found = {"expect": [], "note": [], "flags": [], "only": []}
    with open(path, encoding="utf-8") as file:
        for line in file:
            match = DIRECTIVE.match(line)
            if match and match[2] in (None, family):
                found[match[1]].append(match[3])
    return found


def compile_once(options, source, more):
    command = [options.compiler, "-std=c++20", "-Wall", "-Wextra", "-fno-color-diagnostics"
               if options.family == "clang" else "-fdiagnostics-color=never",
               "-I", options.include, *more, "-c", source, "-o", os.devnull]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", env={**os.environ, "LC_ALL": "C"})
    return done.returncode, done.stdout


def fail(message, output=""):
    print(message)
    if output:
        print("--- the compiler said:")
        print("\n".join(output.splitlines()[:60]))
    sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--family", required=True)
    parser.add_argument("--include", required=True)
    parser.add_argument("source")
    options = parser.parse_args()
    options.family = "clang" if "clang" in options.family.lower() else "gcc"

    wanted = directives(options.source, options.family)
    if wanted["only"] and options.family not in wanted["only"]:
        print(f"skipped: for {', '.join(wanted['only'])} only")
        sys.exit(77)
    if len(wanted["expect"]) != 1:
        fail(f"{options.source}: needs exactly one `// expect:` line for {options.family}")
    flags = " ".join(wanted["flags"]).split()

    code, output = compile_once(options, options.source, [*flags, "-DSTAGEWALK_EXPECT_OK"])
    if code or "warning:" in output:
        fail("without its mistake the file must compile, and silently", output)

    code, output = compile_once(options, options.source, flags)
    if code == 0:
        fail("the mistake compiles", output)
    lines = output.splitlines()
    first = next((line for line in lines if "error:" in line), None)
    if first is None:
        fail("no error line in the compiler's output", output)
    said = first.split("error:", 1)[1].strip()
    if not re.search(wanted["expect"][0], said):
        fail(f"the first error is:  {said}\nand does not match:  {wanted['expect'][0]}", output)
    for note in wanted["note"]:
        if not any(re.search(note, line) for line in lines):
            fail(f"no line of the output matches the note:  {note}", output)
    print(f"refused as it should be: {said}")


if __name__ == "__main__":
    main()
