#!/usr/bin/env python3
"""Checks the recipes whose tools the tests do not run (vcpkg, Conan, Bazel) as far as reading them goes.

Usage: check_recipes.py SOURCE_TREE      Exit status 0, or 1 with one line for each thing that is wrong.
"""
import ast
import json
import pathlib
import re
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


def first(pattern, name):
    match = re.search(pattern, text(name), re.M)
    return match[1] if match else None


header = text("include/stagewalk/version.hpp")
version = ".".join(re.search(rf"#define STAGEWALK_VERSION_{part} (\d+)", header)[1]
                   for part in ("MAJOR", "MINOR", "PATCH"))
headers = sorted(str(path.relative_to(tree)) for path in (tree / "include").rglob("*.hpp"))
expect(len(headers) > 1, "include/: no headers")
stray = [str(path.relative_to(tree)) for path in (tree / "include").rglob("*")
         if path.is_file() and path.suffix != ".hpp"]
expect(not stray, f"include/: files that the recipes do not install: {stray}")
expect("MIT License" in text("LICENSE"), "LICENSE: not the MIT licence")

# --- one version everywhere ---
port = json.loads(text("packaging/vcpkg/stagewalk/vcpkg.json") or "{}")
versions = {
    "packaging/vcpkg/stagewalk/vcpkg.json": port.get("version"),
    "packaging/conan/conanfile.py": first(r'^    version = "([^"]+)"', "packaging/conan/conanfile.py"),
    "meson.build": first(r"^  version: '([^']+)'", "meson.build"),
    "MODULE.bazel": first(r'^    version = "([^"]+)"', "MODULE.bazel"),
}
for name, said in versions.items():
    expect(said == version, f"{name}: version {said}, but version.hpp has {version}")
expect(re.search(rf"^## \[?({re.escape(version)}|Unreleased)", text("CHANGELOG.md"), re.M),
       f"CHANGELOG.md: no section for {version}")

# --- vcpkg ---
for key in ("name", "version", "description", "homepage", "license", "dependencies"):
    expect(key in port, f"vcpkg.json: no `{key}`")
expect(port.get("name") == "stagewalk" and port.get("license") == "MIT", "vcpkg.json: name or licence")
hosts = {item["name"] for item in port.get("dependencies", []) if isinstance(item, dict) and item.get("host")}
expect({"vcpkg-cmake", "vcpkg-cmake-config"} <= hosts, "vcpkg.json: the two host helpers are missing")
portfile = text("packaging/vcpkg/stagewalk/portfile.cmake")
lists = text("CMakeLists.txt")
defined = set(re.findall(r"^option\((STAGEWALK_\w+)", lists, re.M))
for option in re.findall(r"-D(STAGEWALK_\w+)=", portfile):
    expect(option in defined, f"portfile.cmake: CMakeLists.txt has no option {option}")
for option in defined:
    if option.startswith("STAGEWALK_BUILD_"):
        expect(f"-D{option}=OFF" in portfile, f"portfile.cmake: {option} is left on")
config = re.search(r"CONFIG_PATH (\S+?)\)", portfile)
expect(config and config[1] == "share/cmake/stagewalk", "portfile.cmake: CONFIG_PATH is not where CMake installs")
for step in ("vcpkg_cmake_configure", "vcpkg_cmake_install", "vcpkg_cmake_config_fixup", "vcpkg_install_copyright"):
    expect(f"{step}(" in portfile, f"portfile.cmake: no {step}")
expect(portfile.count("(") == portfile.count(")"), "portfile.cmake: unbalanced parentheses")
usage = text("packaging/vcpkg/stagewalk/usage")
expect("find_package(stagewalk CONFIG REQUIRED)" in usage and "stagewalk::stagewalk" in usage, "usage: incomplete")

# --- Conan ---
for name in ("packaging/conan/conanfile.py", "packaging/conan/test_package/conanfile.py"):
    try:
        module = ast.parse(text(name), name)
    except SyntaxError as problem:
        wrong.append(f"{name}: {problem}")
        continue
    recipe = next((node for node in module.body if isinstance(node, ast.ClassDef)
                   and any(isinstance(base, ast.Name) and base.id == "ConanFile" for base in node.bases)), None)
    if recipe is None:
        wrong.append(f"{name}: no ConanFile")
        continue
    methods = {node.name for node in recipe.body if isinstance(node, ast.FunctionDef)}
    fields = {target.id: node.value for node in recipe.body if isinstance(node, ast.Assign) for target in node.targets}
    if "test_package" in name:
        expect({"requirements", "build", "test"} <= methods, f"{name}: has only {sorted(methods)}")
        continue
    expect({"export_sources", "layout", "package_id", "validate", "package", "package_info"} <= methods,
           f"{name}: has only {sorted(methods)}")
    for key, value in {"name": "stagewalk", "license": "MIT", "package_type": "header-library",
                       "no_copy_source": True}.items():
        expect(key in fields and ast.literal_eval(fields[key]) == value, f"{name}: {key} is not {value!r}")
    expect("stagewalk::stagewalk" in text(name), f"{name}: the CMake target has another name")
for name in ("CMakeLists.txt", "test_package.cpp"):
    text(f"packaging/conan/test_package/{name}")

# --- Bazel ---
build = text("BUILD.bazel")
globs = re.findall(r'"(include/[^"]*)"', build)


def matcher(pattern):  # Bazel's: ** is any number of folders, * stays within one
    parts = {"**/": "(?:[^/]+/)*", "*": "[^/]*"}
    return re.compile("".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*)", pattern)))


for path in headers:
    expect(any(matcher(pattern).fullmatch(path) for pattern in globs), f"BUILD.bazel: no glob covers {path}")
expect('strip_include_prefix = "include"' in build, "BUILD.bazel: include/ is not stripped")
expect(re.search(r'name = "stagewalk"', text("MODULE.bazel")), "MODULE.bazel: another name")
for name in ("BUILD.bazel", "MODULE.bazel"):
    try:
        ast.parse(text(name), name)  # the subset of Starlark used there is Python's grammar
    except SyntaxError as problem:
        wrong.append(f"{name}: {problem}")

# --- Meson ---
meson = text("meson.build")
expect("meson.override_dependency('stagewalk'" in meson, "meson.build: dependency('stagewalk') is not answered")
expect("install_subdir('include/stagewalk'" in meson, "meson.build: the headers are not installed")

for line in wrong:
    print(line)
print(f"{'some recipes are wrong' if wrong else 'the recipes agree'} (version {version}, {len(headers)} headers)")
sys.exit(1 if wrong else 0)
