/// \file
/// One 64-bit table word in host memory: atomic, little-endian, and usable in constant expressions.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// A 64-bit word of memory that other code may view as another type: guest RAM is bytes to everyone else.
using shared_word [[gnu::may_alias]] = std::uint64_t;

/// Between a host value and its little-endian image; its own inverse.
[[nodiscard]] constexpr std::uint64_t little_endian(std::uint64_t value) {
    if constexpr (std::endian::native == std::endian::big) {
        return __builtin_bswap64(value);
    } else {
        return value;
    }
}

namespace detail {

/// 64-bit atomics that the processor does by itself, for the policies that touch host memory.
template <class>
inline constexpr bool word_atomics = __atomic_always_lock_free(sizeof(std::uint64_t), nullptr);

// Relaxed: an entry's address depends on the entry before it, which orders the loads on every processor that hosts an
// IOMMU.
template <class Word>
[[nodiscard, gnu::always_inline]] inline constexpr std::uint64_t load_word(Word const* p) noexcept {
    if (std::is_constant_evaluated()) return little_endian(*p);
    return little_endian(__atomic_load_n(p, __ATOMIC_RELAXED));
}

// Release: whoever reads the new entry also sees the table behind it.
template <class Word>
[[gnu::always_inline]] inline constexpr void store_word(Word* p, std::uint64_t value) noexcept {
    if (std::is_constant_evaluated()) {
        *p = little_endian(value);
    } else {
        __atomic_store_n(p, little_endian(value), __ATOMIC_RELEASE);
    }
}

template <class Word>
[[nodiscard]] inline constexpr bool compare_exchange_word(Word* p, std::uint64_t& expected, std::uint64_t desired) noexcept {
    if (std::is_constant_evaluated()) {
        std::uint64_t const found = little_endian(*p);
        if (found == expected) *p = little_endian(desired);
        bool const same = found == expected;
        expected = found;
        return same;
    }
    Word raw = little_endian(expected);
    bool const same = __atomic_compare_exchange_n(p, &raw, little_endian(desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    expected = little_endian(raw);
    return same;
}

} // namespace detail

} // namespace v0
} // namespace stagewalk
