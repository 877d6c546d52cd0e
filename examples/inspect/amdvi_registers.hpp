/// \file
/// The registers of an AMD IOMMU, as far as they steer translation.
#pragma once

#include "architecture.hpp"
#include "capture.hpp"

#include <stagewalk/amdvi/capabilities.hpp>
#include <stagewalk/amdvi/control.hpp>

#include <cstdint>
#include <span>
#include <string>

namespace inspect {

/// What the registers say.
struct amdvi_registers {
    stagewalk::amdvi::capabilities caps;
    stagewalk::amdvi::control control;

    /// Whether the unit is on.
    [[nodiscard]] bool enabled() const { return control.main.get<"IommuEn">() != 0; }
    /// How many segments the device table has: 1, 2, 4 or 8.
    [[nodiscard]] std::uint64_t segments() const { return std::uint64_t{1} << control.segment_bits(caps); }
    /// How many devices one segment is for.
    [[nodiscard]] std::uint64_t devices_in_segment() const { return std::uint64_t{1} << (16 - control.segment_bits(caps)); }
    /// How many of them have an entry in segment \p n.
    [[nodiscard]] std::uint64_t entries(std::uint64_t n) const {
        std::uint64_t const there = control.table[n].entries();
        return there < devices_in_segment() ? there : devices_in_segment();
    }
    /// Where segment \p n lies.
    [[nodiscard]] std::uint64_t table(std::uint64_t n) const { return control.table[n].get<"DevTabBase">(); }
};

/// The registers that options give.
[[nodiscard]] std::span<register_option const> amdvi_register_options();

/// The name of the base register of segment \p n.
[[nodiscard]] std::string device_table_register(std::uint64_t n);

/// Reads the registers and refuses what no IOMMU can have. \throw bad_input for a register that is missing or contradicts
/// another.
[[nodiscard]] amdvi_registers read_amdvi_registers(capture const& c);

} // namespace inspect
