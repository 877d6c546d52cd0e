/// \file
/// The points that AMD's manual leaves open and that IOMMUs in the field decide differently.
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// What the range FD_0000_0000h to FF_FFFF_FFFFh is.
enum class ht_range : std::uint64_t {
    ordinary, ///< Addresses like any others: IOMMUs without HyperTransport, QEMU.
    reserved, ///< HyperTransport's special ranges, unless EFR2.HTRangeIgnore says otherwise.
};

/// Which requests the exclusion range lets pass.
enum class exclusion : std::uint64_t {
    all,          ///< All.
    translations, ///< ATS translation requests only: VirtualBox.
};

/// What a DeviceID beyond the device table is answered with.
enum class missing_entry : std::uint64_t {
    illegal_entry, ///< ILLEGAL_DEV_TABLE_ENTRY: OpenVMM.
    page_fault,    ///< IO_PAGE_FAULT of domain 0: VirtualBox.
};

/// What a Mode of 7, or of more levels than the IOMMU has, is answered with.
enum class illegal_mode : std::uint64_t {
    illegal_entry, ///< ILLEGAL_DEV_TABLE_ENTRY: OpenVMM.
    page_fault,    ///< IO_PAGE_FAULT, not present: VirtualBox.
};

/// What GV = 1 is while Control.GTEn = 0.
enum class guest_disabled : std::uint64_t {
    reserved, ///< A reserved bit that is set.
    ignored,  ///< Nothing: GV counts as 0.
};

/// What comes first in a host table entry that fails both checks.
enum class check_order : std::uint64_t {
    reserved_first, ///< Reserved bits: VirtualBox.
    rights_first,   ///< The rights.
};

/// What bits 58:57 of a leaf of host tables are.
enum class page_migration : std::uint64_t {
    reserved,  ///< Reserved.
    supported, ///< PMC, page migration control.
};

/// Which host table entries get an accessed bit.
enum class host_accessed : std::uint64_t {
    tables_too,  ///< Leaves and those that lead to tables.
    leaves_only, ///< Leaves.
};

/// Whose addresses the pointers between GCR3 tables are, nested.
enum class gcr3_pointers : std::uint64_t {
    guest,   ///< The guest's.
    as_root, ///< Like the root: the system's while Control.GCR3TRPMode = 0.
};

/// Whom R/W = 0 in guest tables binds.
enum class write_protect : std::uint64_t {
    always,     ///< Everybody.
    users_only, ///< Users: a supervisor may write.
};

/// The open points of an IOMMU.
struct policy {
    amdvi::ht_range ht{amdvi::ht_range::ordinary};                     ///< The HyperTransport range.
    amdvi::exclusion excluded{amdvi::exclusion::all};                  ///< The exclusion range.
    amdvi::missing_entry missing{amdvi::missing_entry::illegal_entry}; ///< A DeviceID beyond the table.
    amdvi::illegal_mode mode{amdvi::illegal_mode::illegal_entry};      ///< A Mode that there is not.
    amdvi::guest_disabled guest{amdvi::guest_disabled::reserved};      ///< GV while guest translation is off.
    amdvi::check_order order{amdvi::check_order::reserved_first};      ///< Reserved bits and rights of host entries.
    amdvi::page_migration migration{amdvi::page_migration::reserved};  ///< Bits 58:57 of host leaves.
    amdvi::host_accessed accessed{amdvi::host_accessed::tables_too};   ///< Accessed bits of host tables.
    amdvi::gcr3_pointers pointers{amdvi::gcr3_pointers::guest};        ///< Pointers between GCR3 tables.
    amdvi::write_protect protect{amdvi::write_protect::always};        ///< R/W of guest tables and supervisors.

    /// Policies are equal that decide alike.
    friend constexpr bool operator==(policy const&, policy const&) = default;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
