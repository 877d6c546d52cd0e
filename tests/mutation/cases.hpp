// How many random cases the comparisons with the naive models take: a part of what they ask for.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace stagewalk_mutation {

inline std::uint64_t cases(std::uint64_t wanted) {
    char const* const divisor = std::getenv("STAGEWALK_CASES_DIVISOR");
    return divisor == nullptr ? wanted : wanted / std::strtoull(divisor, nullptr, 10);
}

} // namespace stagewalk_mutation
