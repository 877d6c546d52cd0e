// What an instrumented header asks: which of its mutants is to be in force. The choice is made at run time, by number, so that
// one build serves all mutants; in a constant expression the header is what it was. With STAGEWALK_MUTANT the choice is made at
// compile time instead, in constant expressions too.
#pragma once

#include <type_traits>

namespace stagewalk_mutation {

#ifdef STAGEWALK_MUTANT

constexpr bool at(unsigned first, unsigned count) { return STAGEWALK_MUTANT - first < count; }
constexpr bool is(unsigned number) { return STAGEWALK_MUTANT == number; }

#else

inline constexpr unsigned none = ~0u;
inline unsigned active = none;
inline bool reached[1u << 16]; // by the number of a place's first mutant

[[gnu::noinline]] inline bool see(unsigned first, unsigned count) {
    reached[first] = true;
    return active - first < count;
}

// Whether one of the mutants of a place is in force.
constexpr bool at(unsigned first, unsigned count) {
    if (std::is_constant_evaluated()) return false;
    return see(first, count);
}
constexpr bool is(unsigned number) {
    if (std::is_constant_evaluated()) return false;
    return active == number;
}

#endif

} // namespace stagewalk_mutation
