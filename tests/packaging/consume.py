#!/usr/bin/env python3
"""Builds consumer/ against the library, in one of the ways in which a project can get it, and runs it.

install_tree installs into one folder, moves the result to another and compares it with the source tree; find_package,
pkg_config and meson_installed then use what was moved.
Exit status: 0 works, 1 does not, 77 skipped because a tool is missing.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MINIMAL = ["CMakeLists.txt", "LICENSE", "meson.build", "cmake", "include"]


class Way:
    def __init__(self, options):
        self.options = options
        self.source = pathlib.Path(options.source).resolve()
        self.work = pathlib.Path(options.work).resolve()
        self.prefix = self.work / "moved"
        self.folder = self.work / options.way
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.environment = {key: value for key, value in os.environ.items()
                            if key not in ("CMAKE_PREFIX_PATH", "PKG_CONFIG_PATH", "CXXFLAGS", "DESTDIR")}
        self.environment["CXX"] = options.compiler
        self.environment["LC_ALL"] = "C"

    def run(self, *command, cwd=None, **environment):
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              env={**self.environment, **environment})
        if done.returncode:
            print("$ " + " ".join(words) + "\n" + done.stdout)
            sys.exit(1)
        return done.stdout

    def cmake(self, *more):
        build = self.folder / "build"
        self.run(self.options.cmake, "-S", HERE / "consumer", "-B", build, "-G", self.options.generator,
                 f"-DHOW={self.options.way}", *more)
        self.run(self.options.cmake, "--build", build)
        self.check_program(build)

    def check_program(self, build):
        program = next(path for path in sorted(build.rglob("consumer*"))
                       if path.is_file() and path.stem == "consumer" and path.suffix in ("", ".exe"))
        said = self.run(program).strip()
        wanted = f"stagewalk {self.options.version}"
        if not said.startswith(wanted):
            sys.exit(f"the program says {said!r}, not {wanted!r}")
        print(said)

    # --- the ways ---
    def install_tree(self):
        first = self.folder / "first"
        build = self.folder / "build"
        self.run(self.options.cmake, "-S", self.source, "-B", build, "-G", self.options.generator,
                 f"-DCMAKE_INSTALL_PREFIX={first}",
                 *(f"-DSTAGEWALK_BUILD_{room}=OFF" for room in ("TESTS", "BENCH", "DOCS", "EXAMPLES", "FUZZERS")))
        self.run(self.options.cmake, "--build", build)
        self.run(self.options.cmake, "--install", build)
        shutil.rmtree(self.prefix, ignore_errors=True)
        first.rename(self.prefix)

        for tree in (self.source, self.prefix):
            if not (tree / "include/stagewalk/version.hpp").is_file():
                sys.exit(f"no headers in {tree}")
        ours, theirs = ({str(path.relative_to(tree)) for path in (tree / "include").rglob("*") if path.is_file()}
                        for tree in (self.source, self.prefix))
        if ours != theirs:
            sys.exit(f"not installed: {sorted(ours - theirs)}; installed too much: {sorted(theirs - ours)}")
        wanted = {"share/cmake/stagewalk/stagewalkConfig.cmake", "share/cmake/stagewalk/stagewalkConfigVersion.cmake",
                  "share/cmake/stagewalk/stagewalkTargets.cmake", "share/pkgconfig/stagewalk.pc",
                  "share/licenses/stagewalk/LICENSE"}
        others = {str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*") if path.is_file()} - theirs
        if others != wanted:
            sys.exit(f"besides the headers these differ: {sorted(others ^ wanted)}")
        for name in others:
            text = (self.prefix / name).read_text(encoding="utf-8")
            for path in (first, build, self.source):
                if str(path) in text:
                    sys.exit(f"{name} holds the path {path}")
        print(f"{len(theirs)} headers installed and moved")

    def find_package(self):
        self.cmake(f"-DCMAKE_PREFIX_PATH={self.prefix}",
                   f"-DWANTED_VERSION={'.'.join(self.options.version.split('.')[:2])}")
        found = self.run(self.options.cmake, "-LA", "-N", self.folder / "build")
        if f"stagewalk_DIR:PATH={self.prefix}/share/cmake/stagewalk" not in found:
            sys.exit("another stagewalk was found")

    def add_subdirectory(self):
        self.cmake(f"-DSTAGEWALK_SOURCE={self.source}")

    def fetch_content(self):
        if not shutil.which("git"):
            skip("git is not installed")
        repository = self.folder / "repository"
        shutil.copytree(self.source, repository, ignore=lambda folder, names: [
            name for name in names if name in (".git", "data", "__pycache__")
            or name.startswith(("build", "cmake-build")) and pathlib.Path(folder) == self.source])
        git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false",
               "-c", "init.defaultBranch=main", "-c", "core.hooksPath=/dev/null")
        self.run(*git, "init", "-q", cwd=repository)
        self.run(*git, "add", "-A", "-f", cwd=repository)
        self.run(*git, "commit", "-q", "-m", "test", cwd=repository)
        self.cmake(f"-DSTAGEWALK_REPOSITORY=file://{repository}", "-DSTAGEWALK_TAG=main")

    def pkg_config(self):
        if not shutil.which("pkg-config"):
            skip("pkg-config is not installed")
        path = {"PKG_CONFIG_PATH": str(self.prefix / "share/pkgconfig")}
        version = self.run("pkg-config", "--modversion", "stagewalk", **path).strip()
        if version != self.options.version:
            sys.exit(f"pkg-config says version {version}")
        if self.run("pkg-config", "--libs", "stagewalk", **path).strip():
            sys.exit("a header-only library has nothing to link")
        flags = self.run("pkg-config", "--cflags", "stagewalk", **path).split()
        self.run(self.options.compiler, "-std=c++20", *flags, HERE / "consumer/consumer.cpp",
                 "-o", self.folder / "consumer")
        self.check_program(self.folder)

    def meson(self, consumer, **environment):
        build = self.folder / "build"
        mode = "forcefallback" if self.options.way == "meson_subproject" else "nofallback"
        self.run("meson", "setup", f"--wrap-mode={mode}", build, consumer, **environment)
        self.run("meson", "compile", "-C", build)
        self.check_program(build)

    def meson_subproject(self):
        need_meson()
        consumer = self.folder / "consumer"
        shutil.copytree(HERE / "consumer", consumer)
        # What an archive of the library would unpack to.
        for name in MINIMAL:
            path = self.source / name
            target = consumer / "subprojects/stagewalk" / name
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
        self.meson(consumer)

    def meson_installed(self):
        need_meson()
        if not shutil.which("pkg-config"):
            skip("pkg-config is not installed")
        self.meson(HERE / "consumer", PKG_CONFIG_PATH=str(self.prefix / "share/pkgconfig"))


def need_meson():
    if not shutil.which("meson") or not shutil.which("ninja"):
        skip("meson or ninja is not installed")


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=[name for name in vars(Way) if name not in ("run", "cmake", "check_program", "meson")
                                        and not name.startswith("_")])
    for name in ("source", "work", "version", "cmake", "generator", "compiler"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    getattr(Way(options), options.way)()


if __name__ == "__main__":
    main()
