#!/usr/bin/env python3
"""Compares the pages with the tree.

Usage: check_pages.py SOURCE_TREE README_EXAMPLE     Exit status 0, or 1 with one line for each thing that is wrong.

The README's code is docs/readme_example.cpp and its output is what that program prints; links lead somewhere; each place
and each test that docs/coverage.md names exists; docs/faults.md has every fault reason and event, with its number.
"""
import pathlib
import re
import subprocess
import sys

tree = pathlib.Path(sys.argv[1]).resolve()
wrong = []


def expect(condition, message):
    if not condition:
        wrong.append(message)


def text(name):
    path = tree / name
    if not path.is_file():
        wrong.append(f"{name}: absent")
        return ""
    return path.read_text(encoding="utf-8")


# --- README ---
readme = text("README.md")
code = re.search(r"^```cpp\n(.*?)^```", readme, re.M | re.S)
expect(code and code[1] == text("docs/readme_example.cpp"), "README.md: its code is not docs/readme_example.cpp")
output = re.search(r"^```text\n(.*?)^```", readme, re.M | re.S)
said = subprocess.run([sys.argv[2]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
expect(said.returncode == 0, f"docs/readme_example.cpp ends with {said.returncode}")
expect(output and output[1] == said.stdout, f"README.md: its output is not what the example prints:\n{said.stdout}")

# --- links ---
for page in [tree / "README.md", *sorted((tree / "docs").glob("*.md"))]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if not re.match(r"[a-z]+:", target):
            expect((page.parent / target).exists(), f"{page.relative_to(tree)}: no {target}")

# --- coverage ---
rows = 0
seen = set()
for line in text("docs/coverage.md").splitlines():
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    if len(cells) != 5 or not re.fullmatch(r"[A-Z0-9.]+-\d+", cells[0]):
        continue
    number, _, state, where, test = cells
    at = f"docs/coverage.md: row {number}"
    rows += 1
    expect(number not in seen, f"{at}: twice")
    seen.add(number)
    expect(state in ("yes", "untested", "later", "user", "no"), f"{at}: state {state!r}")
    expect(bool(test) or state != "yes", f"{at}: no test")
    expect(where or state not in ("yes", "untested", "no"), f"{at}: no place")
    if state not in ("yes", "untested"):
        continue
    for name in re.findall(r"`([^`]+)`", test):
        expect((tree / "tests" / name).is_file(), f"{at}: no tests/{name}")
    header = ""
    for name in re.findall(r"`([^`]+)`", where):
        if name.endswith(".hpp"):
            header = text(f"include/stagewalk/{name}")
        elif header:
            for word in name.split("::"):
                expect(re.search(rf"\b{re.escape(word)}\b", header), f"{at}: no {word} there")
expect(rows > 100, f"docs/coverage.md: only {rows} rows are recognised")

# --- faults ---
faults = text("docs/faults.md")
for codes in ("vtd/reason", "smmu/event", "amdvi/event"):
    named = re.findall(r"^\s+(\w+) = 0x([0-9a-f]{1,2}),", text(f"include/stagewalk/{codes}.hpp"), re.M)
    expect(len(named) > 10, f"{codes}.hpp: only {len(named)} codes are recognised")
    for name, value in named:
        if codes == "vtd/reason" and value == "00":
            continue
        row = rf"^\| {value.upper()}h \| `{name}` \|"
        expect(re.search(row, faults, re.M), f"docs/faults.md: no row {value.upper()}h {name} of {codes}.hpp")

for line in wrong:
    print(line)
print(f"{'some pages are wrong' if wrong else 'the pages agree'} ({rows} rows of coverage)")
sys.exit(1 if wrong else 0)
