/// \file
/// Stream tables: what a StreamID is bound to (IHI 0070 5.1 and 5.2).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "granule.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Level-1 stream table descriptor (IHI 0070 5.1): `descriptor = base + (StreamID >> SPLIT) * 8`.
struct stream_table_descriptor : entry<64, field<"Span", 4, 0>,      // 2^(Span - 1) entries; 0 and 12 to 31: none
                                       pointer_field<"L2Ptr", 55, 6> // the table of entries
                                       > {
    using entry::entry;

    /// A descriptor of a table of 2^\p bits entries at \p table, which is aligned to its size.
    [[nodiscard]] static constexpr stream_table_descriptor make(std::uint64_t table, std::uint64_t bits) {
        stream_table_descriptor d;
        d.set<"L2Ptr">(table);
        d.set<"Span">(bits + 1);
        return d;
    }

    /// Whether it leads to a table in an SMMU whose second level has \p split StreamID bits.
    [[nodiscard]] constexpr bool is_valid(std::uint64_t split) const {
        std::uint64_t const span = get<"Span">();
        return span != 0 && span <= 11 && span <= split + 1;
    }
    /// The StreamID bits that its table covers. Of a valid one.
    [[nodiscard]] constexpr std::uint64_t stream_bits() const { return get<"Span">() - 1; }
    /// The table; hardware takes the address bits within its size as 0. Of a valid one.
    [[nodiscard]] constexpr std::uint64_t table() const { return get<"L2Ptr">() & ~low_mask(stream_bits() + 6); }
};

/// What an STE does with requests, its Config field (IHI 0070 5.2).
enum class stream_configuration : std::uint64_t {
    abort = 0,  ///< 0xx: they are aborted, and no event says so.
    bypass = 4, ///< 100: they pass untranslated.
    stage1 = 5, ///< 101: stage 1.
    stage2 = 6, ///< 110: stage 2.
    nested = 7, ///< 111: stage 1 over stage 2.
};

/// How context descriptors are found, S1Fmt.
enum class context_format : std::uint64_t {
    linear = 0,        ///< One table.
    two_levels_4k = 1, ///< Tables of 64 descriptors under a table of pointers.
    two_levels_64k = 2 ///< Tables of 1024 descriptors under a table of pointers.
};

/// What requests without SubstreamID do where there are substreams, S1DSS.
enum class default_substream : std::uint64_t {
    terminate = 0, ///< F_STREAM_DISABLED.
    bypass = 1,    ///< They pass stage 1 untranslated.
    zero = 2,      ///< They use substream 0, which nobody may then name.
};

/// Stream table entry (IHI 0070 5.2): `entry = table + index * 64`.
struct stream_table_entry : entry<512, field<"V", 0>,                   // valid
                                  field<"Config", 3, 1>,                // see stream_configuration
                                  field<"S1Fmt", 5, 4>,                 // see context_format; 3 counts as 0
                                  pointer_field<"S1ContextPtr", 55, 6>, // context descriptors; an IPA where stage 2 is on
                                  field<"S1CDMax", 63, 59>,             // 2^S1CDMax context descriptors; 0: no substreams
                                  field<"S1DSS", 65, 64>,               // see default_substream; 3 counts as 0
                                  field<"S1CIR", 67, 66>,               // how descriptors are fetched: inner cacheability
                                  field<"S1COR", 69, 68>,               // outer cacheability
                                  field<"S1CSH", 71, 70>,               // shareability
                                  field<"S2HWU", 75, 72>,               // page-based hardware attributes
                                  field<"DRE", 76>,                     // destructive reads are allowed
                                  field<"CONT", 80, 77>,                // hint: 2^CONT entries are alike
                                  field<"DCP", 81>,                     // directed cache prefetch
                                  field<"PPAR", 82>,                    // PASID in page-request responses
                                  field<"MEV", 83>,                     // events may be merged
                                  ignored_field<"SW", 87, 84>,          // for software
                                  field<"S1PIE", 88>,                   // permission indirection
                                  field<"S2FWB", 89>,                   // stage 2 forces write-back
                                  field<"S1MPAM", 90>,                  //
                                  field<"S1STALLD", 91>,                // no stalls at stage 1
                                  field<"EATS", 93, 92>,                // ATS: 0 off, 1 on, 2 split stages, 3 permission table
                                  field<"STRW", 95, 94>,                // stream world of stage 1 alone
                                  field<"MemAttr", 99, 96>,             // memory type, if MTCFG
                                  field<"MTCFG", 100>,                  //
                                  field<"ALLOCCFG", 104, 101>,          //
                                  field<"SHCFG", 109, 108>,             // shareability: 1 incoming
                                  field<"NSCFG", 111, 110>,             // Secure streams
                                  field<"PRIVCFG", 113, 112>,           // 2 unprivileged, 3 privileged, else incoming
                                  field<"INSTCFG", 115, 114>,           // reads: 2 data, 3 instruction, else incoming
                                  ignored_field<"IMPDEF", 127, 116>,    //
                                  field<"S2VMID", 143, 128>,            // tags stage 1 too
                                  ignored_field<"IMPDEF", 159, 144>,    //
                                  field<"S2T0SZ", 165, 160>,            // IPAs have 64 - S2T0SZ bits
                                  field<"S2SL0", 167, 166>,             // start level
                                  field<"S2IR0", 169, 168>,             // how tables are fetched: inner cacheability
                                  field<"S2OR0", 171, 170>,             // outer cacheability
                                  field<"S2SH0", 173, 172>,             // shareability; with S2DS that of the output too
                                  field<"S2TG", 175, 174>,              // granule, see granule_from_tg0
                                  field<"S2PS", 178, 176>,              // output size, see address_size
                                  field<"S2AA64", 179>,                 // VMSAv8-64
                                  field<"S2ENDI", 180>,                 // tables are big-endian
                                  field<"S2AFFD", 181>,                 // a clear access flag is no fault
                                  field<"S2PTW", 182>,                  // no stage-1 tables in Device memory
                                  field<"S2HD", 183>,                   // the dirty state is updated
                                  field<"S2HA", 184>,                   // the access flag is updated
                                  field<"S2S", 185>,                    // stage-2 faults stall
                                  field<"S2R", 186>,                    // stage-2 faults are recorded
                                  field<"S2HAFT", 187>,                 // the access flag of table descriptors is updated
                                  field<"S2PIE", 188>,                  // permission indirection
                                  field<"S2POE", 189>,                  // permission overlays
                                  field<"DPT_VMATCH", 191, 190>,        //
                                  field<"S2NSW", 192>,                  // Secure streams
                                  field<"S2NSA", 193>,                  // Secure streams
                                  field<"S2SL0_2", 194>,                // third bit of the start level
                                  field<"S2DS", 195>,                   // 52-bit addresses with 4 KiB and 16 KiB
                                  pointer_field<"S2TTB", 247, 196>,     // the stage-2 table, address bits 55:4
                                  field<"S2SKL", 254, 253>,             // VMSAv9-128
                                  ignored_field<"IMPDEF", 271, 256>,    //
                                  field<"PARTID", 287, 272>,            //
                                  field<"S_S2T0SZ", 293, 288>,          // Secure streams
                                  field<"S_S2SL0", 295, 294>,           // Secure streams
                                  field<"S_S2TG", 303, 302>,            // Secure streams
                                  field<"MECID", 319, 304>,             //
                                  field<"PMG", 327, 320>,               //
                                  field<"MPAM_NS", 328>,                //
                                  field<"AssuredOnly", 329>,            //
                                  field<"TL0", 330>,                    //
                                  field<"TL1", 331>,                    //
                                  pointer_field<"VMSPtr", 375, 332>,    // address bits 55:12
                                  field<"S2SW", 384>,                   // Secure streams
                                  field<"S2SA", 385>,                   // Secure streams
                                  field<"S_S2SL0_2", 386>,              // Secure streams
                                  pointer_field<"S_S2TTB", 439, 388>,   // Secure streams
                                  field<"S_S2SKL", 446, 445>,           // Secure streams
                                  field<"S2POI", 511, 448>              // permission overlays, 16 of 4 bits
                                  > {
    using entry::entry;

    /// Requests are aborted without an event.
    [[nodiscard]] static constexpr stream_table_entry make_abort() {
        stream_table_entry e;
        e.set<"V">(1);
        return e;
    }
    /// Requests pass untranslated, with the memory attributes that they come with.
    [[nodiscard]] static constexpr stream_table_entry make_bypass() {
        stream_table_entry e = make_abort();
        e.set<"Config">(static_cast<std::uint64_t>(stream_configuration::bypass));
        e.set<"SHCFG">(1);
        return e;
    }
    /// Stage 1 with one context descriptor or a table of them. Descriptors are fetched as cacheable, inner shareable memory.
    /// \param contexts the context descriptor or its table, aligned to 64 bytes and to its size.
    /// \param substream_bits 2^this descriptors; 0: one, and no substreams.
    /// \param format how they are found.
    /// \param vmid the VMID that tags the translations.
    [[nodiscard]] static constexpr stream_table_entry make_stage1(std::uint64_t contexts, std::uint64_t substream_bits = 0,
                                                                  context_format format = context_format::linear,
                                                                  std::uint16_t vmid = 0) {
        stream_table_entry e = make_bypass();
        e.set<"Config">(static_cast<std::uint64_t>(stream_configuration::stage1));
        e.set<"S1ContextPtr">(contexts);
        e.set<"S1CDMax">(substream_bits);
        e.set<"S1Fmt">(static_cast<std::uint64_t>(format));
        e.set<"S1DSS">(static_cast<std::uint64_t>(default_substream::zero));
        e.set<"S1CIR">(1);
        e.set<"S1COR">(1);
        e.set<"S1CSH">(3);
        e.set<"S2VMID">(vmid);
        return e;
    }

    /// What it does with requests; every Config below 4 is `abort`.
    [[nodiscard]] constexpr stream_configuration configuration() const {
        std::uint64_t const c = get<"Config">();
        return c < 4 ? stream_configuration::abort : static_cast<stream_configuration>(c);
    }
    /// Whether stage 1 is on.
    [[nodiscard]] constexpr bool has_stage1() const { return (get<"Config">() & 5) == 5; }
    /// Whether stage 2 is on.
    [[nodiscard]] constexpr bool has_stage2() const { return (get<"Config">() & 6) == 6; }
    /// S1Fmt as an enumerator.
    [[nodiscard]] constexpr context_format format() const {
        return get<"S1Fmt">() == 3 ? context_format::linear : static_cast<context_format>(get<"S1Fmt">());
    }
    /// S1DSS as an enumerator.
    [[nodiscard]] constexpr default_substream without_substream() const {
        return get<"S1DSS">() == 3 ? default_substream::terminate : static_cast<default_substream>(get<"S1DSS">());
    }
    /// The granule of the stage-2 tables.
    [[nodiscard]] constexpr granule stage2_granule() const { return granule_from_tg0(get<"S2TG">()); }
    /// The stage-2 table as the field holds it.
    [[nodiscard]] constexpr std::uint64_t stage2_table() const { return get<"S2TTB">(); }
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
