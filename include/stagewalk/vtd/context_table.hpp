/// \file
/// The context table of legacy mode: one entry a function (VT-d 9.3).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// How a device's requests are translated, context entry TT (VT-d 9.3).
enum class translation_type : std::uint8_t {
    untranslated_only = 0, ///< Second-stage walk; translation and translated requests are blocked.
    device_tlb = 1,        ///< Second-stage walk; the device may keep translations (needs ECAP.DT).
    pass_through = 2,      ///< Output = input (needs ECAP.PT).
    reserved = 3,          ///< Not to be used.
};

/// Context entry, legacy mode (VT-d 9.3): `context = CTP + devfn * 16`.
struct context_entry : entry<128,                              // bits
                             field<"P", 0>,                    // present
                             field<"FPD", 1>,                  // fault processing disable; counts even if P = 0
                             field<"TT", 3, 2>,                // translation type, see translation_type
                             pointer_field<"SSPTPTR", 63, 12>, // the root of the page tables, 4 KiB; bits 63:HAW are reserved
                             field<"AW", 66, 64>,              // depth of the page tables, less 2
                             ignored_field<"IGN", 70, 67>,     // for software
                             field<"DID", 87, 72>              // domain id; bits beyond its width (ND) are reserved
                             > {
    using entry::entry;

    /// A present entry.
    /// \param type how requests are translated.
    /// \param table the root of the second-stage tables, 4 KiB aligned; ignored by hardware in pass-through.
    /// \param levels the depth of the tables, 3 to 5; in pass-through the deepest that the unit supports.
    /// \param domain the domain id, as wide as the unit has it (at most 16 bits).
    [[nodiscard]] static constexpr context_entry make(translation_type type, std::uint64_t table, std::uint64_t levels,
                                                      std::uint16_t domain) {
        context_entry e;
        e.set<"SSPTPTR">(table);
        e.set<"AW">(levels - 2);
        e.set<"DID">(domain);
        e.set<"TT">(static_cast<std::uint64_t>(type));
        e.set<"P">(1);
        return e;
    }

    /// The depth of the tables that AW stands for: AW + 2.
    [[nodiscard]] constexpr std::uint64_t levels() const { return get<"AW">() + 2; }
    /// TT as an enumerator.
    [[nodiscard]] constexpr translation_type type() const { return static_cast<translation_type>(get<"TT">()); }
};

/// Context entry, scalable mode (VT-d 9.4): `context = xCTP + (devfn & 127) * 32`.
struct scalable_context_entry : entry<256, field<"P", 0>,   // present
                                      field<"FPD", 1>,      // faults of this path are not recorded; counts even if P = 0
                                      field<"DTE", 2>,      // device-TLB enable; reserved without DT
                                      field<"PASIDE", 3>,   // requests with PASID are allowed; reserved without PASID
                                      field<"PRE", 4>,      // page requests are allowed; reserved without PRS
                                      field<"HPTE", 5>,     // host permission tables; reserved without HPTS
                                      field<"EPTR", 6>,     // PASID on translated requests; reserved without PTRS
                                      field<"PDTS", 11, 9>, // the PASID directory has 2^(PDTS + 7) entries
                                      pointer_field<"PASIDDIRPTR", 63, 12>, // the PASID directory
                                      field<"RID_PASID", 83, 64>, // the PASID of requests without PASID; reserved without RPS
                                      field<"RID_PRIV", 84>       // their privilege; reserved without RPRIVS
                                      > {
    using entry::entry;

    /// A present entry without device-TLB.
    /// \param directory the PASID directory, 4 KiB aligned.
    /// \param pdts the directory's size: 2^(pdts + 7) entries.
    [[nodiscard]] static constexpr scalable_context_entry make(std::uint64_t directory, std::uint64_t pdts) {
        scalable_context_entry e;
        e.set<"PASIDDIRPTR">(directory);
        e.set<"PDTS">(pdts);
        e.set<"P">(1);
        return e;
    }

    /// The highest PASID that the directory covers: 2^(PDTS + 13) - 1.
    [[nodiscard]] constexpr std::uint64_t last_pasid() const { return low_mask(get<"PDTS">() + 13); }

    /// The reserved bits of word \p w in a unit with capabilities \p caps.
    [[nodiscard]] static constexpr std::uint64_t reserved_with(std::size_t w, capabilities const& caps) {
        std::uint64_t bad = reserved(w);
        auto const without = [&](bool has, std::uint64_t mask) { bad |= has ? 0 : mask; };
        if (w == 0) {
            bad |= caps.beyond_host() & mask<"PASIDDIRPTR">();
            without(caps.has<"DT">(), mask<"DTE">());
            without(caps.has<"PASID">(), mask<"PASIDE">());
            without(caps.has<"PRS">(), mask<"PRE">());
            without(caps.has<"HPTS">(), mask<"HPTE">());
            without(caps.has<"PTRS">(), mask<"EPTR">());
        } else if (w == 1) {
            without(caps.has<"RPS">(), mask<"RID_PASID">());
            without(caps.has<"RPRIVS">(), mask<"RID_PRIV">());
        }
        return bad;
    }
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
