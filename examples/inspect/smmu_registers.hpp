/// \file
/// The registers of an SMMU, as far as they steer translation.
#pragma once

#include "architecture.hpp"
#include "capture.hpp"

#include <stagewalk/smmu/capabilities.hpp>
#include <stagewalk/smmu/control.hpp>

#include <span>

namespace inspect {

/// What the registers say.
struct smmu_registers {
    stagewalk::smmu::capabilities caps;
    stagewalk::smmu::control control;

    /// Whether the unit is on.
    [[nodiscard]] bool enabled() const { return control.cr0.get<"SMMUEN">() != 0; }
    /// Where the stream table lies.
    [[nodiscard]] std::uint64_t stream_table() const { return control.table(caps); }
    /// How many streams it covers.
    [[nodiscard]] std::uint64_t streams() const { return std::uint64_t{1} << control.stream_bits(caps); }
};

/// The registers that options give.
[[nodiscard]] std::span<register_option const> smmu_register_options();

/// Reads the registers and refuses what no SMMU can have. \throw bad_input for a register that is missing or contradicts another.
[[nodiscard]] smmu_registers read_smmu_registers(capture const& c);

} // namespace inspect
