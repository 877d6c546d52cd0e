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
    largest,       ///< The largest supported one, else 4h: VirtualBox. The manual asks software for it but names no code.
};

/// Whether AW, SSADE and SSPTPTR of a PASID table entry are checked where its PGTT does not use them.
enum class unused_pasid_fields : std::uint64_t {
    ignore, ///< Not for first-stage and pass-through entries: Linux writes AW = 2 there, and QEMU accepts it.
    manual, ///< Reserved where ECAP.SSTS = 0, whatever PGTT is: 5Ah.
};

/// Whether the reserved encodings of EMT in a second-stage leaf are refused where EMT is used (EMTE = 1).
enum class reserved_memory_type : std::uint64_t {
    accepted, ///< No: the manual lists them as reserved but names no fault.
    refused,  ///< Yes, as a reserved field: 7Ah.
};

/// Which half of a scalable root entry is checked for reserved bits.
enum class root_halves : std::uint64_t {
    used, ///< The one that the request uses: OpenVMM.
    both, ///< Both, where present: QEMU.
};

/// What wins where an interrupt remapping entry fails both checks.
enum class interrupt_order : std::uint64_t {
    source_first,   ///< The requester is verified before the format: 26h, the manual's prose.
    reserved_first, ///< Reserved fields before the requester: 24h, QEMU and VirtualBox.
};

/// What an interrupt remapping entry with the reserved SVT = 11b is answered with.
enum class reserved_source_check : std::uint64_t {
    source,   ///< 26h: QEMU and VirtualBox.
    reserved, ///< 24h.
};

/// The open points of a unit.
struct policy {
    rights_order second_stage_rights{rights_order::after_leaf};         ///< When second-stage rights are looked at.
    pass_through_width pass_through{pass_through_width::any_supported}; ///< Which AW a pass-through entry may name.

    unused_pasid_fields unused{unused_pasid_fields::ignore};           ///< PASID fields that PGTT does not use.
    reserved_memory_type memory_type{reserved_memory_type::accepted};  ///< Reserved encodings of EMT.
    root_halves root{root_halves::used};                               ///< Reserved bits of scalable root entries.
    interrupt_order interrupt{interrupt_order::source_first};          ///< Order of the checks of an IRTE.
    reserved_source_check source_check{reserved_source_check::source}; ///< SVT = 11b.

    /// Policies are equal that decide alike.
    friend constexpr bool operator==(policy const&, policy const&) = default;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
