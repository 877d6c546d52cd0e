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
struct capability_register : entry<64,                     // bits
                                   field<"ESRTPS", 63>,    // setting the root pointer invalidates every DMA cache
                                   field<"ESIRTPS", 62>,   // setting the interrupt table pointer invalidates the interrupt cache
                                   field<"ECMDS", 61>,     // enhanced commands
                                   field<"FS5LP", 60>,     // first stage of 5 levels
                                   field<"PI", 59>,        // posted interrupts
                                   field<"FS1GP", 56>,     // first-stage pages of 1 GiB
                                   field<"DRD", 55>,       // drains reads
                                   field<"DWD", 54>,       // drains writes
                                   field<"MAMV", 53, 48>,  // largest address mask of an invalidation, if PSI
                                   field<"NFR", 47, 40>,   // number of fault records, less one
                                   field<"PSI", 39>,       // invalidation of single pages
                                   field<"SSLPS", 37, 34>, // second-stage pages: bit 0 = 2 MiB, bit 1 = 1 GiB
                                   field<"FRO", 33, 24>,   // offset of the fault records, in units of 16 bytes
                                   field<"ZLR", 22>,       // zero-length reads of write-only pages succeed
                                   field<"MGAW", 21, 16>,  // widest input address in bits, less one
                                   field<"SAGAW", 12, 8>,  // second-stage depth: bit 1 = 3 levels, bit 2 = 4, bit 3 = 5
                                   field<"CM", 7>,         // caching mode: what is not present may be cached
                                   field<"PHMR", 6>,       // protected region in high memory
                                   field<"PLMR", 5>,       // protected region in low memory
                                   field<"RWBF", 4>,       // write buffer must be flushed
                                   field<"ND", 2, 0>       // domain ids have 4 + 2 ND bits
                                   > {
    using entry::entry;
};

/// ECAP_REG, offset 010h (VT-d 11.4.3).
struct extended_capability_register : entry<64,                    // bits
                                            field<"IRREQ", 62>,    // interrupts are blocked while their remapping is off
                                            field<"EIMER", 61>,    // interrupts are blocked while EIME = 0
                                            field<"HPT1GPS", 59>,  // host permission table: pages of 1 GiB
                                            field<"SSIRWS", 57>,   // second-stage rights in bits 61 and 62
                                            field<"PTRS", 56>,     // PASID on translated requests
                                            field<"HPTS", 55>,     // host permission tables
                                            field<"RPRIVS", 53>,   // RID_PRIV
                                            field<"ADMS", 52>,     // abort-DMA mode
                                            field<"RPS", 49>,      // RID_PASID
                                            field<"SMPWCS", 48>,   // snooped walks in scalable mode
                                            field<"FSTS", 47>,     // first-stage translation
                                            field<"SSTS", 46>,     // second-stage translation in scalable mode
                                            field<"SSADS", 45>,    // second-stage A and D bits
                                            field<"SMTS", 43>,     // scalable mode
                                            field<"PDS", 42>,      // page-request drain
                                            field<"DIT", 41>,      // device-TLB invalidation throttling
                                            field<"PASID", 40>,    // requests with PASID
                                            field<"PSS", 39, 35>,  // PASID width in bits, less one
                                            field<"EAFS", 34>,     // extended accessed flag
                                            field<"NWFS", 33>,     // no-write flag of translation requests
                                            field<"SRS", 31>,      // supervisor requests
                                            field<"ERS", 30>,      // execute requests: 0 from Rev 4.1 on
                                            field<"PRS", 29>,      // page requests
                                            field<"NEST", 26>,     // nested translation
                                            field<"MTS", 25>,      // memory types
                                            field<"MHMV", 23, 20>, // largest index mask of an interrupt-cache invalidation
                                            field<"IRO", 17, 8>,   // offset of the IOTLB registers, in units of 16 bytes
                                            field<"SC", 7>,        // snoop control: SNP in second-stage pages
                                            field<"PT", 6>,        // pass-through
                                            field<"EIM", 4>,       // interrupt destinations of 32 bits
                                            field<"IR", 3>,        // interrupt remapping
                                            field<"DT", 2>,        // device TLBs
                                            field<"QI", 1>,        // queued invalidation
                                            field<"C", 0>          // walks are coherent with the processor caches
                                            > {
    using entry::entry;
};

/// What is wrong with a pair of capability registers that no unit can have.
enum class capability_error : std::uint8_t {
    none,                  ///< Nothing.
    no_table_levels,       ///< SAGAW names no supported depth of second-stage tables, and the unit has them.
    reserved_table_levels, ///< SAGAW bit 0 or 4 is set.
    large_pages,           ///< SSLPS is none of 0000b, 0001b, 0011b.
    domain_width,          ///< ND is 7.
    host_address_width,    ///< The host address width is not within 32 to 52 bits, or above MGAW.
    nesting,               ///< NEST without SMTS, FSTS and SSTS.
};

/// A unit's capabilities, from the raw registers: `vtd::capabilities{cap, ecap}`. Every behaviour that a register gates
/// asks here.
struct capabilities {
    capability_register cap{};           ///< CAP_REG.
    extended_capability_register ecap{}; ///< ECAP_REG.
    std::uint64_t host_address_width{};  ///< HAW in bits: physical addresses are below 2^HAW.
    std::uint64_t version{0x10};         ///< VER_REG: major version in bits 7:4.

    /// Nothing is supported.
    constexpr capabilities() = default;

    /// \param cap_register CAP_REG.
    /// \param ecap_register ECAP_REG.
    /// \param haw the host address width in bits, 0 = MGAW, the widest that the registers allow (at most 52).
    /// \param ver VER_REG, for what depends on the major version.
    constexpr capabilities(std::uint64_t cap_register, std::uint64_t ecap_register, std::uint64_t haw = 0,
                           std::uint64_t ver = 0x10)
        : cap{cap_register}, ecap{ecap_register}, host_address_width{haw != 0 ? haw : guest_address_width()}, version{ver} {
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

    /// The widest PASID in bits: PSS + 1, or 0 without PASID support.
    [[nodiscard]] constexpr std::uint64_t pasid_width() const { return has<"PASID">() ? ecap.get<"PSS">() + 1 : 0; }
    /// The major version of the unit.
    [[nodiscard]] constexpr std::uint64_t major_version() const { return version >> 4 & 0xf; }
    /// Whether the flag \p Name of ECAP_REG is set.
    template <field_name Name>
    [[nodiscard]] constexpr bool has() const {
        return ecap.get<Name>() != 0;
    }

    /// What no unit can have; \c none where the registers make sense.
    [[nodiscard]] constexpr capability_error contradiction() const {
        if ((cap.get<"SAGAW">() & 0x11) != 0) return capability_error::reserved_table_levels;
        // A unit in scalable mode may have first-stage tables alone.
        bool const has_second_stage = has<"SSTS">() || !has<"SMTS">();
        if (cap.get<"SAGAW">() == 0 && has_second_stage) return capability_error::no_table_levels;
        std::uint64_t const large = cap.get<"SSLPS">();
        if (large != 0 && large != 1 && large != 3) return capability_error::large_pages;
        if (cap.get<"ND">() == 7) return capability_error::domain_width;
        if (host_address_width < 32 || host_address_width > 52 || host_address_width > guest_address_width())
            return capability_error::host_address_width;
        if (has<"NEST">() && !(has<"SMTS">() && has<"FSTS">() && has<"SSTS">())) return capability_error::nesting;
        return capability_error::none;
    }

    /// Capabilities are equal bit for bit.
    friend constexpr bool operator==(capabilities const&, capabilities const&) = default;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
