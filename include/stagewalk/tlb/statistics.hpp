/// \file
/// What a TLB counts.
#pragma once

#include "geometry.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// What can be counted.
enum class tlb_count : std::uint8_t {
    hits,          ///< Look-ups that found what they asked for.
    misses,        ///< Look-ups that found no entry.
    uncovered,     ///< Look-ups whose entry has not been seen to let this access pass.
    fills,         ///< Entries written.
    dropped_fills, ///< Entries that were not written, since an invalidation had come in between.
    evictions,     ///< Entries that made room for another.
    invalidations, ///< Calls that drop something.
};

/// Statistics policies: `add(what)`.
namespace statistics {

/// Nothing is counted.
struct none {
    static constexpr tlb_policy decides = tlb_policy::statistics; ///< What it decides.

    /// Counts nothing.
    constexpr void add(tlb_count) const noexcept {}
};

/// One number for each `tlb_count`. Threads may count at the same time; each hit then writes to a line that all share.
class counting {
public:
    static constexpr tlb_policy decides = tlb_policy::statistics; ///< What it decides.

    /// One more.
    constexpr void add(tlb_count what) noexcept {
        auto& n = number_[static_cast<std::uint64_t>(what)];
        if (std::is_constant_evaluated()) {
            n = n + 1;
        } else {
            __atomic_fetch_add(&n, 1, __ATOMIC_RELAXED);
        }
    }
    /// How many, modulo the word size of the machine.
    [[nodiscard]] constexpr std::uint64_t of(tlb_count what) const noexcept {
        auto const& n = number_[static_cast<std::uint64_t>(what)];
        return std::is_constant_evaluated() ? n : __atomic_load_n(&n, __ATOMIC_RELAXED);
    }

private:
    std::uintptr_t number_[7]{}; // a word, so that counting is atomic on 32-bit machines too
};

} // namespace statistics
} // namespace v0
} // namespace stagewalk
