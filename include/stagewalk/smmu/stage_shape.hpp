/// \file
/// How far tables of VMSAv8-64 may reach and at which level they start (DDI 0487 D8.2, IHI 0070 5.2 and 5.4).
#pragma once

#include "capabilities.hpp"
#include "granule.hpp"
#include "policy.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Which sizes (T0SZ, T1SZ, S2T0SZ) are legal: input addresses have 64 - size bits.
struct size_limits {
    std::uint64_t least; ///< The smallest size field: the widest input.
    std::uint64_t most;  ///< The largest: the narrowest input.

    /// Whether \p size is legal.
    [[nodiscard]] constexpr bool allow(std::uint64_t size) const { return least <= size && size <= most; }
    /// \p size, or the nearest legal one.
    [[nodiscard]] constexpr std::uint64_t clamp(std::uint64_t size) const {
        return size < least ? least : size > most ? most : size;
    }
};

/// The largest size field with granule \p g: the narrowest input.
[[nodiscard]] constexpr std::uint64_t largest_size(capabilities const& caps, granule g) {
    if (!caps.has<"STT">()) return 39;
    return g == granule::k64 ? 47 : 48;
}

/// The sizes that stage 1 may have with granule \p g; \p ds: with 52-bit addresses in 4 KiB and 16 KiB tables.
[[nodiscard]] constexpr size_limits stage1_sizes(capabilities const& caps, granule g, bool ds) {
    bool const wide = caps.wide_input() && (g == granule::k64 || ds);
    return {wide ? std::uint64_t{12} : std::uint64_t{16}, largest_size(caps, g)};
}

/// The sizes that stage 2 may have. The widest input is that of an intermediate address.
[[nodiscard]] constexpr size_limits stage2_sizes(capabilities const& caps, granule g, bool ds) {
    std::uint64_t const widest = 64 - caps.intermediate_size();
    std::uint64_t const floor = caps.minor_version() == 0 ? 0 : g == granule::k64 || ds ? 12 : 16;
    return {widest > floor ? widest : floor, largest_size(caps, g)};
}

/// The level of the top table of stage 1 for \p input_size bits; 0 is the manual's level 3 (DDI 0487 D8.2.4).
[[nodiscard]] constexpr std::uint64_t stage1_top(granule g, std::uint64_t input_size) {
    return (input_size - 1 - lg2_of(g)) / (lg2_of(g) - 3);
}

/// Stands for a start level that the encoding does not have.
inline constexpr std::uint64_t no_top = ~std::uint64_t{0};

/// The level of the top table of stage 2 that S2SL0 = \p sl0 and S2SL0_2 = \p sl0_2 name; no_top: reserved.
/// \param caps the capabilities.
/// \param g the granule.
/// \param ds S2DS, where it counts.
/// \param sl0 S2SL0.
/// \param sl0_2 S2SL0_2, which counts with 4 KiB and \p ds only.
[[nodiscard]] constexpr std::uint64_t stage2_top(capabilities const& caps, granule g, bool ds, std::uint64_t sl0,
                                                 std::uint64_t sl0_2) {
    if (g == granule::k4) {
        if (ds && sl0_2 != 0) return sl0 == 0 ? 4 : no_top;
        if (sl0 == 3) return caps.has<"STT">() ? 0 : no_top;
        return sl0 + 1;
    }
    if (sl0 < 3) return sl0;
    return g == granule::k16 && ds ? 3 : no_top;
}

/// The S2SL0 encoding (bits 1:0) and S2SL0_2 (bit 2) of level \p top.
[[nodiscard]] constexpr std::uint64_t to_start_level(granule g, std::uint64_t top) {
    if (g != granule::k4) return top;
    return top == 4 ? 4 : top == 0 ? 3 : top - 1;
}

/// Whether stage-2 tables with their top at level \p top can translate \p input_size bits: at least two entries in the top table,
/// at most 16 tables side by side.
[[nodiscard]] constexpr bool stage2_reaches(granule g, std::uint64_t top, std::uint64_t input_size) {
    std::uint64_t const below = top * (lg2_of(g) - 3) + lg2_of(g);
    return below + 1 <= input_size && input_size <= below + (lg2_of(g) - 3) + 4;
}

/// The lowest level at which stage-2 tables for \p input_size bits can start, with tables side by side where that saves a level;
/// no_top: none. Depth is what walks cost, and a start that depends on a large output size is avoided (start_level::by_size).
/// \param caps the capabilities.
/// \param g the granule.
/// \param input_size the width of the input addresses in bits.
/// \param ds S2DS, where it counts.
[[nodiscard]] constexpr std::uint64_t lowest_stage2_top(capabilities const& caps, granule g, std::uint64_t input_size, bool ds) {
    for (std::uint64_t top = 0; top < 5; ++top) {
        std::uint64_t const code = to_start_level(g, top);
        if (stage2_top(caps, g, ds, code & 3, code >> 2) == top && stage2_reaches(g, top, input_size)) return top;
    }
    return no_top;
}

/// Whether a processor with addresses of \p output_size bits would let stage-2 tables start at level \p top
/// (start_level::by_size).
[[nodiscard]] constexpr bool stage2_start_fits(granule g, std::uint64_t top, std::uint64_t output_size) {
    if (g == granule::k4) return top == 4 ? output_size >= 52 : top < 3 || output_size >= 44;
    if (g == granule::k16) return top == 3 ? output_size >= 52 : top < 2 || output_size >= 42;
    return top < 2 || output_size >= 44;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
