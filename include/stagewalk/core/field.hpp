/// \file
/// Hardware structures as lists of named bit fields: decoder, encoder, reserved masks and printer come from one list.
#pragma once

#include "size.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// A name that can be a template argument.
template <std::size_t N>
struct field_name {
    char text[N]{}; ///< The characters, zero-terminated.

    /// \param source the name as a string literal.
    consteval field_name(char const (&source)[N]) {
        for (std::size_t i = 0; i < N; ++i)
            text[i] = source[i];
    }

    /// Whether both spell the same name.
    template <std::size_t M>
    [[nodiscard]] constexpr bool is(field_name<M> const& other) const {
        if constexpr (N != M) {
            return false;
        } else {
            for (std::size_t i = 0; i < N; ++i)
                if (text[i] != other.text[i]) return false;
            return true;
        }
    }
};

/// What a field's bits are for.
enum class field_kind {
    number,  ///< An integer or a flag; its value is shifted down to bit 0.
    pointer, ///< An aligned address; its value stays in place, low bits zero.
    ignored, ///< Hardware never looks at it, software may use it.
};

/// Bits \p High down to \p Low of a structure, both inclusive, numbered as the manual prints them, also beyond 63. A
/// field must not cross a 64-bit word.
/// \tparam Name the manual's name.
/// \tparam High the highest bit.
/// \tparam Low the lowest bit.
/// \tparam Kind what the bits are for.
template <field_name Name, unsigned High, unsigned Low = High, field_kind Kind = field_kind::number>
struct field {
    static_assert(High >= Low && High / 64 == Low / 64, "a field lies within one 64-bit word");
    static constexpr auto name = Name;                ///< The manual's name.
    static constexpr unsigned high = High;            ///< The highest bit, counted over the whole structure.
    static constexpr unsigned low = Low;              ///< The lowest bit, counted over the whole structure.
    static constexpr unsigned width = High - Low + 1; ///< The number of bits.
    static constexpr std::size_t word = Low / 64;     ///< The 64-bit word that holds the bits.
    static constexpr field_kind kind = Kind;          ///< What the bits are for.
    /// The bits within their word.
    static constexpr std::uint64_t mask = bit_mask(High % 64, Low % 64);
    /// How far the value is shifted down.
    static constexpr unsigned shift = Kind == field_kind::pointer ? 0 : Low % 64;

    /// The field's value in its word \p w.
    [[nodiscard]] static constexpr std::uint64_t get(std::uint64_t w) { return (w & mask) >> shift; }
    /// The word \p w with the field set to \p value; bits of \p value that do not fit are dropped, see fits().
    [[nodiscard]] static constexpr std::uint64_t put(std::uint64_t w, std::uint64_t value) {
        return (w & ~mask) | ((value << shift) & mask);
    }
    /// Whether put() would keep all of \p value.
    [[nodiscard]] static constexpr bool fits(std::uint64_t value) { return get(put(0, value)) == value; }
};

/// An aligned address in bits \p High to \p Low: its value is the address itself.
template <field_name Name, unsigned High, unsigned Low>
using pointer_field = field<Name, High, Low, field_kind::pointer>;

/// Bits that hardware ignores and never checks.
template <field_name Name, unsigned High, unsigned Low = High>
using ignored_field = field<Name, High, Low, field_kind::ignored>;

/// One field of one entry, for printers.
struct field_view {
    char const* name;    ///< The manual's name.
    unsigned high;       ///< The highest bit, counted over the whole structure.
    unsigned low;        ///< The lowest bit, counted over the whole structure.
    field_kind kind;     ///< What the bits are for.
    std::uint64_t value; ///< Their value: a pointer in place, anything else shifted down to bit 0.
};

namespace detail {

template <unsigned Bits, class... Fields>
consteval bool fields_are_disjoint() {
    std::uint64_t seen[Bits / 64]{};
    bool ok = true;
    ((ok = ok && (seen[Fields::word] & Fields::mask) == 0, seen[Fields::word] |= Fields::mask), ...);
    return ok;
}

} // namespace detail

/// A structure of \p Bits bits that hardware reads from memory, little-endian 64-bit words in ascending order.
/// Bits that no field names are reserved.
/// \tparam Bits the size, a multiple of 64.
/// \tparam Fields the fields, in any order; they must not overlap.
template <unsigned Bits, class... Fields>
struct entry {
    static_assert(Bits % 64 == 0, "an entry is made of 64-bit words");
    static_assert(((Fields::high < Bits) && ...), "a field lies outside the entry");
    static_assert(detail::fields_are_disjoint<Bits, Fields...>(), "two fields of the entry overlap");

    static constexpr std::size_t words = Bits / 64; ///< The number of 64-bit words.
    static constexpr unsigned bits = Bits;          ///< The number of bits.

    std::uint64_t word[words]{}; ///< The words in host byte order.

    constexpr entry() = default; ///< All bits zero.

    /// The words in ascending order; missing ones are zero.
    template <class... Words>
        requires(sizeof...(Words) > 0 && sizeof...(Words) <= words)
    constexpr explicit entry(Words... w) : word{static_cast<std::uint64_t>(w)...} {}

    /// The value of the field called \p Name.
    template <field_name Name>
    [[nodiscard]] constexpr std::uint64_t get() const {
        static_assert(has<Name>(), "the structure has no field of that name");
        std::uint64_t value = 0;
        ((Fields::name.is(Name) ? void(value = Fields::get(word[Fields::word])) : void()), ...);
        return value;
    }

    /// Sets the field called \p Name; bits of \p value that do not fit are dropped, see fits().
    template <field_name Name>
    constexpr void set(std::uint64_t value) {
        static_assert(has<Name>(), "the structure has no field of that name");
        ((Fields::name.is(Name) ? void(word[Fields::word] = Fields::put(word[Fields::word], value)) : void()), ...);
    }

    /// Whether the field called \p Name can hold \p value.
    template <field_name Name>
    [[nodiscard]] static constexpr bool fits(std::uint64_t value) {
        static_assert(has<Name>(), "the structure has no field of that name");
        return ((Fields::name.is(Name) && Fields::fits(value)) || ...);
    }

    /// The bits that the field called \p Name occupies in its word.
    template <field_name Name>
    [[nodiscard]] static constexpr std::uint64_t mask() {
        static_assert(has<Name>(), "the structure has no field of that name");
        return ((Fields::name.is(Name) ? Fields::mask : 0) | ...);
    }

    /// Whether there is a field called \p Name.
    template <field_name Name>
    [[nodiscard]] static constexpr bool has() {
        return (Fields::name.is(Name) || ...);
    }

    /// The bits of word \p w that no field names: they must be zero.
    [[nodiscard]] static constexpr std::uint64_t reserved(std::size_t w = 0) {
        return ~((Fields::word == w ? Fields::mask : 0) | ...);
    }

    /// The bits of word \p w that hardware never looks at.
    [[nodiscard]] static constexpr std::uint64_t ignored(std::size_t w = 0) {
        return ((Fields::word == w && Fields::kind == field_kind::ignored ? Fields::mask : 0) | ... | std::uint64_t{0});
    }

    /// Calls \p visit with a `field_view` of each field, in the order of the list.
    template <class Visitor>
    constexpr void for_each_field(Visitor&& visit) const {
        (visit(field_view{Fields::name.text, Fields::high, Fields::low, Fields::kind, Fields::get(word[Fields::word])}), ...);
    }

    /// Entries are equal bit for bit.
    friend constexpr bool operator==(entry const&, entry const&) = default;
};

} // namespace v0
} // namespace stagewalk
