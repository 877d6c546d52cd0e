#!/usr/bin/env python3
"""Checks what the headers include: the standard headers of a freestanding build only, and one another in one direction.

Usage: check_headers.py SOURCE_TREE      Exit status 0, or 1 with one line for each thing that is wrong.
"""
import pathlib
import re
import sys

STANDARD = {"bit", "compare", "concepts", "cstddef", "cstdint", "limits", "type_traits", "utility", "version"}

# A folder may include itself, and what is listed. An architecture's folder never includes another architecture's.
BELOW = {"core": set()}
BELOW["memory"] = {"core"}
BELOW["walk"] = BELOW["memory"] | {"memory"}
BELOW["tlb"] = {"core"}
BELOW["translate"] = BELOW["walk"] | {"walk", "tlb"}
BELOW["build"] = BELOW["translate"] | {"translate"}
BELOW["shadow"] = BELOW["build"] | {"build"}
for architecture in ("vtd", "smmu", "amdvi", "riscv"):
    BELOW[architecture] = BELOW["build"]
for device in ("virtio", "vfio"):
    BELOW[device] = BELOW["shadow"] | {"shadow"}
ARCHITECTURES = re.compile(r"\b(vtd|smmu|amdvi)::")
# Headers that stand in one folder and belong to a higher layer.
HIGHER = {"memory/translated.hpp": "translate"}
# The only headers that may ask the preprocessor anything.
ASK = {"config.hpp", "version.hpp"}

root = pathlib.Path(sys.argv[1]).resolve() / "include/stagewalk"
wrong = []
graph = {}
for path in sorted(root.rglob("*.hpp")):
    name = path.relative_to(root).as_posix()
    folder = name.split("/")[0] if "/" in name else ""
    room = HIGHER.get(name, folder)
    text = path.read_text(encoding="utf-8")
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    graph[name] = set()
    if not re.search(r"^#pragma once$", code, re.M):
        wrong.append(f"{name}: no #pragma once")
    for line in re.findall(r"^[ \t]*#[ \t]*(\w+)", code, re.M):
        if line not in ("include", "pragma") and name not in ASK:
            wrong.append(f"{name}: #{line} belongs in config.hpp")
    for opener, target in re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', code, re.M):
        if opener == "<" and not target.startswith("stagewalk/"):
            if target not in STANDARD:
                wrong.append(f"{name}: <{target}> is not in a freestanding build")
            continue
        other = root.parent / target if opener == "<" else (path.parent / target).resolve()
        if not other.is_file() or root not in other.parents:
            wrong.append(f"{name}: {target} is not one of the library's headers")
            continue
        other = other.relative_to(root).as_posix()
        graph[name].add(other)
        theirs = HIGHER.get(other, other.split("/")[0] if "/" in other else "")
        if room and theirs and theirs != room and theirs not in BELOW.get(room, set()):
            wrong.append(f"{name}: {room}/ must not include {theirs}/ ({other})")
    if folder and folder not in BELOW:
        wrong.append(f"{name}: a folder that this check does not know")
    if folder in ("core", "memory", "walk", "translate", "tlb", "build", "shadow") and ARCHITECTURES.search(code):
        wrong.append(f"{name}: names an architecture")


def visit(name, path, done):
    if name in path:
        wrong.append("a circle: " + " -> ".join(path[path.index(name):] + [name]))
    elif name not in done:
        for other in sorted(graph[name]):
            visit(other, path + [name], done)
        done.add(name)


finished = set()
for header in sorted(graph):
    visit(header, [], finished)
if "stagewalk.hpp" in graph:
    reached = set()
    visit("stagewalk.hpp", [], reached)
    for header in sorted(set(graph) - reached):
        wrong.append(f"stagewalk.hpp: does not bring {header}")

for line in wrong:
    print(line)
print(f"{len(graph)} headers, {len(wrong)} complaints")
sys.exit(1 if wrong else 0)
