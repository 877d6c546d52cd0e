# Sourced by tests/run, examples/run and .ci/run: the one place that knows which packages they need.
#
#   stagewalk_need GROUP...     installs what the groups lack, or names it and ends the script with status 2
#
# One line a package: group, package (alternatives with `|`; a trailing `?` marks one that may be left out where the
# system does not have it), and how to see that it is there: a command, or paths (`:` between them, `*` allowed).

stagewalk_packages='
build   g++                      c++
build   cmake                    cmake
build   make                     make
tests   catch2                   /usr/include/catch2/catch.hpp:/usr/include/catch2/catch_all.hpp:/usr/local/include/catch2/*.hpp
tests   python3                  python3
tests   pkgconf|pkg-config       pkg-config
tests   git                      git
tests   meson                    meson
tests   ninja-build              ninja
tests   g++-aarch64-linux-gnu?   aarch64-linux-gnu-g++
tests   binutils                 nm
tests   qemu-system-x86?         qemu-system-x86_64
tests   qemu-system-arm?         qemu-system-aarch64
tool    libcli11-dev             /usr/include/CLI/CLI.hpp:/usr/local/include/CLI/CLI.hpp
tool    nlohmann-json3-dev       /usr/include/nlohmann/json.hpp:/usr/local/include/nlohmann/json.hpp
ci      libbenchmark-dev         /usr/include/benchmark/benchmark.h:/usr/local/include/benchmark/benchmark.h
ci      clang                    clang++
ci      libclang-rt-dev|libclang-rt-14-dev  /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a:/usr/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a
ci      clang-19?                clang++-19
ci      llvm-19?                 llvm-cov-19
ci      libclang-rt-19-dev?      /usr/lib/llvm-19/lib/clang/*/lib/linux/libclang_rt.profile-*.a
ci      libc++-19-dev|libc++-dev?     /usr/lib/llvm-1[5-9]/include/c++/v1/version:/usr/lib/llvm-[2-9]*/include/c++/v1/version
ci      libc++abi-19-dev|libc++abi-dev?  /usr/lib/llvm-1[5-9]/lib/libc++abi.a:/usr/lib/llvm-[2-9]*/lib/libc++abi.a
ci      clang-format             clang-format
ci      clang-tidy               clang-tidy
ci      g++-riscv64-linux-gnu?   riscv64-linux-gnu-g++
ci      g++-i686-linux-gnu?      i686-linux-gnu-g++
ci      g++-s390x-linux-gnu?     s390x-linux-gnu-g++
ci      qemu-user|qemu-user-static?   /usr/bin/qemu-s390x:/usr/bin/qemu-s390x-static
ci      doxygen                  doxygen
ci      doxygen-awesome-css?     /usr/share/doxygen-awesome-css/doxygen-awesome.css
'

stagewalk_present() { # PROBE
    local path
    case "$1" in
    /*)
        local IFS=:
        # shellcheck disable=SC2086  # the patterns are meant to expand
        for path in $1; do
            [ -e "$path" ] && return 0
        done
        return 1
        ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

stagewalk_need() { # GROUP...
    local wanted=" $* " missing=() group package probe as_root=()
    while read -r group package probe; do
        [ -n "$group" ] || continue
        case "$wanted" in *" $group "*) ;; *) continue ;; esac
        stagewalk_present "$probe" || missing+=("$package")
    done <<<"$stagewalk_packages"
    [ "${#missing[@]}" -gt 0 ] || return 0

    local readable="${missing[*]}"
    readable="${readable//\?/}"
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Please install these (their Debian names), then run this again: $readable" >&2
        exit 2
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
            as_root=(sudo)
        else
            echo "Neither root nor sudo here. Please install these, then run this again: $readable" >&2
            exit 2
        fi
    fi

    echo "== installing: $readable"
    local log chosen=() name options optional
    log="$(mktemp)"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)
    if ! "${apt[@]}" update </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        echo "The package lists cannot be updated. Needed: $readable" >&2
        exit 2
    fi
    for package in "${missing[@]}"; do
        optional=no
        case "$package" in *\?) optional=yes package="${package%\?}" ;; esac
        name=
        IFS='|' read -ra options <<<"$package"
        for group in "${options[@]}"; do
            if apt-cache show "$group" >/dev/null 2>&1; then
                name="$group"
                break
            fi
        done
        if [ -n "$name" ]; then
            chosen+=("$name")
        elif [ "$optional" = yes ]; then
            echo "   this system has no package $package: what needs it is skipped"
        else
            echo "This system has no package $package; please install it by other means, then run this again." >&2
            exit 2
        fi
    done
    if [ "${#chosen[@]}" -gt 0 ] &&
        ! "${apt[@]}" install -y --no-install-recommends "${chosen[@]}" </dev/null >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "Installing failed. Needed: ${chosen[*]}" >&2
        exit 2
    fi
    rm -f "$log"
}
