/// \file
/// GCR3 tables: from a PASID to its guest tables (48882 2.2.6.3).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Entry of a GCR3 table of any level: leads to the next GCR3 table, or to the guest root table.
struct gcr3_table_entry : entry<64, field<"V", 0>,               // valid
                                pointer_field<"Address", 51, 12> // the table
                                > {
    using entry::entry;

    /// The table that it leads to.
    [[nodiscard]] constexpr std::uint64_t table() const { return get<"Address">(); }

    /// A valid entry that leads to the table at \p table.
    [[nodiscard]] static constexpr gcr3_table_entry make(std::uint64_t table) {
        gcr3_table_entry e;
        e.set<"V">(1);
        e.set<"Address">(table);
        return e;
    }
};

/// The index of \p pasid in a GCR3 table of \p level, 0 the last.
[[nodiscard]] constexpr std::uint64_t gcr3_index(std::uint64_t level, std::uint64_t pasid) { return pasid >> 9 * level & 511; }

/// Whether GCR3 tables with DTE.GLX = \p glx, of an IOMMU with \p caps, have an entry for \p pasid.
[[nodiscard]] constexpr bool gcr3_covers(std::uint64_t glx, std::uint64_t pasid, capabilities const& caps) {
    return (pasid & ~low_mask(9 * (glx + 1))) == 0 && (pasid & ~low_mask(caps.pasid_size())) == 0;
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
