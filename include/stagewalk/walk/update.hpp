/// \file
/// Accessed and dirty bits: what a walk owes to the entries that it used.
#pragma once

#include "../memory/concept.hpp"
#include "stage.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// A change of one entry that is due, but not made yet. It may be made only while the entry still is what was judged.
struct owed_update {
    step of{};               ///< The entry, with the value that was judged.
    std::uint64_t desired{}; ///< The value that it is to have.

    /// Whether there is anything to change.
    [[nodiscard]] constexpr bool is_owed() const { return of.entry != desired; }
};

/// How an update went.
enum class settled : std::uint8_t {
    done,    ///< The entry has the desired value.
    changed, ///< The entry is no longer what was judged: the walk starts again.
    failed,  ///< The memory refused.
};

/// Makes the update \p owed in \p m, atomically on the very value that was judged.
/// \param m the memory that holds the entry.
/// \param owed the update.
/// \param error receives what the memory reported if it refused.
template <memory M>
[[nodiscard]] constexpr settled settle(M& m, owed_update const& owed, typename M::error& error) noexcept {
    if (!owed.is_owed()) return settled::done;
    typename M::address const at{owed.of.address};
    if constexpr (updatable_memory<M>) {
        std::uint64_t expected = owed.of.entry;
        auto const exchanged = m.compare_exchange(at, expected, owed.desired);
        if (exchanged) return *exchanged ? settled::done : settled::changed;
        error = exchanged.error();
        return settled::failed;
    } else if constexpr (checks_updates<M>) {
        auto const allowed = m.check_update(at);
        if (allowed) return settled::done;
        error = allowed.error();
        return settled::failed;
    } else {
        return settled::done;
    }
}

/// How often a walk starts again because somebody changes its entries under it, before it gives up.
inline constexpr unsigned max_restarts = 8;

} // namespace v0
} // namespace stagewalk
