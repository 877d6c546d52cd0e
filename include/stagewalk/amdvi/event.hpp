/// \file
/// Why an AMD IOMMU did not translate (48882 2.5), and what it says of the request.
#pragma once

#include "../core/fault.hpp"
#include "../core/size.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// The event codes, bits 63:60 of an event log entry, with the manual's names.
enum class event : std::uint8_t {
    none = 0x0,                    ///< Refused without an event: a translation request to a unit that is off.
    illegal_dev_table_entry = 0x1, ///< The device table entry is illegal or absent; see `device_entry_error`.
    io_page_fault = 0x2,           ///< Not mapped, not granted, or a broken table.
    dev_tab_hardware_error = 0x3,  ///< The device table could not be read.
    page_tab_hardware_error = 0x4, ///< A page table, GCR3 table or interrupt table could not be read or updated.
    illegal_command_error = 0x5,   ///< No such command, or a reserved bit in it.
    command_hardware_error = 0x6,  ///< The command could not be read, or its store could not be made.
    iotlb_inv_timeout = 0x7,       ///< A device did not complete an invalidation.
    invalid_device_request = 0x8,  ///< A request that the device must not make; see `invalid_request`.
    invalid_ppr_request = 0x9,     ///< A page request that the device must not make.
    event_counter_zero = 0xa,      ///< A performance counter has overflowed.
    guest_event_fault = 0xb,       ///< A guest's event log could not be written.
    viommu_hardware_error = 0xc,   ///< The memory behind a guest's IOMMU failed.
    rmp_page_fault = 0xd,          ///< Refused by the reverse map table (SNP).
    rmp_hardware_error = 0xe,      ///< The reverse map table could not be read.
};

/// Why a device must not make a request: bits 59:57 of an invalid_device_request. The numbers are not confirmed by a second
/// source.
enum class invalid_request : std::uint8_t {
    interrupt_range = 0,   ///< Anything but a write, or a translation request, to the interrupt range.
    no_iotlb = 1,          ///< A translation request or a translated request while DTE.I = 0.
    port_io = 2,           ///< To the port I/O range, which DTE.IoCtl closes.
    system_management = 3, ///< A posted write to the system management range, which DTE.SysMgt closes.
    system_request = 4,    ///< Another request to that range, or one of a kind that DTE.SysMgt does not forward.
    interrupt_closed = 5,  ///< An interrupt that DTE.IntCtl, or a pass bit, closes.
    bad_interrupt = 6,     ///< An interrupt of a reserved kind, or to a reserved address.
    pasid = 7,             ///< A request with PASID while there is no guest translation.
};

/// Type of a hardware error, bits 58:57.
enum class hardware_error : std::uint8_t {
    master_abort = 1, ///< Nobody answered.
    target_abort = 2, ///< Refused.
    data_error = 3,   ///< Poisoned, or not to be corrected.
};

/// Bits of `fault::detail` of an AMD IOMMU: bits 59:16 of the event log entry. In the place of the DeviceID, bits 15:0, is what
/// the entry does not tell: of an illegal device table entry the `device_entry_error`. A stage alone, without its unit, gives
/// `present`, `permission` and `reserved` only.
namespace fault_detail {
inline constexpr std::uint64_t guest = std::uint64_t{1} << 48;     ///< GN: guest translation, bits 47:32 and 19:16 are the PASID.
inline constexpr std::uint64_t execute = std::uint64_t{1} << 49;   ///< NX: an instruction was to be read; with GN.
inline constexpr std::uint64_t user = std::uint64_t{1} << 50;      ///< US: a user's request; with GN.
inline constexpr std::uint64_t interrupt = std::uint64_t{1} << 51; ///< I: an interrupt, not memory.
inline constexpr std::uint64_t present = std::uint64_t{1} << 52;   ///< PR: the entry to blame is present.
inline constexpr std::uint64_t writing = std::uint64_t{1} << 53;   ///< RW: the access writes.
inline constexpr std::uint64_t permission = std::uint64_t{1} << 54; ///< PE: the access is not granted.
inline constexpr std::uint64_t reserved = std::uint64_t{1} << 55;   ///< RZ: a reserved bit is set; else, with PR, a bad encoding.
inline constexpr std::uint64_t translation = std::uint64_t{1} << 56; ///< TR: an ATS translation request.
inline constexpr std::uint64_t type_at = 57;                         ///< Type, 3 bits: see `invalid_request`.
inline constexpr std::uint64_t domain_at = 32;                       ///< The domain id, 16 bits; with GN the PASID's low 16.
inline constexpr std::uint64_t pasid_high_at = 16;                   ///< With GN the PASID's high 4 bits.
/// Type of a hardware error, 2 bits from `type_at`: nobody answered the read.
inline constexpr std::uint64_t master_abort = static_cast<std::uint64_t>(hardware_error::master_abort) << type_at;
/// Of a page fault that is logged: DTE.SE, the device's next ones are not, until its entry is invalidated.
inline constexpr std::uint64_t once = std::uint64_t{1} << 15;
/// What of it goes into the event log entry.
inline constexpr std::uint64_t recorded = bit_mask(59, 16);

/// \p pasid where an event with GN has it.
[[nodiscard]] constexpr std::uint64_t of_pasid(std::uint64_t pasid) {
    return guest | (pasid & 0xffff) << domain_at | (pasid >> 16 & 0xf) << pasid_high_at;
}
} // namespace fault_detail

/// Whether fault \p f is one of translation proper: something is not mapped or not granted. To a translation request it is an
/// answer, no event (48882 2.5.3).
[[nodiscard]] constexpr bool is_refusal(fault<event> const& f) {
    return f.code == event::io_page_fault &&
           ((f.detail & fault_detail::present) == 0 || (f.detail & fault_detail::permission) != 0);
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
