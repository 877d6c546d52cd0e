/// \file
/// Context descriptors: what stage 1 is for a StreamID and SubstreamID (IHI 0070 5.3 and 5.4).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "granule.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Level-1 context descriptor (IHI 0070 5.3): `descriptor = S1ContextPtr + (SubstreamID >> bits) * 8`.
struct context_table_descriptor : entry<64, field<"V", 0>,             // valid
                                        pointer_field<"L2Ptr", 55, 12> // the table of context descriptors
                                        > {
    using entry::entry;

    /// A descriptor of the table at \p table, aligned to 4 KiB, or to 64 KiB in tables of 1024 descriptors.
    [[nodiscard]] static constexpr context_table_descriptor make(std::uint64_t table) {
        context_table_descriptor d;
        d.set<"L2Ptr">(table);
        d.set<"V">(1);
        return d;
    }
};

/// The upper or lower half of the input addresses of stage 1, each with tables of its own.
enum class half : std::uint64_t {
    lower = 0, ///< Bit 55 clear: TTB0.
    upper = 1, ///< Bit 55 set: TTB1.
};

/// Both halves.
inline constexpr half halves[2] = {half::lower, half::upper};

/// The half in which \p address lies.
[[nodiscard]] constexpr half half_of(std::uint64_t address) { return static_cast<half>(address >> 55 & 1); }

/// Context descriptor (IHI 0070 5.4): `descriptor = table + index * 64`.
struct context_descriptor : entry<512, field<"T0SZ", 5, 0>,          // the lower half has 64 - T0SZ bits
                                  field<"TG0", 7, 6>,                // its granule, see granule_from_tg0
                                  field<"IR0", 9, 8>,                // how its tables are fetched: inner cacheability
                                  field<"OR0", 11, 10>,              // outer cacheability
                                  field<"SH0", 13, 12>,              // shareability; with DS that of the output too
                                  field<"EPD0", 14>,                 // it has no tables
                                  field<"ENDI", 15>,                 // tables are big-endian
                                  field<"T1SZ", 21, 16>,             // the upper half
                                  field<"TG1", 23, 22>,              // its granule, see granule_from_tg1
                                  field<"IR1", 25, 24>,              //
                                  field<"OR1", 27, 26>,              //
                                  field<"SH1", 29, 28>,              //
                                  field<"EPD1", 30>,                 //
                                  field<"V", 31>,                    // valid
                                  field<"IPS", 34, 32>,              // output size, see address_size
                                  field<"AFFD", 35>,                 // a clear access flag is no fault
                                  field<"WXN", 36>,                  // what can be written cannot be executed
                                  field<"UWXN", 37>,                 // VMSAv8-32 only
                                  field<"TBI0", 38>,                 // the top byte of an address is ignored
                                  field<"TBI1", 39>,                 //
                                  field<"PAN", 40>,                  // privileged data accesses avoid unprivileged pages
                                  field<"AA64", 41>,                 // VMSAv8-64
                                  field<"HD", 42>,                   // the dirty state is updated
                                  field<"HA", 43>,                   // the access flag is updated
                                  field<"S", 44>,                    // faults stall
                                  field<"R", 45>,                    // faults are recorded
                                  field<"A", 46>,                    // faults abort, else they read zero
                                  field<"ASET", 47>,                 // not affected by the processors' invalidations
                                  field<"ASID", 63, 48>,             //
                                  field<"NSCFG0", 64>,               // Secure streams
                                  field<"HAD0", 65>,                 // hierarchical attributes are ignored
                                  field<"E0PD0", 66>,                // no unprivileged access to the half
                                  field<"HAFT", 67>,                 // the access flag of table descriptors is updated
                                  pointer_field<"TTB0", 119, 68>,    // the table, address bits 55:4
                                  field<"PnCH", 122>,                // translation hardening
                                  field<"EPAN", 123>,                // PAN covers executable pages too
                                  field<"HWU0", 127, 124>,           // page-based hardware attributes
                                  field<"NSCFG1", 128>,              // Secure streams
                                  field<"HAD1", 129>,                //
                                  field<"E0PD1", 130>,               //
                                  field<"AIE", 131>,                 // four bits of attribute index
                                  pointer_field<"TTB1", 183, 132>,   // the table, address bits 55:4
                                  field<"DS", 186>,                  // 52-bit addresses with 4 KiB and 16 KiB
                                  field<"PIE", 187>,                 // permission indirection
                                  field<"HWU1", 191, 188>,           //
                                  field<"MAIR0", 223, 192>,          // memory attributes 0 to 3, a byte each
                                  field<"MAIR1", 255, 224>,          // memory attributes 4 to 7
                                  ignored_field<"AMAIR0", 287, 256>, // implementation defined
                                  ignored_field<"AMAIR1", 319, 288>, // implementation defined
                                  ignored_field<"IMPDEF", 351, 320>, //
                                  field<"PARTID", 367, 352>,         //
                                  field<"PMG", 375, 368>,            //
                                  field<"PIIU", 431, 384>,           // permission indirection, 16 of 3 bits
                                  field<"PIIP", 495, 448>            // permission indirection, 16 of 3 bits
                                  > {
    using entry::entry;

    /// A valid descriptor of the lower half alone; the upper has no tables. Faults are recorded and abort. Tables are fetched as
    /// cacheable, inner shareable memory. Memory attribute 0 is Normal non-cacheable, 1 Normal write-back, 2 Device nGnRE.
    /// \param table the table, aligned to its size and to 16 bytes.
    /// \param input_bits the width of the input addresses.
    /// \param g the granule.
    /// \param output_bits the width of the output addresses, at most that of the SMMU.
    /// \param asid the ASID that tags the translations.
    [[nodiscard]] static constexpr context_descriptor make(std::uint64_t table, std::uint64_t input_bits, granule g,
                                                           std::uint64_t output_bits, std::uint16_t asid) {
        context_descriptor d;
        d.set<"T0SZ">(64 - input_bits);
        d.set<"TG0">(to_tg0(g));
        d.set<"IR0">(1);
        d.set<"OR0">(1);
        d.set<"SH0">(3);
        d.set<"EPD1">(1);
        d.set<"V">(1);
        d.set<"IPS">(to_address_size(output_bits));
        d.set<"AA64">(1);
        d.set<"R">(1);
        d.set<"A">(1);
        d.set<"ASET">(1);
        d.set<"ASID">(asid);
        d.set<"TTB0">(table);
        d.set<"MAIR0">(0x0004'ff44);
        return d;
    }

    /// The size field of half \p h: it has 64 - this bits.
    [[nodiscard]] constexpr std::uint64_t size(half h) const { return h == half::lower ? get<"T0SZ">() : get<"T1SZ">(); }
    /// The granule of half \p h.
    [[nodiscard]] constexpr granule granule_of(half h) const {
        return h == half::lower ? granule_from_tg0(get<"TG0">()) : granule_from_tg1(get<"TG1">());
    }
    /// The table of half \p h.
    [[nodiscard]] constexpr std::uint64_t table(half h) const { return h == half::lower ? get<"TTB0">() : get<"TTB1">(); }
    /// Whether half \p h has no tables.
    [[nodiscard]] constexpr bool is_disabled(half h) const { return (h == half::lower ? get<"EPD0">() : get<"EPD1">()) != 0; }
    /// Whether the top byte of addresses in half \p h is ignored.
    [[nodiscard]] constexpr bool ignores_top_byte(half h) const {
        return (h == half::lower ? get<"TBI0">() : get<"TBI1">()) != 0;
    }
    /// Whether hierarchical attributes are ignored in half \p h.
    [[nodiscard]] constexpr bool ignores_hierarchy(half h) const {
        return (h == half::lower ? get<"HAD0">() : get<"HAD1">()) != 0;
    }
    /// Whether half \p h refuses unprivileged accesses.
    [[nodiscard]] constexpr bool refuses_unprivileged(half h) const {
        return (h == half::lower ? get<"E0PD0">() : get<"E0PD1">()) != 0;
    }
    /// Memory attribute \p index, a byte of MAIR; beyond 7 there are none, and 7 serves.
    [[nodiscard]] constexpr std::uint64_t memory_attribute(std::uint64_t index) const {
        return word[3] >> (index > 7 ? 7 : index) * 8 & 0xff;
    }
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
