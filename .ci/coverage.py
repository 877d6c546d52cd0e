#!/usr/bin/env python3
"""Which lines and branches under FOLDER the tests ran: a table on the screen, all that is left in a file.

Reads what clang's source-based coverage wrote. A template counts as one piece of source: a line is covered if any of its
instantiations ran it, a branch if some instantiation took it. Exit status 1 if less is covered than --lines and --branches
(per cent) demand.
"""
import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict


def lines_of(segments: list) -> dict[int, int]:
    """How often each line that holds code ran, by llvm-cov's own rules."""
    counts: dict[int, int] = {}
    starting = defaultdict(list)
    for segment in segments:
        starting[segment[0]].append(segment)
    wrapped = None
    for line in range(segments[0][0], segments[-1][0] + 1) if segments else ():
        here = starting.get(line, [])
        entered = [s for s in here if s[3] and s[4] and not s[5]]  # has a count, begins a region, is no gap
        skipped = bool(here) and not here[0][3] and here[0][4]
        if entered or (not skipped and wrapped is not None and wrapped[3]):
            begin = wrapped[2] if wrapped is not None and wrapped[3] else 0
            counts[line] = max([begin] + [s[2] for s in entered])
        if here:
            wrapped = here[-1]
    return counts


def branches_of(records: list) -> dict[tuple, int]:
    """Whether each side of each condition was taken: key (line, column, side)."""
    taken: dict[tuple, int] = defaultdict(int)
    for line, column, end_line, end_column, true, false, *_ in records:
        taken[line, column, end_line, end_column, "true"] += true
        taken[line, column, end_line, end_column, "false"] += false
    return taken


def share(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--llvm-cov", required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--uncovered", required=True, help="the file that gets everything that is left")
    parser.add_argument("--lines", type=float, default=0)
    parser.add_argument("--branches", type=float, default=0)
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()

    folder = os.path.realpath(options.folder)
    all_lines: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    all_branches: dict[str, dict[tuple, int]] = defaultdict(lambda: defaultdict(int))
    # One by one: of a function that one program runs and another only contains, llvm-cov would keep either.
    for program in options.program:
        command = [options.llvm_cov, "export", "-format=text", "-skip-expansions", "-skip-functions",
                   "-instr-profile", options.profile, program, "-sources", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{program}: {done.stderr[-2000:]}")
            return 1
        for file in json.loads(done.stdout)["data"][0]["files"]:
            name = os.path.relpath(os.path.realpath(file["filename"]), folder)
            if name.startswith(".."):
                continue
            for line, count in lines_of(file["segments"]).items():
                all_lines[name][line] += count
            for branch, count in branches_of(file["branches"]).items():
                all_branches[name][branch] += count

    groups = defaultdict(lambda: [0, 0, 0, 0])  # lines, of them run, branches, of them taken
    left: list[str] = []
    for name, lines in sorted(all_lines.items()):
        with open(os.path.join(folder, name), encoding="utf-8") as source:
            text = source.read().splitlines()
        # llvm-cov counts blank lines and comments within what did not run; a condition of which no side was taken where the
        # line ran is one that the compiler decided (if constexpr).
        lines = {line: count for line, count in lines.items() if re.match(r"\s*(?!//)\S", text[line - 1])}
        branches = {side: count for side, count in all_branches[name].items()
                    if any(all_branches[name][(*side[:4], way)] for way in ("true", "false")) or not lines.get(side[0])}
        for group in (os.path.dirname(name), "all"):
            for column, value in enumerate((len(lines), sum(map(bool, lines.values())),
                                            len(branches), sum(map(bool, branches.values())))):
                groups[group][column] += value
        missing = [(line, 0, "never run") for line, count in lines.items() if not count]
        silent = {line for line, _, _ in missing}
        missing += [(line, column, f"never {side}: {text[line - 1][column - 1:end_column - 1] if end_line == line else ''}")
                    for (line, column, end_line, end_column, side), count in branches.items()
                    if not count and line not in silent]
        left += [f"{name}:{line}: {what}" + (f": {text[line - 1].strip()}" if not column else "")
                 for line, column, what in sorted(missing)]

    print(f"{'':24}{'lines':>16}{'':9}{'branches':>16}")
    for group in sorted(groups, key=lambda g: (g == "all", g)):
        n, ran, sides, took = groups[group]
        print(f"{group:24}{f'{ran}/{n}':>16}{share(ran, n):8.2f}%{f'{took}/{sides}':>16}{share(took, sides):8.2f}%")
    with open(options.uncovered, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in left)
    runs = [line for line in left if ": never run: " in line]
    print(f"{len(runs)} lines never run, {len(left) - len(runs)} sides of conditions never taken: all in {options.uncovered}")
    by_file: dict[str, list[str]] = defaultdict(list)
    for line in runs:
        name, number, _ = line.split(":", 2)
        by_file[name].append(number)
    for name, numbers in by_file.items():
        print(f"  {name}: {' '.join(numbers)}")

    n, ran, sides, took = groups["all"]
    low = [f"{what} {got:.2f}% < {floor}%"
           for what, got, floor in (("lines", share(ran, n), options.lines), ("branches", share(took, sides), options.branches))
           if got < floor]
    if low:
        print("less is covered than it was: " + ", ".join(low))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
