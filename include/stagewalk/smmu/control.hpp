/// \file
/// How an SMMU is switched on and where its stream table lies (IHI 0070 6.3.9 to 6.3.26).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// SMMU_CR0, offset 020h (IHI 0070 6.3.9). 32 bits.
struct control_register_0 : entry<64, field<"SMMUEN", 0>,  // translation is on
                                  field<"PRIQEN", 1>,      //
                                  field<"EVENTQEN", 2>,    //
                                  field<"CMDQEN", 3>,      //
                                  field<"ATSCHK", 4>,      // translated requests are checked
                                  field<"VMW", 8, 6>,      // VMID bits that an invalidation ignores
                                  field<"DPT_WALK_EN", 10> //
                                  > {
    using entry::entry;
};

/// SMMU_CR2, offset 02Ch (IHI 0070 6.3.12). 32 bits.
struct control_register_2 : entry<64, field<"E2H", 0>,    // the EL2 stream world has two halves and ASIDs
                                  field<"RECINVSID", 1>,  // C_BAD_STREAMID is recorded
                                  field<"PTM", 2>,        // no part in the processors' TLB invalidations
                                  field<"REC_CFG_ATS", 3> //
                                  > {
    using entry::entry;
};

/// SMMU_GBPA, offset 044h: what happens to requests while the SMMU is off (IHI 0070 6.3.14). 32 bits.
struct global_bypass_register : entry<64, field<"MemAttr", 3, 0>, // memory type, if MTCFG
                                      field<"MTCFG", 4>,          //
                                      field<"ALLOCCFG", 11, 8>,   //
                                      field<"SHCFG", 13, 12>,     // 1 incoming, 0 NSH, 2 OSH, 3 ISH
                                      field<"PRIVCFG", 17, 16>,   //
                                      field<"INSTCFG", 19, 18>,   //
                                      field<"ABORT", 20>,         // requests are aborted
                                      field<"Update", 31>         //
                                      > {
    using entry::entry;
};

/// SMMU_STRTAB_BASE, offset 080h (IHI 0070 6.3.23).
struct stream_table_base_register : entry<64, pointer_field<"ADDR", 55, 6>, // the stream table
                                          field<"RA", 62>                   // read-allocate hint
                                          > {
    using entry::entry;
};

/// SMMU_STRTAB_BASE_CFG, offset 088h (IHI 0070 6.3.24). 32 bits.
struct stream_table_configuration_register : entry<64, field<"LOG2SIZE", 5, 0>, // StreamID bits
                                                   field<"SPLIT", 10, 6>, // two levels: StreamID bits of the second: 6, 8, 10
                                                   field<"FMT", 17, 16>   // 0 linear, 1 two levels
                                                   > {
    using entry::entry;
};

/// The registers that software sets, as they read.
struct control {
    control_register_0 cr0{};                            ///< SMMU_CR0, or better CR0ACK.
    control_register_2 cr2{};                            ///< SMMU_CR2.
    global_bypass_register gbpa{};                       ///< SMMU_GBPA.
    stream_table_base_register base{};                   ///< SMMU_STRTAB_BASE.
    stream_table_configuration_register configuration{}; ///< SMMU_STRTAB_BASE_CFG.

    /// All off.
    constexpr control() = default;

    /// An SMMU that is on, with its stream table.
    /// \param strtab_base SMMU_STRTAB_BASE.
    /// \param strtab_base_cfg SMMU_STRTAB_BASE_CFG.
    /// \param cr0_register SMMU_CR0.
    /// \param cr2_register SMMU_CR2.
    /// \param gbpa_register SMMU_GBPA.
    constexpr control(std::uint64_t strtab_base, std::uint32_t strtab_base_cfg, std::uint32_t cr0_register = 1,
                      std::uint32_t cr2_register = 0, std::uint32_t gbpa_register = 0)
        : cr0{cr0_register}, cr2{cr2_register}, gbpa{gbpa_register}, base{strtab_base}, configuration{strtab_base_cfg} {}

    /// Whether the stream table has two levels in an SMMU with \p caps.
    [[nodiscard]] constexpr bool two_levels(capabilities const& caps) const {
        return configuration.get<"FMT">() == 1 && caps.has<"ST_LEVEL">();
    }
    /// The StreamID bits of the second level: 6, 8 or 10; other encodings count as 6.
    [[nodiscard]] constexpr std::uint64_t split() const {
        std::uint64_t const bits = configuration.get<"SPLIT">();
        return bits == 8 || bits == 10 ? bits : 6;
    }
    /// The StreamID bits that the table covers: min(LOG2SIZE, SIDSIZE).
    [[nodiscard]] constexpr std::uint64_t stream_bits(capabilities const& caps) const {
        std::uint64_t const size = configuration.get<"LOG2SIZE">();
        std::uint64_t const most = caps.idr1.get<"SIDSIZE">();
        return size < most ? size : most;
    }
    /// The physical address of the table. Hardware takes the low bits as 0 that a table of the programmed size does not need.
    [[nodiscard]] constexpr std::uint64_t table(capabilities const& caps) const {
        std::uint64_t const size = configuration.get<"LOG2SIZE">();
        std::uint64_t lg2 = size + 6;
        if (two_levels(caps)) lg2 = size > split() + 3 ? size - split() + 3 : 6; // of 8 bytes each, 64 bytes at least
        return base.get<"ADDR">() & ~low_mask(lg2);
    }

    /// Registers are equal bit for bit.
    friend constexpr bool operator==(control const&, control const&) = default;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
