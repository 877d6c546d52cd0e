/// \file
/// The points that the VT-d manual leaves open and that units in the field decide differently.
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// When second-stage rights are looked at.
enum class rights_order : std::uint64_t {
    after_leaf, ///< All levels together after the leaf, so a reserved bit further down wins: the manual's wording.
    each_entry, ///< Each entry at once, before its reserved bits: QEMU and VirtualBox.
};

/// Which AW a pass-through context entry may name.
enum class pass_through_width : std::uint64_t {
    any_supported, ///< Every supported one: QEMU, OpenVMM.
    largest, ///< The largest supported one, else 4h: VirtualBox. The manual asks software for it but names no code.
};

/// The open points of a unit.
struct policy {
    rights_order second_stage_rights{rights_order::after_leaf};         ///< When second-stage rights are looked at.
    pass_through_width pass_through{pass_through_width::any_supported}; ///< Which AW a pass-through entry may name.

    /// Policies are equal that decide alike.
    friend constexpr bool operator==(policy const&, policy const&) = default;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
