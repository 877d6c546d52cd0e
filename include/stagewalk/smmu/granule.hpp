/// \file
/// Translation granules and address sizes of VMSAv8-64, in each of the encodings that the registers and structures use
/// (IHI 0070 5.2 STE, 5.4 CD, 6.3.6 SMMU_IDR5).
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The size of the smallest page and of a full table; the enumerator is its lg2.
enum class granule : std::uint64_t {
    none = 0, ///< A reserved encoding.
    k4 = 12,  ///< 4 KiB.
    k16 = 14, ///< 16 KiB.
    k64 = 16, ///< 64 KiB.
};

/// The lg2 size of \p g in bytes; 0 for `granule::none`.
[[nodiscard]] constexpr std::uint64_t lg2_of(granule g) { return static_cast<std::uint64_t>(g); }

/// CD.TG0 and STE.S2TG, 2 bits: 00 4 KiB, 01 64 KiB, 10 16 KiB, 11 reserved.
[[nodiscard]] constexpr granule granule_from_tg0(std::uint64_t tg) {
    return tg == 0 ? granule::k4 : tg == 1 ? granule::k64 : tg == 2 ? granule::k16 : granule::none;
}
/// CD.TG1, 2 bits: 01 16 KiB, 10 4 KiB, 11 64 KiB, 00 reserved: not the order of TG0.
[[nodiscard]] constexpr granule granule_from_tg1(std::uint64_t tg) {
    return tg == 1 ? granule::k16 : tg == 2 ? granule::k4 : tg == 3 ? granule::k64 : granule::none;
}
/// The TG0 or S2TG encoding of \p g.
[[nodiscard]] constexpr std::uint64_t to_tg0(granule g) { return g == granule::k4 ? 0 : g == granule::k64 ? 1 : 2; }
/// The TG1 encoding of \p g.
[[nodiscard]] constexpr std::uint64_t to_tg1(granule g) { return g == granule::k16 ? 1 : g == granule::k4 ? 2 : 3; }

/// The number of address bits that an OAS, IPS or S2PS encoding stands for: 32, 36, 40, 42, 44, 48, 52. 7 is 56 bits with
/// VMSAv9-128 only, and counts as 52 here.
[[nodiscard]] constexpr std::uint64_t address_size(std::uint64_t code) {
    constexpr std::uint8_t bits[8] = {32, 36, 40, 42, 44, 48, 52, 52};
    return bits[code & 7];
}
/// The smallest encoding for at least \p bits address bits, at most 52.
[[nodiscard]] constexpr std::uint64_t to_address_size(std::uint64_t bits) {
    std::uint64_t code = 0;
    while (code < 6 && address_size(code) < bits)
        ++code;
    return code;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
