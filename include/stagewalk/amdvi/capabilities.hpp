/// \file
/// What an AMD IOMMU can do: its extended feature registers and its PCI capability (48882 3.4.9 and 3.2).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Extended Feature Register EFR, offset 0030h (48882 3.4.9).
struct extended_feature_register : entry<64, field<"PreFSup", 0>,          // PREFETCH_IOMMU_PAGES
                                         field<"PPRSup", 1>,               // page requests
                                         field<"XTSup", 2>,                // interrupt destinations of 32 bits
                                         field<"NXSup", 3>,                // bit 63 of guest entries is NX
                                         field<"GTSup", 4>,                // guest translation
                                         field<"GAPPISup", 5>,             //
                                         field<"IASup", 6>,                // INVALIDATE_IOMMU_ALL
                                         field<"GASup", 7>,                // interrupt entries of 128 bits
                                         field<"HESup", 8>,                //
                                         field<"PCSup", 9>,                //
                                         field<"HATS", 11, 10>,            // host levels less 4; 3: no host translation
                                         field<"GATS", 13, 12>,            // guest levels less 4
                                         field<"GLXSup", 15, 14>,          // GCR3 levels less 1
                                         field<"SmiFSup", 17, 16>,         //
                                         field<"SmiFRC", 20, 18>,          //
                                         field<"GAMSup", 23, 21>,          // 1: guest mode of interrupt entries
                                         field<"DualPprLogSup", 25, 24>,   //
                                         field<"DualEventLogSup", 29, 28>, //
                                         field<"SATSSup", 31>,             // secure ATS
                                         field<"PASmax", 36, 32>,          // PASID width less 1
                                         field<"USSup", 37>,               // requests tell supervisor from user
                                         field<"DevTblSegSup", 39, 38>,    // lg2 of the most device table segments
                                         field<"PprOvrflwEarlySup", 40>,   //
                                         field<"PprAutoRspSup", 41>,       //
                                         field<"MarcSup", 43, 42>,         //
                                         field<"BlkStopMrkSup", 44>,       //
                                         field<"PerfOptSup", 45>,          //
                                         field<"MsiCapMmioSup", 46>,       //
                                         field<"SnoopAttrSup", 47>,        // DTE.SnoopAttr
                                         field<"GIoSup", 48>,              // DTE.GIoV
                                         field<"HASup", 49>,               // host accessed bits
                                         field<"EPHSup", 50>,              // DTE.GPRP
                                         field<"AttrFWSup", 51>,           // DTE.AttrV and Mode0FC
                                         field<"HDSup", 52>,               // host dirty bits
                                         field<"V2HDDisSup", 53>,          // Control.GDUpdateDis
                                         field<"InvIotlbTypeSup", 54>,     // Type of INVALIDATE_IOTLB_PAGES
                                         field<"vIommuSup", 55>,           //
                                         field<"VMGuardIOSup", 56>,        //
                                         field<"V2HADisSup", 61>,          // Control.GAUpdateDis
                                         field<"ForcePhyDestSup", 62>,     //
                                         field<"SNPSup", 63>               // reverse map table; no exclusion range
                                         > {
    using entry::entry;
};

/// Extended Feature 2 Register EFR2, offset 01A0h (48882 3.4.9).
struct extended_feature_register_2 : entry<64, field<"CXLIoSup", 0>,      // DTE.CXL memory attribute
                                           field<"SevSnpIoSup", 1>,       //
                                           field<"TMPMSup", 2>,           //
                                           field<"GCR3TRPModeSup", 3>,    // Control.GCR3TRPMode
                                           field<"GAPPIDisSup", 4>,       //
                                           field<"SNPAVICSup", 7, 5>,     //
                                           field<"NumIntRemapSup", 9, 8>, // 1: interrupt tables of 2048 entries
                                           field<"HTRangeIgnore", 11>     // the HyperTransport range is ordinary memory
                                           > {
    using entry::entry;
};

/// The first dword of the IOMMU's PCI capability block (48882 3.2.1). 32 bits.
struct capability_header : entry<64, field<"CapId", 7, 0>, // 0Fh
                                 field<"CapPtr", 15, 8>,   // the next capability
                                 field<"CapType", 18, 16>, // 3
                                 field<"CapRev", 23, 19>,  //
                                 field<"IotlbSup", 24>,    // devices may have IOTLBs: DTE.I
                                 field<"HtTunnel", 25>,    //
                                 field<"NpCache", 26>,     // entries that are not present may be cached
                                 field<"EFRSup", 27>,      //
                                 field<"CapExt", 28>       //
                                 > {
    using entry::entry;
};

/// What is wrong with registers that no IOMMU can have.
enum class capability_error : std::uint8_t {
    none,                ///< Nothing.
    gcr3_levels,         ///< GLXSup = 3.
    pasid_size,          ///< PASmax above 19.
    interrupt_table_size ///< NumIntRemapSup above 1.
};

/// An IOMMU's capabilities, from the raw registers. Every behaviour that a register gates asks here.
///
/// The reverse map table of SNP, MARC apertures, hardware vIOMMU and secure ATS are not implemented (docs/coverage.md).
struct capabilities {
    extended_feature_register efr{};    ///< EFR.
    extended_feature_register_2 efr2{}; ///< EFR2.
    capability_header header{};         ///< The PCI capability's header.

    /// Host tables of up to four levels, and nothing else.
    constexpr capabilities() = default;

    /// \param extended_features EFR.
    /// \param extended_features_2 EFR2.
    /// \param pci_header the first dword of the PCI capability; what is not known is best taken as devices with IOTLBs.
    constexpr explicit capabilities(std::uint64_t extended_features, std::uint64_t extended_features_2 = 0,
                                    std::uint32_t pci_header = iotlbs)
        : efr{extended_features}, efr2{extended_features_2}, header{pci_header} {}

    /// A capability header that says IotlbSup and nothing else.
    static constexpr std::uint32_t iotlbs = capability_header::mask<"IotlbSup">();

    /// Whether field \p Name of EFR, EFR2 or the capability header is other than 0.
    template <field_name Name>
    [[nodiscard]] constexpr bool has() const {
        if constexpr (extended_feature_register::has<Name>())
            return efr.get<Name>() != 0;
        else if constexpr (extended_feature_register_2::has<Name>())
            return efr2.get<Name>() != 0;
        else
            return header.get<Name>() != 0;
    }

    /// The deepest host tables: 4, 5 or 6 levels; 0 where there is no host translation.
    [[nodiscard]] constexpr std::uint64_t host_levels() const {
        std::uint64_t const hats = efr.get<"HATS">();
        return hats == 3 ? 0 : hats + 4;
    }
    /// Whether guest tables may have 5 levels. A GATS above 1 is reserved, but QEMU shows 2: it counts as 1.
    [[nodiscard]] constexpr bool five_guest_levels() const { return efr.get<"GATS">() != 0; }
    /// The width of a PASID in bits.
    [[nodiscard]] constexpr std::uint64_t pasid_size() const { return efr.get<"PASmax">() + 1; }
    /// Whether host accessed and dirty bits can both be kept.
    [[nodiscard]] constexpr bool keeps_host_dirty() const { return has<"HASup">() && has<"HDSup">(); }

    /// What no IOMMU can have, or `none`. Call it before the registers of a stranger are used.
    [[nodiscard]] constexpr capability_error contradiction() const {
        if (has<"GTSup">() && efr.get<"GLXSup">() == 3) return capability_error::gcr3_levels;
        if (efr.get<"PASmax">() > 19) return capability_error::pasid_size;
        if (efr2.get<"NumIntRemapSup">() > 1) return capability_error::interrupt_table_size;
        return capability_error::none;
    }

    /// Capabilities are equal bit for bit.
    friend constexpr bool operator==(capabilities const&, capabilities const&) = default;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
