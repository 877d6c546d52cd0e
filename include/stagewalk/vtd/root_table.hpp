/// \file
/// The root table of legacy mode: one entry a bus (VT-d 9.1), and the register that points to it (VT-d 11.4.5).
#pragma once

#include "../core/field.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// RTADDR_REG, offset 020h (VT-d 11.4.5). A unit uses the value that GCMD.SRTP latched.
struct root_table_address : entry<64,                           // bits
                                  pointer_field<"RTA", 63, 12>, // the root table, 4 KiB
                                  field<"TTM", 11, 10>,         // table mode, see table_mode
                                  field<"SSIRWE", 7>            // second-stage rights in bits 61 and 62; not in legacy mode
                                  > {
    using entry::entry;
};

/// Translation table mode, RTADDR_REG.TTM.
enum class table_mode : std::uint8_t {
    legacy = 0,   ///< Root and context tables of 128-bit entries.
    scalable = 1, ///< Context entries of 256 bits, PASID tables.
    reserved = 2, ///< Extended mode of old revisions.
    abort = 3,    ///< Every request is aborted.
};

/// Root entry, legacy mode (VT-d 9.1): `root = RTA + bus * 16`.
struct root_entry : entry<128,                         // bits
                          field<"P", 0>,               // present
                          pointer_field<"CTP", 63, 12> // the context table of the bus, 4 KiB; bits 63:HAW are reserved
                          > {
    using entry::entry;

    /// A present entry for the context table at \p context_table, a 4 KiB aligned physical address.
    [[nodiscard]] static constexpr root_entry make(std::uint64_t context_table) {
        root_entry e;
        e.set<"CTP">(context_table);
        e.set<"P">(1);
        return e;
    }
};

/// Root entry, scalable mode (VT-d 9.2): `root = RTA + bus * 16`, one half for devices 0 to 15, one for 16 to 31.
struct scalable_root_entry : entry<128, field<"LP", 0>,           // the lower half is present
                                   pointer_field<"LCTP", 63, 12>, // context table of devices 0 to 15
                                   field<"UP", 64>,               // the upper half is present
                                   pointer_field<"UCTP", 127, 76> // context table of devices 16 to 31
                                   > {
    using entry::entry;

    /// A present entry for two context tables, 4 KiB aligned physical addresses.
    [[nodiscard]] static constexpr scalable_root_entry make(std::uint64_t lower, std::uint64_t upper) {
        scalable_root_entry e;
        e.set<"LCTP">(lower);
        e.set<"UCTP">(upper);
        e.set<"LP">(1);
        e.set<"UP">(1);
        return e;
    }
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
