/// \file
/// How an AMD IOMMU is switched on: its control, device table and exclusion registers (48882 3.4).
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Control Register, offset 0018h (48882 3.4.3).
struct control_register : entry<64, field<"IommuEn", 0>,          // translation is on
                                field<"HtTunEn", 1>,              //
                                field<"EventLogEn", 2>,           //
                                field<"EventIntEn", 3>,           //
                                field<"ComWaitIntEn", 4>,         //
                                field<"InvTimeOut", 7, 5>,        //
                                field<"PassPW", 8>,               //
                                field<"ResPassPW", 9>,            //
                                field<"Coherent", 10>,            // reads of tables are snooped
                                field<"Isoc", 11>,                //
                                field<"CmdBufEn", 12>,            //
                                field<"PPRLogEn", 13>,            //
                                field<"PPRIntEn", 14>,            //
                                field<"PPREn", 15>,               //
                                field<"GTEn", 16>,                // guest translation is on
                                field<"GAEn", 17>,                // interrupt entries of 128 bits
                                field<"SmiFEn", 22>,              //
                                field<"SlfWBDis", 23>,            //
                                field<"SmiFLogEn", 24>,           //
                                field<"GAMEn", 27, 25>,           //
                                field<"GALogEn", 28>,             //
                                field<"GAIntEn", 29>,             //
                                field<"DualPprLogEn", 31, 30>,    //
                                field<"DualEventLogEn", 33, 32>,  //
                                field<"DevTblSegEn", 36, 34>,     // lg2 of the device table segments
                                field<"PrivAbrtEn", 38, 37>,      //
                                field<"PprAutoRspEn", 39>,        //
                                field<"MarcEn", 40>,              //
                                field<"BlkStopMrkEn", 41>,        //
                                field<"PprAutoRspAon", 42>,       //
                                field<"NumIntRemapMode", 44, 43>, // 1: interrupt tables of 2048 entries
                                field<"EPHEn", 45>,               //
                                field<"HADUpdate", 47, 46>,       //
                                field<"GDUpdateDis", 48>,         // no dirty bits in guest tables
                                field<"XTEn", 50>,                // interrupt destinations of 32 bits
                                field<"IntCapXTEn", 51>,          //
                                field<"vCmdEn", 52>,              //
                                field<"vIommuEn", 53>,            //
                                field<"GAUpdateDis", 54>,         // no accessed bits in guest tables
                                field<"GAPPIEn", 55>,             //
                                field<"TMPMEn", 56>,              //
                                field<"GCR3TRPMode", 58>,         // the GCR3 root is a guest's address
                                field<"IRTCacheDis", 59>,         //
                                field<"GstBufferTRPMode", 60>,    //
                                field<"SNPAVICEn", 63, 61>        //
                                > {
    using entry::entry;
};

/// Device Table Base Address Register, offset 0000h, and those of the segments 1 to 7, 0100h to 0130h (48882 3.4.1, 3.4.13).
struct device_table_base_register : entry<64, field<"Size", 8, 0>,            // (Size + 1) * 4 KiB
                                          pointer_field<"DevTabBase", 51, 12> // the table
                                          > {
    using entry::entry;

    /// The number of entries.
    [[nodiscard]] constexpr std::uint64_t entries() const { return (get<"Size">() + 1) * 128; }
};

/// Exclusion Base Register, offset 0020h (48882 3.4.5).
struct exclusion_base_register : entry<64, field<"ExEn", 0>, // there is an exclusion range
                                       field<"Allow", 1>,    // for every device, not only those with DTE.EX
                                       pointer_field<"Exclusion range base", 51, 12> // the first page
                                       > {
    using entry::entry;
};

/// Exclusion Range Limit Register, offset 0028h (48882 3.4.6).
struct exclusion_limit_register : entry<64, pointer_field<"Exclusion range limit", 51, 12> // the last page
                                        > {
    using entry::entry;
};

/// The registers that software sets, as they read.
struct control {
    control_register main{};                    ///< Control Register.
    device_table_base_register table[8]{};      ///< The device table, or its segments.
    exclusion_base_register exclusion_base{};   ///< Exclusion Base Register.
    exclusion_limit_register exclusion_limit{}; ///< Exclusion Range Limit Register.

    /// All off.
    constexpr control() = default;

    /// An IOMMU with one device table.
    /// \param control_value Control Register.
    /// \param device_table_base Device Table Base Address Register.
    constexpr control(std::uint64_t control_value, std::uint64_t device_table_base)
        : main{control_value}, table{device_table_base_register{device_table_base}} {}

    /// lg2 of the number of device table segments: DevTblSegEn as far as \p caps has it; more than that counts as one segment.
    [[nodiscard]] constexpr std::uint64_t segment_bits(capabilities const& caps) const {
        std::uint64_t const wanted = main.get<"DevTblSegEn">();
        return wanted <= caps.efr.get<"DevTblSegSup">() ? wanted : 0;
    }
    /// Whether guest translation is on.
    [[nodiscard]] constexpr bool translates_guests(capabilities const& caps) const {
        return caps.has<"GTSup">() && main.get<"GTEn">() != 0;
    }
    /// Whether the GCR3 root of nested translation is a guest's address.
    [[nodiscard]] constexpr bool is_gcr3_root_guest(capabilities const& caps) const {
        return caps.has<"GCR3TRPModeSup">() && main.get<"GCR3TRPMode">() != 0;
    }
    /// Whether accessed bits of guest tables are set.
    [[nodiscard]] constexpr bool marks_guest_accessed(capabilities const& caps) const {
        return !(caps.has<"V2HADisSup">() && main.get<"GAUpdateDis">() != 0);
    }
    /// Whether dirty bits of guest tables are set.
    [[nodiscard]] constexpr bool marks_guest_dirty(capabilities const& caps) const {
        return !(caps.has<"V2HDDisSup">() && main.get<"GDUpdateDis">() != 0);
    }
    /// The addresses that are not translated for the devices that may use them; empty if there are none. A limit below the base
    /// excludes nothing.
    [[nodiscard]] constexpr range<iova> excluded(capabilities const& caps) const {
        std::uint64_t const first = exclusion_base.get<"Exclusion range base">();
        std::uint64_t const last = exclusion_limit.get<"Exclusion range limit">() | low_mask(12);
        if (exclusion_base.get<"ExEn">() == 0 || caps.has<"SNPSup">()) return {};
        return range<iova>::between(iova{first}, iova{last});
    }

    /// Registers are equal bit for bit.
    friend constexpr bool operator==(control const&, control const&) = default;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
