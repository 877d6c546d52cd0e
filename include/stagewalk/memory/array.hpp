/// \file
/// Memory that is its own storage: tables built and walked in constant expressions.
#pragma once

#include "concept.hpp"
#include "word.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// A block of \p Words words that holds tables at compile time, and in `.rodata` afterwards.
/// A constant cannot take its own address, so the block is told at which address it will be loaded; the linker places
/// it there. The words are kept little-endian on every host, as hardware reads them.
/// \tparam Address the space that the block holds.
/// \tparam Words its size in 64-bit words.
template <class Address, std::size_t Words>
class array {
public:
    using address = Address;    ///< The address type.
    using error = memory_error; ///< Why an address is not served.

    static constexpr std::uint64_t bytes = std::uint64_t{Words} * 8; ///< The size in bytes.

    /// \param origin the address at which the block will be loaded, a multiple of 4096.
    constexpr explicit array(Address origin) : origin_{origin} {}

    /// The address at which the block is loaded.
    [[nodiscard]] constexpr Address origin() const { return origin_; }
    /// The words in ascending order, little-endian.
    [[nodiscard]] constexpr auto const& words() const { return words_; }

    /// The 64 bits at \p a.
    [[nodiscard]] constexpr outcome<std::uint64_t, error> load(Address a) const noexcept {
        if (index_of(a) >= Words) return failure{memory_error::outside};
        return little_endian(words_[index_of(a)]);
    }

    /// Stores \p value at \p a. Where it succeeds, the value is true.
    constexpr outcome<bool, error> store(Address a, std::uint64_t value) noexcept {
        if (index_of(a) >= Words) return failure{memory_error::outside};
        words_[index_of(a)] = little_endian(value);
        return true;
    }

    /// Replaces the 64 bits at \p a if they are \p expected, which receives what was found. Not atomic: the block has
    /// one owner.
    constexpr outcome<bool, error> compare_exchange(Address a, std::uint64_t& expected, std::uint64_t desired) noexcept {
        if (index_of(a) >= Words) return failure{memory_error::outside};
        std::uint64_t& word = words_[index_of(a)];
        std::uint64_t const found = little_endian(word);
        bool const same = found == expected;
        expected = found;
        if (same) word = little_endian(desired);
        return same;
    }

    /// Nothing to do.
    constexpr void publish(Address, std::uint64_t) noexcept {}

private:
    [[nodiscard]] constexpr std::size_t index_of(Address a) const {
        std::uint64_t const index = std::rotr(a.value - origin_.value, 3);
        return index < Words ? static_cast<std::size_t>(index) : Words;
    }

    alignas(4096) std::uint64_t words_[Words]{};
    Address origin_;
};

} // namespace v0
} // namespace stagewalk
