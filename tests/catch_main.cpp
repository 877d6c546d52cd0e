// The one translation unit that holds Catch2's main() where the library does not bring it (version 2).
#if STAGEWALK_CATCH_VERSION < 3
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
