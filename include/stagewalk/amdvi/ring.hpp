/// \file
/// The rings that an AMD IOMMU shares with software (48882 2.4, 2.5, 2.6): command buffer, event log and PPR log.
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Command Buffer, Event Log and PPR Log Base Address Registers, offsets 0008h, 0010h and 0038h (48882 3.4).
struct ring_base_register : entry<64, pointer_field<"Base", 51, 12>, // the ring, a system address
                                  field<"Length", 59, 56>            // lg2 of its entries, 8 to 15
                                  > {
    using entry::entry;

    /// Whether the length is none of the reserved ones, below 8.
    [[nodiscard]] constexpr bool is_valid() const { return get<"Length">() >= 8; }
    /// lg2 of the number of entries; a reserved length counts as 8.
    [[nodiscard]] constexpr std::uint64_t lg2_entries() const { return is_valid() ? get<"Length">() : 8; }
    /// The number of entries, 256 to 32768.
    [[nodiscard]] constexpr std::uint64_t entries() const { return std::uint64_t{1} << lg2_entries(); }
    /// The size in bytes.
    [[nodiscard]] constexpr std::uint64_t bytes() const { return entries() * 16; }
};

/// A ring of entries of 16 bytes: one side stores at the tail, the other takes from the head.
///
/// Whoever writes a pointer register may be hostile: a pointer beyond the ring counts modulo the ring's size, so that a consumer
/// takes fewer entries than the ring has and then sees it empty, whatever the registers hold. is_sound() tells such registers.
struct ring {
    ring_base_register base{}; ///< Where it is.
    std::uint64_t head{};      ///< The head pointer register, a byte offset in bits 18:4.
    std::uint64_t tail{};      ///< The tail pointer register, a byte offset in bits 18:4.

    /// Whether the length is legal and both pointers lie inside.
    [[nodiscard]] constexpr bool is_sound() const {
        return base.is_valid() && (head & pointer) < base.bytes() && (tail & pointer) < base.bytes();
    }
    /// How many entries wait.
    [[nodiscard]] constexpr std::uint64_t pending() const { return offset_of(offset_of(tail) - offset_of(head)) / 16; }
    /// Whether none does.
    [[nodiscard]] constexpr bool is_empty() const { return pending() == 0; }
    /// Whether there is no room: one entry always stays free.
    [[nodiscard]] constexpr bool is_full() const { return pending() == base.entries() - 1; }
    /// The system address of the entry that is taken next. Of a ring that is not empty.
    [[nodiscard]] constexpr std::uint64_t read_at() const { return base.get<"Base">() + offset_of(head); }
    /// The system address where the next entry is stored. Of a ring that is not full.
    [[nodiscard]] constexpr std::uint64_t write_at() const { return base.get<"Base">() + offset_of(tail); }
    /// Takes an entry. Of a ring that is not empty.
    constexpr void consume() { head = offset_of(head + 16); }
    /// Counts an entry that was stored. Of a ring that is not full.
    constexpr void append() { tail = offset_of(tail + 16); }

    /// Rings are equal whose registers are.
    friend constexpr bool operator==(ring const&, ring const&) = default;

private:
    static constexpr std::uint64_t pointer = bit_mask(18, 4); // of a pointer register

    [[nodiscard]] constexpr std::uint64_t offset_of(std::uint64_t value) const { return value & pointer & (base.bytes() - 1); }
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
