/// \file
/// Memory that remembers what was asked of it: load counts, single fetch, the trail of a walk.
#pragma once

#include "concept.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// Forwards to \p M and remembers the address of every load, up to \p Capacity of them; all are counted.
/// \tparam M the memory that is watched.
/// \tparam Capacity how many addresses are remembered.
template <memory M, std::size_t Capacity = 64>
class recording {
public:
    using address = typename M::address; ///< The address type.
    using error = typename M::error;     ///< What \p M reports.

    /// \param inner the memory to watch, alive as long as this object.
    constexpr explicit recording(M& inner) : inner_{&inner} {}

    /// The 64 bits at \p a.
    [[nodiscard]] constexpr outcome<std::uint64_t, error> load(address a) noexcept {
        if (loads_ < Capacity) seen_[loads_] = a;
        ++loads_;
        return inner_->load(a);
    }

    /// Replaces the 64 bits at \p a if they still are \p expected, which receives what was found.
    constexpr outcome<bool, error> compare_exchange(address a, std::uint64_t& expected,
                                                    std::uint64_t desired) noexcept requires updatable_memory<M> {
        ++updates_;
        return inner_->compare_exchange(a, expected, desired);
    }

    /// Whether an update would be allowed, from memory that cannot be written and says so.
    [[nodiscard]] constexpr outcome<bool, error> check_update(address a) noexcept requires checks_updates<M> {
        return inner_->check_update(a);
    }

    /// The number of loads since the last reset().
    [[nodiscard]] constexpr std::size_t loads() const { return loads_; }
    /// The number of compare-exchanges since the last reset().
    [[nodiscard]] constexpr std::size_t updates() const { return updates_; }
    /// The address of load \p i, counted from 0; \p i below both loads() and the capacity.
    [[nodiscard]] constexpr address at(std::size_t i) const { return seen_[i]; }

    /// Whether no address was loaded twice, as far as the capacity reaches.
    [[nodiscard]] constexpr bool each_once() const {
        std::size_t const known = loads_ < Capacity ? loads_ : Capacity;
        for (std::size_t i = 0; i < known; ++i)
            for (std::size_t j = 0; j < i; ++j)
                if (seen_[i] == seen_[j]) return false;
        return true;
    }

    /// Forgets everything.
    constexpr void reset() { loads_ = updates_ = 0; }

private:
    M* inner_;
    std::size_t loads_{};
    std::size_t updates_{};
    address seen_[Capacity]{};
};

} // namespace v0
} // namespace stagewalk
