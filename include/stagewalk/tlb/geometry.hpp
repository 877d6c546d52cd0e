/// \file
/// How large a TLB is, and where its entries live.
#pragma once

#include <bit>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// What a policy of a `tlb` decides. Each policy says which it is, so that they may be named in any order.
enum class tlb_policy : std::uint8_t {
    sets,        ///< How many sets.
    ways,        ///< How many entries in each.
    groups,      ///< How many groups of domains, each dropped at once.
    replacement, ///< Which entry makes room.
    guard,       ///< Who may use it at the same time.
    statistics,  ///< What is counted.
    storage,     ///< Where the entries live.
};

/// \p N sets, a power of two.
template <std::uint64_t N>
struct sets {
    static_assert(std::has_single_bit(N), "the number of sets is a power of two");
    static constexpr tlb_policy decides = tlb_policy::sets; ///< What it decides.
    static constexpr std::uint64_t count = N;               ///< How many.
};

/// \p N entries in each set, 1 to 16.
template <std::uint64_t N>
struct ways {
    static_assert(N >= 1 && N <= 16, "a set has 1 to 16 ways");
    static constexpr tlb_policy decides = tlb_policy::ways; ///< What it decides.
    static constexpr std::uint64_t count = N;               ///< How many.
};

/// \p N groups, a power of two: domains whose numbers agree in the low bits share one, and are dropped together.
template <std::uint64_t N>
struct groups {
    static_assert(std::has_single_bit(N) && N <= 0x10000, "the number of groups is a power of two, at most one for each domain");
    static constexpr tlb_policy decides = tlb_policy::groups; ///< What it decides.
    static constexpr std::uint64_t count = N;                 ///< How many.
};

/// Where the entries live.
namespace storage {

/// In the object.
struct inside {
    static constexpr tlb_policy decides = tlb_policy::storage; ///< What it decides.
    static constexpr bool is_lent = false;                     ///< Whether the user provides them.
};

/// In memory that the user provides, a `tlb::entries` initialised with `{}`: a large TLB in an object that is small.
struct lent {
    static constexpr tlb_policy decides = tlb_policy::storage; ///< What it decides.
    static constexpr bool is_lent = true;                      ///< Whether the user provides them.
};

} // namespace storage
} // namespace v0
} // namespace stagewalk
