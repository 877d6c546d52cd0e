/// \file
/// Memory types of an access and how the two stages combine them (DDI 0487 D8.5 and D8.6, IHI 0070 13.1).
#pragma once

#include "../core/attributes.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Who else sees what is written, as SH fields encode it.
enum class shareability : std::uint64_t {
    none = 0,  ///< Nobody.
    outer = 2, ///< Outer shareable.
    inner = 3, ///< Inner shareable.
};

/// The memory type of an access.
struct memory_attributes {
    /// As a byte of MAIR: 0000dd00 Device (nGnRnE, nGnRE, nGRE, GRE); else the outer type in bits 7:4 and the inner in 3:0, each
    /// 0100 non-cacheable, 00RW and 10RW write-through, 01RW and 11RW write-back, transient and not.
    std::uint64_t type{0xff};
    shareability sharing{shareability::inner}; ///< Who else sees it.

    /// Whether it is Device memory.
    [[nodiscard]] constexpr bool is_device() const { return (type & 0xf0) == 0; }

    /// Attributes are equal field by field.
    friend constexpr bool operator==(memory_attributes const&, memory_attributes const&) = default;
};

namespace detail {

// Non-cacheable 0, write-through 1, write-back 2, of a nibble of MAIR.
[[nodiscard]] constexpr std::uint64_t cacheability(std::uint64_t nibble) {
    if (nibble == 4) return 0;
    return (nibble & 4) != 0 ? 2 : 1;
}
// A nibble made no more cacheable than at_most, its allocation hints kept.
[[nodiscard]] constexpr std::uint64_t weakened(std::uint64_t nibble, std::uint64_t at_most) {
    if (cacheability(nibble) <= at_most) return nibble;
    return at_most == 0 ? 4 : nibble & ~std::uint64_t{4};
}
// A nibble made write-back, its allocation hints kept; what is not cached has none. Transient write-back always allocates.
[[nodiscard]] constexpr std::uint64_t strengthened(std::uint64_t nibble) {
    if (cacheability(nibble) == 0) return 15;
    return (nibble & 3) == 0 ? 12 : nibble | 4;
}
// Device and wholly non-cacheable memory is outer shareable; of the others the wider sharing counts.
[[nodiscard]] constexpr shareability shared(std::uint64_t type, shareability a, shareability b) {
    if ((type & 0xf0) == 0 || type == 0x44) return shareability::outer;
    if (a == shareability::outer || b == shareability::outer) return shareability::outer;
    return a == shareability::inner || b == shareability::inner ? shareability::inner : shareability::none;
}
// SH = 01 is reserved and counts as none.
[[nodiscard]] constexpr shareability to_shareability(std::uint64_t sh) {
    return (sh & 2) == 0 ? shareability::none : static_cast<shareability>(sh & 3);
}

} // namespace detail

/// What byte \p byte of MAIR and shareability field \p sh (2 bits) stand for. Reserved Device encodings count as the one that
/// their bits 3:2 name.
[[nodiscard]] constexpr memory_attributes stage1_memory(std::uint64_t byte, std::uint64_t sh) {
    std::uint64_t const type = (byte & 0xf0) == 0 ? byte & 0x0c : byte & 0xff;
    auto const own = detail::to_shareability(sh);
    return {type, detail::shared(type, own, own)};
}

/// The memory type that MemAttr \p code (4 bits) of stage 2, STE or GBPA stands for by itself: with the usual allocation hints.
/// Reserved cacheabilities count as non-cacheable.
[[nodiscard]] constexpr std::uint64_t type_of_memattr(std::uint64_t code) {
    if ((code & 12) == 0) return (code & 3) << 2;
    constexpr std::uint64_t nibble[4] = {4, 4, 11, 15};
    return nibble[code >> 2 & 3] << 4 | nibble[code & 3];
}

/// Both stages together: \p first through a stage-2 leaf with MemAttr \p code and SH \p sh.
/// \param first the memory type after stage 1, or the incoming one.
/// \param code MemAttr, 4 bits.
/// \param sh SH, 2 bits.
/// \param forces STE.S2FWB, in an SMMU that has it.
[[nodiscard]] constexpr memory_attributes combine(memory_attributes const& first, std::uint64_t code, std::uint64_t sh,
                                                  bool forces) {
    auto const finish = [&](std::uint64_t type) {
        return memory_attributes{type, detail::shared(type, first.sharing, detail::to_shareability(sh))};
    };
    std::uint64_t const outer = first.type >> 4;
    std::uint64_t const inner = first.type & 15;
    bool const device = forces ? (code & 4) == 0 : (code & 12) == 0;
    if (device) {
        std::uint64_t const type = (code & 3) << 2;
        return finish(first.is_device() && first.type < type ? first.type : type);
    }
    if (forces) {
        switch (code & 7) {
        case 6: return finish(first.is_device() ? 0xff : detail::strengthened(outer) << 4 | detail::strengthened(inner));
        case 7: return finish(first.type);
        default: return finish(first.is_device() ? first.type : 0x44);
        }
    }
    if (first.is_device()) return finish(first.type);
    constexpr std::uint64_t at_most[4] = {0, 0, 1, 2};
    return finish(detail::weakened(outer, at_most[code >> 2 & 3]) << 4 | detail::weakened(inner, at_most[code & 3]));
}

/// The memory type of a request that comes with \p incoming, after the overrides of an STE or GBPA (IDR1.ATTR_TYPES_OVR).
/// \param incoming what the request says.
/// \param replaces MTCFG: the type is replaced.
/// \param code MemAttr, 4 bits.
/// \param shcfg SHCFG: 1 incoming, else as SH.
[[nodiscard]] constexpr memory_attributes overridden(memory_attributes incoming, bool replaces, std::uint64_t code,
                                                     std::uint64_t shcfg) {
    if (replaces) incoming.type = type_of_memattr(code);
    auto const sharing = shcfg == 1 ? incoming.sharing : detail::to_shareability(shcfg);
    return {incoming.type, detail::shared(incoming.type, sharing, sharing)};
}

/// Format bits of the `attributes` that a unit answers with: bits 15:8 the memory type as in `memory_attributes`, 17:16 the
/// shareability as in SH.
[[nodiscard]] constexpr attributes to_attributes(access rights, memory_attributes const& m) {
    return attributes::from_bits((rights.bits & attributes::rights_mask) | m.type << 8 |
                                 static_cast<std::uint64_t>(m.sharing) << 16);
}
/// The memory type in attributes \p a that a unit answered with.
[[nodiscard]] constexpr memory_attributes memory_in(attributes a) {
    return {a.bits >> 8 & 0xff, static_cast<shareability>(a.bits >> 16 & 3)};
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
