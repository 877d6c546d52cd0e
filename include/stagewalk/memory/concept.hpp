/// \file
/// Where table entries are read from and written to.
#pragma once

#include "../core/address.hpp"
#include "../core/outcome.hpp"

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// Why a memory policy of this library could not serve an address. One value, so that the test for it folds into the
/// bounds check.
enum class memory_error : std::uint64_t {
    outside, ///< No aligned 64-bit word has that address.
};

/// Names the address space that it serves.
template <class M>
concept has_address_space = requires {
    typename M::address::space;
};

/// Loads 64 bits: single-copy atomic, little-endian in memory, host value out, never throwing.
template <class M>
concept can_load = requires(M& m, typename M::address a) {
    { m.load(a) }
    noexcept->std::same_as<outcome<std::uint64_t, typename M::error>>;
};

/// Reports errors that are plain values: copied like bytes, with one to start from.
template <class M>
concept has_plain_error = std::default_initializable<typename M::error> && std::is_trivially_copyable_v<typename M::error>;

/// Any fallible 64-bit loader, tagged with the address space that it serves.
template <class M>
concept memory = has_address_space<M> && can_load<M> && has_plain_error<M>;

/// Replaces 64 bits if they still are \c expected, which otherwise receives what was found, and says whether it did: a
/// walk may set A/D bits.
template <class M>
concept updatable_memory = memory<M> && requires(M& m, typename M::address a, std::uint64_t& expected, std::uint64_t desired) {
    { m.compare_exchange(a, expected, desired) }
    noexcept->std::same_as<outcome<bool, typename M::error>>;
};

/// Can say whether an update would be allowed, without making it. Memory that cannot be written at all and does not say so counts
/// updates as made: a tool that looks at a dump judges them and goes on.
template <class M>
concept checks_updates = memory<M> && requires(M& m, typename M::address a) {
    { m.check_update(a) }
    noexcept->std::same_as<outcome<bool, typename M::error>>;
};

/// Stores whole entries and publishes what it stored (a cache clean or a barrier, often nothing): tables can be built
/// in it. `store(a, value)` stores 64 bits with release order; `publish(a, bytes)` shows that many bytes from \c a on to
/// hardware that does not snoop.
template <class M>
concept table_memory = updatable_memory<M> && requires(M& m, typename M::address a, std::uint64_t value, std::uint64_t bytes) {
    { m.store(a, value) }
    noexcept->std::same_as<outcome<bool, typename M::error>>;
    { m.publish(a, bytes) }
    noexcept;
};

/// Finds memory page by page: a walk then asks for a word of a 4 KiB aligned page, and no bounds or alignment are left
/// to check. A table lies within a page, or is whole pages long.
template <class M>
concept windowed_memory = memory<M> && requires(M& m, typename M::address page, std::uint64_t word) {
    { m.load_in_page(page, word) }
    noexcept->std::same_as<outcome<std::uint64_t, typename M::error>>;
};

/// Says of itself that it is a view (`is_view`, true): a copy serves as well, so a walk may keep one in registers.
template <class M>
concept view_memory = memory<M const> && requires {
    requires M::is_view;
};

/// \p M serves the addresses that \p Address stands for.
template <class M, class Address>
concept serves = memory<M> && std::same_as<typename M::address, Address>;

} // namespace v0
} // namespace stagewalk
