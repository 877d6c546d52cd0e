/// \file
/// What a request wants to do, or what a mapping lets be done.
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// A set of rights that a request needs or a mapping grants, with the circumstances that some formats look at.
/// 64 bits wide, so that it stays one register in the walk.
struct access {
    std::uint64_t bits{}; ///< Bit 0 read, 1 write, 2 execute, 3 privileged, 4 zero-length, 5 inquiring.

    /// The union of both sets.
    friend constexpr access operator|(access a, access b) { return {a.bits | b.bits}; }
    /// What both sets have.
    friend constexpr access operator&(access a, access b) { return {a.bits & b.bits}; }
    /// What is not in the set, to take it away from another: `a & ~write`.
    friend constexpr access operator~(access a) { return {~a.bits}; }
    /// Sets are equal that hold the same members.
    friend constexpr bool operator==(access const&, access const&) = default;

    /// Whether every member of \p other is here too.
    [[nodiscard]] constexpr bool covers(access other) const { return (other.bits & ~bits) == 0; }
};

inline constexpr access none{0};         ///< Asks for nothing: a look at the tables, whatever they grant.
inline constexpr access read{1};         ///< Reads data.
inline constexpr access write{2};        ///< Writes data.
inline constexpr access read_write{3};   ///< Needs both rights: an atomic operation.
inline constexpr access execute{4};      ///< Fetches instructions.
inline constexpr access privileged{8};   ///< With read or write: the requester claims supervisor privilege.
inline constexpr access zero_length{16}; ///< With read: no byte is transferred (a PCIe flush read).
/// Asks which rights there are: lacking the named ones is no fault. With write, a granted write counts as made (ATS); without, a
/// write that an unset dirty bit should see is not granted.
inline constexpr access inquiring{32};

} // namespace v0
} // namespace stagewalk
