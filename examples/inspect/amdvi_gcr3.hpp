/// \file
/// Whose addresses the GCR3 tables of an AMD IOMMU are.
#pragma once

#include "amdvi_registers.hpp"

#include <stagewalk/amdvi/device_table.hpp>
#include <stagewalk/amdvi/policy.hpp>

#include <cstdint>

namespace inspect {

/// Whether the GCR3 table of \p level, 0 the last, of device table entry \p e lies behind its host tables.
[[nodiscard]] inline bool is_gcr3_behind(amdvi_registers const& registers, stagewalk::amdvi::policy const& rules,
                                         stagewalk::amdvi::device_table_entry const& e, std::uint64_t level) {
    if (!e.has_host_tables()) return false;
    bool const is_root = level == e.get<"GLX">();
    return registers.control.is_gcr3_root_guest(registers.caps) ||
           (!is_root && rules.pointers == stagewalk::amdvi::gcr3_pointers::guest);
}

} // namespace inspect
