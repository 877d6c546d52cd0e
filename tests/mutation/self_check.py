#!/usr/bin/env python3
"""Judges run: over a small header of its own, whose mutants and survivors are known beforehand."""
from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

HEADER = """#pragma once
#include <cstdint>
namespace sample {
// Decided when it is compiled: 7.
inline constexpr std::uint64_t mask = 7;
template <class T>
constexpr bool fits(T value) { return value <= mask; }
constexpr std::uint64_t shifted(std::uint64_t value) { return value << 3 | 1; }
// A value below 4 has no bit above bit 1: that it is masked cannot be seen, nor whether 4 is below.
constexpr std::uint64_t small(std::uint64_t value) { return value < 4 ? value & 3 : 0; }
// What is assigned is a choice.
constexpr std::uint64_t unless(bool has, std::uint64_t value) {
    std::uint64_t bad = 8;
    bad |= has ? 0 : value;
    return bad;
}
// Nobody tests the limit itself.
constexpr bool above(std::uint64_t value) { return value > 100; }
} // namespace sample
"""
STATIC = """#include <stagewalk/walk/sample.hpp>
static_assert(sample::mask == 7);
"""
RUNTIME = """#include "catch.hpp"
#include <stagewalk/walk/sample.hpp>
TEST_CASE("values") {
    std::uint64_t volatile v = 7;
    CHECK(sample::fits(v + 0));
    CHECK(!sample::fits(v + 1));
    CHECK(sample::shifted(v) == 57);
    for (std::uint64_t n = 0; n < 8; ++n)
        CHECK(sample::small(n + v - 7) == (n < 4 ? n : 0));
    CHECK(sample::unless(v == 7, v) == 8);
    CHECK(sample::unless(v != 7, v) == 15);
    CHECK(sample::above(v + 500));
    CHECK(!sample::above(v));
}
"""
SMALL = "constexpr std::uint64_t small(std::uint64_t value) { return value < 4 ? value & 3 : 0; }"
ABOVE = "constexpr bool above(std::uint64_t value) { return value > 100; }"
SURVIVORS = {
    (SMALL, "& -> left #1"),
    (SMALL, "4 -> 5 #1"),
    (SMALL, "< -> <= #1"),
    (ABOVE, "> -> >= #1"),
    (ABOVE, "100 -> 101 #1"),
    (ABOVE, "100 -> 99 #1"),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--catch", required=True)
    parser.add_argument("--build", required=True, type=Path)
    options = parser.parse_args()
    tree = options.build / "tree"
    shutil.rmtree(options.build / "work" / "include", ignore_errors=True)
    for name, text in (("include/stagewalk/walk/sample.hpp", HEADER), ("tests/static/sample.cpp", STATIC),
                       ("tests/runtime/sample.cpp", RUNTIME)):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in ("catch.hpp", "catch_main.cpp"):
        shutil.copy(HERE.parent / name, tree / "tests" / name)
    equivalent = options.build / "equivalent.txt"

    def run() -> int:
        command = [sys.executable, str(HERE / "run"), "walk", "--all", "--root", str(tree), "--build", str(options.build / "work"),
                   "--compiler", options.compiler, "--catch", options.catch, "--equivalent", str(equivalent)]
        return subprocess.run(command, stdin=subprocess.DEVNULL).returncode

    equivalent.write_text("", encoding="utf-8")
    first = run()
    entry = [line for line in (options.build / "work" / "survivors.txt").read_text(encoding="utf-8").splitlines()
             if line and not line.startswith("#")]
    found = {(entry[k + 1], entry[k + 2]) for k in range(0, len(entry), 4)}
    if first != 1 or found != SURVIVORS:
        print(f"exit status {first} instead of 1, or other survivors than expected:", *sorted(found ^ SURVIVORS), sep="\n")
        return 1
    equivalent.write_text("".join(f"walk/sample.hpp\n{line}\n{name}\nas planned\n\n" for line, name in SURVIVORS), encoding="utf-8")
    second = run()
    if second != 0:
        print(f"exit status {second} instead of 0 when every survivor is known")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
