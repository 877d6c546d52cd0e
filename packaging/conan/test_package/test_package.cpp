#include <stagewalk/stagewalk.hpp>

#include <cstdio>

int main() { std::printf("stagewalk %d.%d.%d\n", STAGEWALK_VERSION_MAJOR, STAGEWALK_VERSION_MINOR, STAGEWALK_VERSION_PATCH); }
