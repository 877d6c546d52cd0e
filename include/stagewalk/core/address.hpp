/// \file
/// Addresses that know which address space they belong to.
#pragma once

#include <compare>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// A byte address in the address space that \p Space names.
///
/// Mixing spaces does not compile: a stage-1 table cannot be read with an untranslated intermediate address.
/// Arithmetic wraps at 2^64, as it does in hardware; use `range` where wrapping must be refused.
/// \tparam Space any type; it is only a name.
template <class Space>
struct address {
    using space = Space; ///< The address space.

    std::uint64_t value{}; ///< The address in bytes, 64 bits.

    constexpr address() = default; ///< Address zero.

    /// \param bytes the address in bytes.
    constexpr explicit address(std::uint64_t bytes) : value{bytes} {}

    /// Addresses of one space compare by value.
    friend constexpr auto operator<=>(address const&, address const&) = default;

    /// The address \p bytes further up, modulo 2^64.
    friend constexpr address operator+(address a, std::uint64_t bytes) { return address{a.value + bytes}; }

    /// The address \p bytes further down, modulo 2^64.
    friend constexpr address operator-(address a, std::uint64_t bytes) { return address{a.value - bytes}; }

    /// The distance from \p b up to \p a in bytes, modulo 2^64.
    friend constexpr std::uint64_t operator-(address a, address b) { return a.value - b.value; }
};

/// The space of I/O virtual addresses, what a device puts on the bus.
struct iova_space {};
/// The space of intermediate physical addresses, a guest's physical addresses.
struct ipa_space {};
/// The space of physical addresses, the host's.
struct pa_space {};
/// The space between the two stages of a unit whose output space is \p Space: what its guest takes for physical addresses.
template <class Space>
struct intermediate_space {};

using iova = address<iova_space>; ///< I/O virtual address: the input of a device's translation.
using ipa = address<ipa_space>;   ///< Intermediate physical address (= GPA): stage 1's output, stage 2's input.
using pa = address<pa_space>;     ///< Physical address (= HPA).

/// An address between the two stages of a unit with output addresses \p Output.
template <class Output>
using intermediate = address<intermediate_space<typename Output::space>>;

} // namespace v0
} // namespace stagewalk
