/// \file
/// What a VT-d unit can do (VT-d 11.4.2 and 11.4.3: CAP_REG, ECAP_REG).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// CAP_REG, offset 008h (VT-d 11.4.2).
struct capability_register
    : entry<64, field<"ESRTPS", 63>, field<"ESIRTPS", 62>, field<"ECMDS", 61>, field<"FS5LP", 60>, field<"PI", 59>,
            field<"FS1GP", 56>, field<"DRD", 55>, field<"DWD", 54>, field<"MAMV", 53, 48>, field<"NFR", 47, 40>,
            field<"PSI", 39>, field<"SSLPS", 37, 34>, field<"FRO", 33, 24>, field<"ZLR", 22>, field<"MGAW", 21, 16>,
            field<"SAGAW", 12, 8>, field<"CM", 7>, field<"PHMR", 6>, field<"PLMR", 5>, field<"RWBF", 4>,
            field<"ND", 2, 0>> {
    using entry::entry;
};

/// ECAP_REG, offset 010h (VT-d 11.4.3).
struct extended_capability_register
    : entry<64, field<"IRREQ", 62>, field<"EIMER", 61>, field<"HPT1GPS", 59>, field<"SSIRWS", 57>, field<"PTRS", 56>,
            field<"HPTS", 55>, field<"RPRIVS", 53>, field<"ADMS", 52>, field<"RPS", 49>, field<"SMPWCS", 48>,
            field<"FSTS", 47>, field<"SSTS", 46>, field<"SSADS", 45>, field<"SMTS", 43>, field<"PDS", 42>,
            field<"DIT", 41>, field<"PASID", 40>, field<"PSS", 39, 35>, field<"EAFS", 34>, field<"NWFS", 33>,
            field<"SRS", 31>, field<"ERS", 30>, field<"PRS", 29>, field<"NEST", 26>, field<"MTS", 25>,
            field<"MHMV", 23, 20>, field<"IRO", 17, 8>, field<"SC", 7>, field<"PT", 6>, field<"EIM", 4>, field<"IR", 3>,
            field<"DT", 2>, field<"QI", 1>, field<"C", 0>> {
    using entry::entry;
};

/// What is wrong with a pair of capability registers that no unit can have.
enum class capability_error : std::uint8_t {
    none,                  ///< Nothing.
    no_table_levels,       ///< SAGAW names no supported page-table depth.
    reserved_table_levels, ///< SAGAW bit 0 or 4 is set.
    large_pages,           ///< SSLPS is none of 0000b, 0001b, 0011b.
    domain_width,          ///< ND is 7.
    host_address_width,    ///< The host address width is not within 32 to 52 bits, or above MGAW.
};

/// A unit's capabilities, from the raw registers: `vtd::capabilities{cap, ecap}`. Every behaviour that a register gates
/// asks here.
struct capabilities {
    capability_register cap{};           ///< CAP_REG.
    extended_capability_register ecap{}; ///< ECAP_REG.
    std::uint64_t host_address_width{};  ///< HAW in bits: physical addresses are below 2^HAW.

    /// Nothing is supported.
    constexpr capabilities() = default;

    /// \param cap_register CAP_REG.
    /// \param ecap_register ECAP_REG.
    /// \param haw the host address width in bits, 0 = MGAW, the widest that the registers allow (at most 52).
    constexpr capabilities(std::uint64_t cap_register, std::uint64_t ecap_register, std::uint64_t haw = 0)
        : cap{cap_register}, ecap{ecap_register}, host_address_width{haw != 0 ? haw : guest_address_width()} {
        if (haw == 0 && host_address_width > 52) host_address_width = 52;
    }

    /// MGAW in bits: the widest input address.
    [[nodiscard]] constexpr std::uint64_t guest_address_width() const { return cap.get<"MGAW">() + 1; }
    /// Whether second-stage tables of \p levels levels (3, 4, 5) are supported.
    [[nodiscard]] constexpr bool second_stage_levels(std::uint64_t levels) const {
        return levels >= 3 && levels <= 5 && (cap.get<"SAGAW">() >> (levels - 2) & 1) != 0;
    }
    /// The deepest second-stage tables supported; 0 if none.
    [[nodiscard]] constexpr std::uint64_t deepest_second_stage() const {
        for (std::uint64_t levels = 5; levels >= 3; --levels)
            if (second_stage_levels(levels)) return levels;
        return 0;
    }
    /// Whether second-stage pages of 2 MiB are supported.
    [[nodiscard]] constexpr bool second_stage_2m() const { return (cap.get<"SSLPS">() & 1) != 0; }
    /// Whether second-stage pages of 1 GiB are supported.
    [[nodiscard]] constexpr bool second_stage_1g() const { return (cap.get<"SSLPS">() & 2) != 0; }
    /// The width of a domain id in bits: 4 + 2 ND.
    [[nodiscard]] constexpr std::uint64_t domain_id_width() const {
        std::uint64_t const width = 4 + 2 * cap.get<"ND">();
        return width < 16 ? width : 16;
    }
    /// The bits at or above HAW, up to bit 63: reserved in every pointer to a table.
    [[nodiscard]] constexpr std::uint64_t beyond_host() const { return ~low_mask(host_address_width); }

    /// What no unit can have; \c none where the registers make sense.
    [[nodiscard]] constexpr capability_error contradiction() const {
        if ((cap.get<"SAGAW">() & 0x11) != 0) return capability_error::reserved_table_levels;
        if (cap.get<"SAGAW">() == 0) return capability_error::no_table_levels;
        std::uint64_t const large = cap.get<"SSLPS">();
        if (large != 0 && large != 1 && large != 3) return capability_error::large_pages;
        if (cap.get<"ND">() == 7) return capability_error::domain_width;
        if (host_address_width < 32 || host_address_width > 52 || host_address_width > guest_address_width())
            return capability_error::host_address_width;
        return capability_error::none;
    }

    /// Capabilities are equal bit for bit.
    friend constexpr bool operator==(capabilities const&, capabilities const&) = default;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
