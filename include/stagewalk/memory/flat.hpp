/// \file
/// One contiguous piece of memory, every access checked against its bounds.
#pragma once

#include "concept.hpp"
#include "word.hpp"

#include <bit>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// Serves \p Address from one block of host memory. An address outside is `memory_error::outside`, never an access.
/// \tparam Address the space that the block holds.
template <class Address>
class flat {
    static_assert(detail::word_atomics<Address>,
                  "flat needs lock-free 64-bit atomics, which this target lacks: use callback and supply load and "
                  "compare_exchange yourself");

public:
    using address = Address;    ///< The address type.
    using error = memory_error; ///< Why an address is not served.

    static constexpr bool is_view = true; ///< A walk may work on a copy.

    /// \param base the host memory, 8-byte aligned (a block that is not serves nothing), alive as long as this object
    /// and its copies.
    /// \param bytes its size in bytes; a last piece of less than 8 bytes is not served.
    /// \param origin the address of its first byte, a multiple of 8.
    flat(void* base, std::uint64_t bytes, Address origin)
        : base_{static_cast<shared_word*>(base)}, origin_{origin.value}, words_{(reinterpret_cast<std::uintptr_t>(base) & 7) == 0
                                                                                    ? bytes / 8
                                                                                    : 0} {}

    /// The same over an array of words, also in constant expressions.
    template <std::size_t N>
    constexpr flat(std::uint64_t (&words)[N], Address origin) : base_{words}, origin_{origin.value}, words_{N} {}

    /// The 64 bits at \p a.
    [[nodiscard, gnu::always_inline]] constexpr outcome<std::uint64_t, error> load(Address a) const noexcept {
        if (index_of(a) >= words_) [[unlikely]]
            return failure{memory_error::outside};
        return detail::load_word(word_at(a));
    }

    /// Stores \p value at \p a. Where it succeeds, the value is true.
    constexpr outcome<bool, error> store(Address a, std::uint64_t value) const noexcept {
        std::uint64_t const index = index_of(a);
        if (index >= words_) return failure{memory_error::outside};
        detail::store_word(base_ + index, value);
        return true;
    }

    /// Replaces the 64 bits at \p a if they still are \p expected, which receives what was found.
    constexpr outcome<bool, error> compare_exchange(Address a, std::uint64_t& expected, std::uint64_t desired) const noexcept {
        std::uint64_t const index = index_of(a);
        if (index >= words_) return failure{memory_error::outside};
        return detail::compare_exchange_word(base_ + index, expected, desired);
    }

    /// Nothing to do: the walker is a processor, coherent with its own stores.
    constexpr void publish(Address, std::uint64_t) const noexcept {}

private:
    // Rotating the three low bits to the top makes one comparison refuse what is outside and what is misaligned.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t index_of(Address a) const noexcept {
        return std::rotr(a.value - origin_, 3);
    }

    // By the offset in bytes, which needs no rotation: the check stays beside the path from one entry to the next.
    [[nodiscard, gnu::always_inline]] constexpr shared_word const* word_at(Address a) const noexcept {
        std::uint64_t const offset = a.value - origin_;
        if (std::is_constant_evaluated()) return base_ + offset / 8;
        return reinterpret_cast<shared_word const*>(reinterpret_cast<unsigned char const*>(base_) + offset);
    }

    shared_word* base_;
    std::uint64_t origin_;
    std::uint64_t words_;
};

/// `flat{pointer, bytes, ipa{0}}` deduces its address space.
template <class Space>
flat(void*, std::uint64_t, address<Space>) -> flat<address<Space>>;
/// `flat{words, pa{0}}` deduces its address space.
template <std::size_t N, class Space>
flat(std::uint64_t (&)[N], address<Space>) -> flat<address<Space>>;

} // namespace v0
} // namespace stagewalk
