/// \file
/// The registers of a VT-d unit, as far as they steer translation.
#pragma once

#include "capture.hpp"

#include <stagewalk/stagewalk.hpp>

namespace inspect {

/// What the registers say.
struct vtd_registers {
    stagewalk::vtd::capabilities caps;
    stagewalk::vtd::root_table_address root;
    bool enabled{};

    /// The mode of the tables.
    [[nodiscard]] stagewalk::vtd::table_mode mode() const { return static_cast<stagewalk::vtd::table_mode>(root.get<"TTM">()); }
    /// Whether the unit is on, with scalable tables that it supports.
    [[nodiscard]] bool is_scalable() const {
        return enabled && mode() == stagewalk::vtd::table_mode::scalable && caps.has<"SMTS">();
    }
    /// Whether the unit is on, with legacy tables.
    [[nodiscard]] bool is_legacy() const { return enabled && mode() == stagewalk::vtd::table_mode::legacy; }
};

/// Reads the registers and refuses what no unit can show. \throw bad_input for a register that is missing or contradicts another.
[[nodiscard]] vtd_registers read_vtd_registers(capture const& c);

} // namespace inspect
