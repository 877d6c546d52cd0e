// What another project does with the library. Built through each way of finding it.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>

static_assert(__cplusplus >= 202002L, "the package must ask for C++20 by itself");

int main() { std::printf("stagewalk %d.%d.%d\n", STAGEWALK_VERSION_MAJOR, STAGEWALK_VERSION_MINOR, STAGEWALK_VERSION_PATCH); }
