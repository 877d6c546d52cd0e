/// \file
/// Memory whose words have the other byte order: the big-endian tables of Arm.
#pragma once

#include "concept.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

namespace detail {

// A builtin would become a call into the compiler's library where a processor has no instruction for it.
[[nodiscard]] constexpr std::uint64_t reversed(std::uint64_t word) {
    word = (word & 0x00ff'00ff'00ff'00ff) << 8 | (word >> 8 & 0x00ff'00ff'00ff'00ff);
    word = (word & 0x0000'ffff'0000'ffff) << 16 | (word >> 16 & 0x0000'ffff'0000'ffff);
    return word << 32 | word >> 32;
}

} // namespace detail

/// Serves the words of \p M with their bytes reversed. Memory gives host values of little-endian words; through this, big-endian
/// tables are read and written (Arm CD.ENDI, STE.S2ENDI).
/// \tparam M the memory.
template <memory M>
class byte_swapped {
public:
    using address = typename M::address; ///< The address type.
    using error = typename M::error;     ///< Why an address is not served.

    /// \param m the memory, alive as long as this object.
    constexpr explicit byte_swapped(M& m) : memory_{&m} {}

    /// The 64 bits at \p a.
    [[nodiscard]] constexpr outcome<std::uint64_t, error> load(address a) const noexcept {
        auto const loaded = memory_->load(a);
        if (!loaded) return failure{loaded.error()};
        return detail::reversed(*loaded);
    }

    /// Stores \p value at \p a. Where it succeeds, the value is true.
    constexpr outcome<bool, error> store(address a, std::uint64_t value) const noexcept requires table_memory<M> {
        return memory_->store(a, detail::reversed(value));
    }

    /// Replaces the 64 bits at \p a if they still are \p expected, which receives what was found.
    constexpr outcome<bool, error> compare_exchange(address a, std::uint64_t& expected,
                                                    std::uint64_t desired) const noexcept requires updatable_memory<M> {
        std::uint64_t raw = detail::reversed(expected);
        auto const done = memory_->compare_exchange(a, raw, detail::reversed(desired));
        expected = detail::reversed(raw);
        return done;
    }

    /// Whether an update of the 64 bits at \p a would be allowed.
    [[nodiscard]] constexpr outcome<bool, error> check_update(address a) const noexcept requires checks_updates<M> {
        return memory_->check_update(a);
    }

    /// Shows \p bytes from \p a on to hardware.
    constexpr void publish(address a, std::uint64_t bytes) const noexcept requires table_memory<M> { memory_->publish(a, bytes); }

private:
    M* memory_;
};

} // namespace v0
} // namespace stagewalk
