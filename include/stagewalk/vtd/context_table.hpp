/// \file
/// The context table of legacy mode: one entry a function (VT-d 9.3).
#pragma once

#include "../core/field.hpp"

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

} // namespace vtd
} // namespace v0
} // namespace stagewalk
