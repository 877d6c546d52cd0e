/// \file
/// What a mapping says of the memory behind it.
#pragma once

#include "access.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// The effective attributes of a translation, or those that a new mapping is to have.
///
/// The rights mean the same everywhere; memory type, snooping and the like belong to a format and keep the bit
/// positions that the format's header documents, so that decoding and encoding lose nothing.
/// One 64-bit word: it travels in a register.
struct attributes {
    static constexpr std::uint64_t rights_mask = 7; ///< Bits 2:0 are the rights, as in `access`.

    std::uint64_t bits{}; ///< Bits 2:0 rights (read, write, execute); 63:3 the format's own.

    constexpr attributes() = default; ///< No right at all.

    /// Grants the rights of \p a, the format's own bits clear: `t.map(range, output, read_write)`.
    constexpr attributes(access a) : bits{a.bits & rights_mask} {}

    /// Rights and format bits from one word, in the layout of `bits`.
    [[nodiscard]] static constexpr attributes from_bits(std::uint64_t word) {
        attributes a;
        a.bits = word;
        return a;
    }

    /// The rights alone.
    [[nodiscard]] constexpr access rights() const { return {bits & rights_mask}; }
    /// The format's own bits alone, in the positions that its header documents.
    [[nodiscard]] constexpr std::uint64_t format_bits() const { return bits & ~rights_mask; }

    /// Attributes are equal bit for bit.
    friend constexpr bool operator==(attributes const&, attributes const&) = default;
};

} // namespace v0
} // namespace stagewalk
