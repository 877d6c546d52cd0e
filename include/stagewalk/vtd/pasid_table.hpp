/// \file
/// PASID directory and PASID table (VT-d 9.5 and 9.6): what one address space of a device is translated by.
#pragma once

#include "../core/field.hpp"
#include "capabilities.hpp"
#include "policy.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// PASID directory entry (VT-d 9.5): `directory + PASID[19:6] * 8`, one for 64 PASIDs.
struct pasid_directory_entry : entry<64, field<"P", 0>, // present
                                     field<"FPD", 1>,   // faults of this path are not recorded; counts even if P = 0
                                     pointer_field<"SMPTBLPTR", 63, 12> // the PASID table of 64 entries
                                     > {
    using entry::entry;

    /// A present entry for the PASID table at \p table, 4 KiB aligned.
    [[nodiscard]] static constexpr pasid_directory_entry make(std::uint64_t table) {
        pasid_directory_entry e;
        e.set<"SMPTBLPTR">(table);
        e.set<"P">(1);
        return e;
    }
};

/// PASID granular translation type, PGTT (VT-d 9.6).
enum class pasid_translation : std::uint8_t {
    first_stage = 1,  ///< Through first-stage tables.
    second_stage = 2, ///< Through second-stage tables.
    nested = 3,       ///< Through first-stage tables that lie behind second-stage tables.
    pass_through = 4, ///< Output = input.
};

/// PASID table entry (VT-d 9.6): `table + PASID[5:0] * 64`.
struct pasid_table_entry
    : entry<512, field<"P", 0>,                 // present
            field<"FPD", 1>,                    // faults of this path are not recorded; counts even if P = 0
            field<"AW", 4, 2>,                  // depth of the second-stage tables: AW + 2
            field<"PGTT", 8, 6>,                // what kind of translation
            field<"SSADE", 9>,                  // second-stage A/D bits are set
            pointer_field<"SSPTPTR", 63, 12>,   // root of the second-stage tables
            field<"DID", 79, 64>,               // domain id
            field<"PWSNP", 87>,                 // table walks snoop; reserved without SMPWCS
            field<"PGSNP", 88>,                 // accesses are snooped; reserved without SC
            field<"CD", 89>,                    // cache disable; reserved without MTS
            field<"EMTE", 90>,                  // EMT and IPAT of second-stage leaves count; reserved without MTS
            field<"PAT", 127, 96>,              // eight memory types of 4 bits; reserved without MTS
            field<"SRE", 128>,                  // privileged requests are allowed; reserved without SRS
            field<"FSPM", 131, 130>,            // depth of the first-stage tables: 0 = 4 levels, 1 = 5
            field<"WPE", 132>,                  // R/W binds privileged requests too
            ignored_field<"IGN", 134, 133>,     // never checked
            field<"EAFE", 135>,                 // first-stage EA bits are set; reserved without EAFS
            pointer_field<"FSPTPTR", 191, 140>, // root of the first-stage tables; a guest's address if nested
            field<"HPTSZ", 257, 256>,           // host permission tables; all reserved without HPTS
            field<"HPTPFD", 258>,               //
            pointer_field<"HPTPTR", 319, 268>,  //
            field<"HPTDID", 335, 320>           //
            > {
    using entry::entry;

    /// PGTT as an enumerator; values that the manual reserves are no enumerator.
    [[nodiscard]] constexpr pasid_translation kind() const { return static_cast<pasid_translation>(get<"PGTT">()); }
    /// Whether second-stage tables are used.
    [[nodiscard]] constexpr bool uses_second_stage() const {
        return kind() == pasid_translation::second_stage || kind() == pasid_translation::nested;
    }
    /// Whether first-stage tables are used.
    [[nodiscard]] constexpr bool uses_first_stage() const {
        return kind() == pasid_translation::first_stage || kind() == pasid_translation::nested;
    }
    /// The depth of the second-stage tables.
    [[nodiscard]] constexpr std::uint64_t second_stage_levels() const { return get<"AW">() + 2; }
    /// The depth of the first-stage tables.
    [[nodiscard]] constexpr std::uint64_t first_stage_levels() const { return get<"FSPM">() + 4; }

    /// An entry that is present and passes through.
    /// \param domain the domain id, 16 bits.
    [[nodiscard]] static constexpr pasid_table_entry make_pass_through(std::uint16_t domain) {
        pasid_table_entry e;
        e.set<"DID">(domain);
        e.set<"PGTT">(static_cast<std::uint64_t>(pasid_translation::pass_through));
        e.set<"P">(1);
        return e;
    }
    /// An entry that is present and uses second-stage tables.
    /// \param table the root, 4 KiB aligned.
    /// \param levels the depth, 3 to 5.
    /// \param domain the domain id, 16 bits.
    [[nodiscard]] static constexpr pasid_table_entry make_second_stage(std::uint64_t table, std::uint64_t levels,
                                                                       std::uint16_t domain) {
        pasid_table_entry e = make_pass_through(domain);
        e.set<"SSPTPTR">(table);
        e.set<"AW">(levels - 2);
        e.set<"PGTT">(static_cast<std::uint64_t>(pasid_translation::second_stage));
        return e;
    }
    /// An entry that is present and uses first-stage tables.
    /// \param table the root, 4 KiB aligned.
    /// \param levels the depth, 4 or 5.
    /// \param domain the domain id, 16 bits.
    [[nodiscard]] static constexpr pasid_table_entry make_first_stage(std::uint64_t table, std::uint64_t levels,
                                                                      std::uint16_t domain) {
        pasid_table_entry e = make_pass_through(domain);
        e.set<"FSPTPTR">(table);
        e.set<"FSPM">(levels - 4);
        e.set<"PGTT">(static_cast<std::uint64_t>(pasid_translation::first_stage));
        return e;
    }
    /// An entry that is present and nests first-stage tables over second-stage tables.
    /// \param first the first-stage root, a guest's address, 4 KiB aligned.
    /// \param first_levels its depth, 4 or 5.
    /// \param second the second-stage root, 4 KiB aligned.
    /// \param second_levels its depth, 3 to 5.
    /// \param domain the domain id, 16 bits.
    [[nodiscard]] static constexpr pasid_table_entry make_nested(std::uint64_t first, std::uint64_t first_levels,
                                                                 std::uint64_t second, std::uint64_t second_levels,
                                                                 std::uint16_t domain) {
        pasid_table_entry e = make_second_stage(second, second_levels, domain);
        e.set<"FSPTPTR">(first);
        e.set<"FSPM">(first_levels - 4);
        e.set<"PGTT">(static_cast<std::uint64_t>(pasid_translation::nested));
        return e;
    }

    /// The reserved bits of word \p w of an entry like this one, in a unit with capabilities \p caps. "Reserved without
    /// a capability" holds whatever PGTT is; the manual's "ignored" fields are never checked.
    [[nodiscard]] constexpr std::uint64_t reserved_with(std::size_t w, capabilities const& caps,
                                                        unused_pasid_fields unused) const {
        std::uint64_t bad = reserved(w);
        auto const without = [&](bool has, std::uint64_t mask) { bad |= has ? 0 : mask; };
        // A reserved PGTT ignores nothing.
        bool const through = kind() == pasid_translation::pass_through;
        bool const first = !through && kind() != pasid_translation::second_stage;
        bool const second = !through && kind() != pasid_translation::first_stage;
        bool const lenient = unused == unused_pasid_fields::ignore && !second;
        if (w == 0) {
            std::uint64_t const stage = mask<"AW">() | mask<"SSADE">() | mask<"SSPTPTR">();
            if (!lenient) {
                without(caps.has<"SSTS">(), stage);
                without(caps.has<"SSADS">(), mask<"SSADE">());
            }
            if (second) bad |= caps.beyond_host() & mask<"SSPTPTR">();
        } else if (w == 1) {
            bad |= mask<"DID">() & ~low_mask(caps.domain_id_width());
            without(caps.has<"SMPWCS">(), mask<"PWSNP">());
            without(caps.has<"SC">(), mask<"PGSNP">());
            without(caps.has<"MTS">(), mask<"CD">() | mask<"EMTE">() | mask<"PAT">());
        } else if (w == 2) {
            without(caps.has<"SRS">(), mask<"SRE">());
            without(caps.has<"FSTS">(), mask<"FSPM">() | mask<"WPE">() | mask<"FSPTPTR">());
            without(caps.has<"EAFS">(), mask<"EAFE">());
            if (first) bad |= caps.beyond_host() & mask<"FSPTPTR">();
        } else if (w == 4) {
            without(caps.has<"HPTS">(), mask<"HPTSZ">() | mask<"HPTPFD">() | mask<"HPTPTR">());
        } else if (w == 5) {
            without(caps.has<"HPTS">(), mask<"HPTDID">());
        }
        return bad;
    }
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
