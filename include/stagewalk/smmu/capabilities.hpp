/// \file
/// What an SMMU can do: its identification registers (IHI 0070 6.3.1 to 6.3.6 and 6.3.8).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "granule.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// SMMU_IDR0, offset 000h (IHI 0070 6.3.1). 32 bits.
struct identification_register_0 : entry<64, field<"S2P", 0>,          // stage 2
                                         field<"S1P", 1>,              // stage 1
                                         field<"TTF", 3, 2>,           // table formats: bit 0 VMSAv8-32 LPAE, bit 1 VMSAv8-64
                                         field<"COHACC", 4>,           // walks are coherent
                                         field<"BTM", 5>,              // listens to the processors' TLB invalidations
                                         field<"HTTU", 7, 6>,          // updates: 0 none, 1 AF, 2 and dirty, 3 and AF of tables
                                         field<"DORMHINT", 8>,         //
                                         field<"HYP", 9>,              // the EL2 stream world exists
                                         field<"ATS", 10>,             //
                                         field<"NS1ATS", 11>,          // split-stage ATS does not exist
                                         field<"ASID16", 12>,          // ASIDs of 16 bits, else 8
                                         field<"MSI", 13>,             //
                                         field<"SEV", 14>,             //
                                         field<"ATOS", 15>,            //
                                         field<"PRI", 16>,             //
                                         field<"VMW", 17>,             // VMID wildcards
                                         field<"VMID16", 18>,          // VMIDs of 16 bits, else 8
                                         field<"CD2L", 19>,            // context descriptor tables of two levels
                                         field<"VATOS", 20>,           //
                                         field<"TTENDIAN", 22, 21>,    // 0 both, 2 little, 3 big
                                         field<"ATSRECERR", 23>,       //
                                         field<"STALL_MODEL", 25, 24>, // 0 both, 1 terminate only, 2 stall always
                                         field<"TERM_MODEL", 26>,      // terminated means aborted: CD.A must be 1
                                         field<"ST_LEVEL", 28, 27>,    // stream tables of two levels
                                         field<"RME_IMPL", 30>         //
                                         > {
    using entry::entry;
};

/// SMMU_IDR1, offset 004h (IHI 0070 6.3.2). 32 bits.
struct identification_register_1 : entry<64, field<"SIDSIZE", 5, 0>,  // StreamID width in bits, 0 to 32
                                         field<"SSIDSIZE", 10, 6>,    // SubstreamID width in bits, 0 to 20
                                         field<"PRIQS", 15, 11>,      // lg2 of the most entries
                                         field<"EVENTQS", 20, 16>,    //
                                         field<"CMDQS", 25, 21>,      //
                                         field<"ATTR_PERMS_OVR", 26>, // INSTCFG and PRIVCFG work
                                         field<"ATTR_TYPES_OVR", 27>, // MTCFG, MemAttr, ALLOCCFG and SHCFG work
                                         field<"REL", 28>,            //
                                         field<"QUEUES_PRESET", 29>,  //
                                         field<"TABLES_PRESET", 30>,  //
                                         field<"ECMDQ", 31>           //
                                         > {
    using entry::entry;
};

/// SMMU_IDR3, offset 00Ch (IHI 0070 6.3.4). 32 bits.
struct identification_register_3 : entry<64, field<"HAD", 2>,   // hierarchical attributes can be disabled
                                         field<"PBHA", 3>,      // page-based hardware attributes
                                         field<"XNX", 4>,       // stage 2 tells execution by privilege
                                         field<"PPS", 5>,       //
                                         field<"MPAM", 7>,      //
                                         field<"FWB", 8>,       // stage 2 can force write-back
                                         field<"STT", 9>,       // small tables
                                         field<"RIL", 10>,      // invalidation by range
                                         field<"BBML", 12, 11>, // break-before-make level
                                         field<"E0PD", 13>,     // unprivileged access to a half can be refused
                                         field<"PTWNNC", 14>,   // walks through Device pages are made as Normal-NC
                                         field<"DPT", 15>,      // device permission table
                                         field<"PASIDTT", 16>,  //
                                         field<"EPAN", 17>,     // PAN can cover executable pages
                                         field<"S1PI", 18>,     // permission indirection
                                         field<"S2PI", 19>,     //
                                         field<"S2PO", 20>,     //
                                         field<"THE", 21>,      // translation hardening
                                         field<"MTEPERM", 22>,  //
                                         field<"AIE", 23>       // four bits of attribute index
                                         > {
    using entry::entry;
};

/// SMMU_IDR5, offset 014h (IHI 0070 6.3.6). 32 bits.
struct identification_register_5 : entry<64, field<"OAS", 2, 0>,    // output address size, see address_size()
                                         field<"GRAN4K", 4>,        //
                                         field<"GRAN16K", 5>,       //
                                         field<"GRAN64K", 6>,       //
                                         field<"DS", 7>,            // 52-bit addresses with 4 KiB and 16 KiB granules
                                         field<"D128", 8>,          // VMSAv9-128
                                         field<"VAX", 11, 10>,      // input: 0 48 bits a half, 1 52
                                         field<"STALL_MAX", 31, 16> //
                                         > {
    using entry::entry;
};

/// SMMU_AIDR, offset 01Ch (IHI 0070 6.3.8). 32 bits.
struct architecture_register : entry<64, field<"MINOR", 3, 0>, // SMMUv3.minor
                                     field<"MAJOR", 7, 4>      //
                                     > {
    using entry::entry;
};

/// What is wrong with identification registers that no SMMU can have.
enum class capability_error : std::uint8_t {
    none,             ///< Nothing.
    no_stage,         ///< Neither stage 1 nor stage 2.
    table_format,     ///< VMSAv8-64 is not supported: nothing here can be walked.
    no_granule,       ///< No granule at all.
    stream_size,      ///< SIDSIZE above 32.
    substream_size,   ///< SSIDSIZE above 20.
    stream_levels,    ///< SIDSIZE of 7 or more without two-level stream tables, or ST_LEVEL reserved.
    endianness,       ///< TTENDIAN = 1.
    stall_model,      ///< STALL_MODEL = 3.
    output_size,      ///< OAS = 52 without a format that reaches it, in SMMUv3.0, or a reserved OAS.
    small_descriptors ///< DS without VAX of 52 bits, or without a 4 KiB or 16 KiB granule.
};

/// An SMMU's capabilities, from the raw registers. Every behaviour that a register gates asks here.
///
/// VMSAv8-32 (LPAE), VMSAv9-128, the Secure and Realm states, device permission tables, permission indirection and MPAM are not
/// implemented: their bits are kept as they are read, and count as 0 (docs/coverage.md).
struct capabilities {
    identification_register_0 idr0{}; ///< SMMU_IDR0.
    identification_register_1 idr1{}; ///< SMMU_IDR1.
    identification_register_3 idr3{}; ///< SMMU_IDR3.
    identification_register_5 idr5{}; ///< SMMU_IDR5.
    architecture_register aidr{};     ///< SMMU_AIDR.

    /// Nothing is supported.
    constexpr capabilities() = default;

    /// \param idr0_register SMMU_IDR0.
    /// \param idr1_register SMMU_IDR1.
    /// \param idr3_register SMMU_IDR3.
    /// \param idr5_register SMMU_IDR5.
    /// \param aidr_register SMMU_AIDR.
    constexpr capabilities(std::uint32_t idr0_register, std::uint32_t idr1_register, std::uint32_t idr3_register,
                           std::uint32_t idr5_register, std::uint32_t aidr_register)
        : idr0{idr0_register}, idr1{idr1_register}, idr3{idr3_register}, idr5{idr5_register}, aidr{aidr_register} {}

    /// Whether field \p Name of IDR0, IDR1, IDR3 or IDR5 is other than 0.
    template <field_name Name>
    [[nodiscard]] constexpr bool has() const {
        if constexpr (identification_register_0::has<Name>())
            return idr0.get<Name>() != 0;
        else if constexpr (identification_register_1::has<Name>())
            return idr1.get<Name>() != 0;
        else if constexpr (identification_register_3::has<Name>())
            return idr3.get<Name>() != 0;
        else
            return idr5.get<Name>() != 0;
    }

    /// x of SMMUv3.x.
    [[nodiscard]] constexpr std::uint64_t minor_version() const { return aidr.get<"MINOR">(); }
    /// OAS in bits: physical addresses are below 2^OAS.
    [[nodiscard]] constexpr std::uint64_t output_size() const { return address_size(idr5.get<"OAS">()); }
    /// IAS in bits: intermediate addresses are below 2^IAS. With VMSAv8-32 it is at least 40.
    [[nodiscard]] constexpr std::uint64_t intermediate_size() const {
        bool const lpae = (idr0.get<"TTF">() & 1) != 0;
        return lpae && output_size() < 40 ? 40 : output_size();
    }
    /// Whether input addresses of stage 1 can have 52 bits.
    [[nodiscard]] constexpr bool wide_input() const { return idr5.get<"VAX">() != 0; }
    /// Whether granule \p g is implemented.
    [[nodiscard]] constexpr bool supports(granule g) const {
        switch (g) {
        case granule::k4: return has<"GRAN4K">();
        case granule::k16: return has<"GRAN16K">();
        case granule::k64: return has<"GRAN64K">();
        case granule::none: break;
        }
        return false;
    }
    /// Whether the access flag is updated by hardware where asked for.
    [[nodiscard]] constexpr bool updates_access() const { return idr0.get<"HTTU">() >= 1; }
    /// Whether the dirty state is.
    [[nodiscard]] constexpr bool updates_dirty() const { return idr0.get<"HTTU">() >= 2; }
    /// Whether the access flag of table descriptors is.
    [[nodiscard]] constexpr bool updates_tables() const { return idr0.get<"HTTU">() == 3; }
    /// The widest SubstreamID in bits; 0: there are none.
    [[nodiscard]] constexpr std::uint64_t substream_size() const { return idr1.get<"SSIDSIZE">(); }

    /// What no SMMU can have, or `none`. Call it before the registers of a stranger are used.
    [[nodiscard]] constexpr capability_error contradiction() const {
        if (!has<"S1P">() && !has<"S2P">()) return capability_error::no_stage;
        if ((idr0.get<"TTF">() & 2) == 0) return capability_error::table_format;
        if (!has<"GRAN4K">() && !has<"GRAN16K">() && !has<"GRAN64K">()) return capability_error::no_granule;
        if (idr1.get<"SIDSIZE">() > 32) return capability_error::stream_size;
        if (idr1.get<"SSIDSIZE">() > 20) return capability_error::substream_size;
        if (idr0.get<"ST_LEVEL">() > 1 || (idr1.get<"SIDSIZE">() >= 7 && idr0.get<"ST_LEVEL">() == 0))
            return capability_error::stream_levels;
        if (idr0.get<"TTENDIAN">() == 1) return capability_error::endianness;
        if (idr0.get<"STALL_MODEL">() == 3) return capability_error::stall_model;
        if (idr5.get<"OAS">() == 7 || (idr5.get<"OAS">() == 6 && (minor_version() == 0 || !(has<"GRAN64K">() || has<"DS">()))))
            return capability_error::output_size;
        if (has<"DS">() && (!wide_input() || !(has<"GRAN4K">() || has<"GRAN16K">()))) return capability_error::small_descriptors;
        return capability_error::none;
    }

    /// Capabilities are equal bit for bit.
    friend constexpr bool operator==(capabilities const&, capabilities const&) = default;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
