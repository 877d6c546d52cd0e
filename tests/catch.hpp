/// @file
/// Catch2, version 2 or 3: tests include this file and no header of Catch2 itself.
#pragma once

#if STAGEWALK_CATCH_VERSION >= 3
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

/// Ends a test case that cannot be judged here; ctest then shows it as skipped. Use it before the first
/// check, in the body of the case itself: the rest of the case is not run.
#ifdef SKIP
#undef SKIP
#endif
#define SKIP(...)                                                                                                                \
    do {                                                                                                                         \
        WARN("case skipped: " << __VA_ARGS__);                                                                                   \
        return;                                                                                                                  \
    } while (false)
