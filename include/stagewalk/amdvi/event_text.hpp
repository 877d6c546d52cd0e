/// \file
/// AMD-Vi events in words.
#pragma once

#include "device_table.hpp"
#include "event.hpp"

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// The manual's name of \p e: `IO_PAGE_FAULT`; `none` where there is no event. Never null.
[[nodiscard]] constexpr char const* name_of(event e) {
    switch (e) {
    case event::none: return "none";
    case event::illegal_dev_table_entry: return "ILLEGAL_DEV_TABLE_ENTRY";
    case event::io_page_fault: return "IO_PAGE_FAULT";
    case event::dev_tab_hardware_error: return "DEV_TAB_HARDWARE_ERROR";
    case event::page_tab_hardware_error: return "PAGE_TAB_HARDWARE_ERROR";
    case event::illegal_command_error: return "ILLEGAL_COMMAND_ERROR";
    case event::command_hardware_error: return "COMMAND_HARDWARE_ERROR";
    case event::iotlb_inv_timeout: return "IOTLB_INV_TIMEOUT";
    case event::invalid_device_request: return "INVALID_DEVICE_REQUEST";
    case event::invalid_ppr_request: return "INVALID_PPR_REQUEST";
    case event::event_counter_zero: return "EVENT_COUNTER_ZERO";
    case event::guest_event_fault: return "GUEST_EVENT_FAULT";
    case event::viommu_hardware_error: return "VIOMMU_HARDWARE_ERROR";
    case event::rmp_page_fault: return "RMP_PAGE_FAULT";
    case event::rmp_hardware_error: return "RMP_HARDWARE_ERROR";
    }
    return "unknown";
}

/// One line that says to a person what \p e means. Never null.
[[nodiscard]] constexpr char const* text_of(event e) {
    switch (e) {
    case event::none: return "the request is refused without an event";
    case event::illegal_dev_table_entry: return "the device table entry is illegal, or there is none";
    case event::io_page_fault: return "the address is not mapped, the access is not granted, or a table entry is illegal";
    case event::dev_tab_hardware_error: return "the device table cannot be read";
    case event::page_tab_hardware_error: return "a table entry cannot be read or updated";
    case event::illegal_command_error: return "the command is illegal";
    case event::command_hardware_error: return "the command could not be read, or its store could not be made";
    case event::iotlb_inv_timeout: return "the device did not complete an invalidation in time";
    case event::invalid_device_request: return "the device may not make the request";
    case event::invalid_ppr_request: return "the device may not make the page request";
    case event::event_counter_zero: return "a performance counter has overflowed";
    case event::guest_event_fault: return "the event log of a guest cannot be written";
    case event::viommu_hardware_error: return "the memory of a guest's IOMMU cannot be read or written";
    case event::rmp_page_fault: return "the reverse map table does not grant the access";
    case event::rmp_hardware_error: return "the reverse map table cannot be read";
    }
    return "an event that this library does not raise";
}

/// The enumerator's name of \p e, for machines: `port_io`. Never null.
[[nodiscard]] constexpr char const* name_of(invalid_request e) {
    switch (e) {
    case invalid_request::interrupt_range: return "interrupt_range";
    case invalid_request::no_iotlb: return "no_iotlb";
    case invalid_request::port_io: return "port_io";
    case invalid_request::system_management: return "system_management";
    case invalid_request::system_request: return "system_request";
    case invalid_request::interrupt_closed: return "interrupt_closed";
    case invalid_request::bad_interrupt: return "bad_interrupt";
    case invalid_request::pasid: return "pasid";
    }
    return "unknown";
}

/// One line that says to a person why a device must not make a request. Never null.
[[nodiscard]] constexpr char const* text_of(invalid_request e) {
    switch (e) {
    case invalid_request::interrupt_range: return "only interrupts may go to the interrupt range";
    case invalid_request::no_iotlb: return "the device table entry allows no ATS (I)";
    case invalid_request::port_io: return "the device table entry closes the port I/O range (IoCtl)";
    case invalid_request::system_management: return "the device table entry closes the system management range (SysMgt)";
    case invalid_request::system_request: return "the system management range does not take such a request (SysMgt)";
    case invalid_request::interrupt_closed:
        return "the device table entry lets no such interrupt pass (IntCtl and the pass bits)";
    case invalid_request::bad_interrupt: return "the interrupt is of a reserved kind, or goes to a reserved address";
    case invalid_request::pasid: return "the request has a PASID, but there is no guest translation (GV)";
    }
    return "a reason that this library does not give";
}

/// The enumerator's name of \p e, for machines: `gcr3_levels`. Never null.
[[nodiscard]] constexpr char const* name_of(device_entry_error e) {
    switch (e) {
    case device_entry_error::none: return "none";
    case device_entry_error::beyond_table: return "beyond_table";
    case device_entry_error::reserved_bits: return "reserved_bits";
    case device_entry_error::reserved_host_updates: return "reserved_host_updates";
    case device_entry_error::reserved_guest: return "reserved_guest";
    case device_entry_error::reserved_guest_default: return "reserved_guest_default";
    case device_entry_error::reserved_page_response: return "reserved_page_response";
    case device_entry_error::reserved_iotlb: return "reserved_iotlb";
    case device_entry_error::reserved_secure_ats: return "reserved_secure_ats";
    case device_entry_error::reserved_attributes: return "reserved_attributes";
    case device_entry_error::reserved_virtual_iommu: return "reserved_virtual_iommu";
    case device_entry_error::reserved_interrupt_mode: return "reserved_interrupt_mode";
    case device_entry_error::port_io: return "port_io";
    case device_entry_error::mode: return "mode";
    case device_entry_error::no_host_translation: return "no_host_translation";
    case device_entry_error::host_updates: return "host_updates";
    case device_entry_error::identity: return "identity";
    case device_entry_error::gcr3_levels: return "gcr3_levels";
    case device_entry_error::guest_levels: return "guest_levels";
    case device_entry_error::interrupt_table: return "interrupt_table";
    }
    return "unknown";
}

/// One line that says to a person why a device table entry is illegal. Never null.
[[nodiscard]] constexpr char const* text_of(device_entry_error e) {
    switch (e) {
    case device_entry_error::none: return "the device table entry is legal";
    case device_entry_error::beyond_table: return "the device table has no entry for the device";
    case device_entry_error::reserved_bits: return "the device table entry has a reserved bit set";
    case device_entry_error::reserved_host_updates:
        return "the device table entry asks for updates that the unit cannot make (HAD)";
    case device_entry_error::reserved_guest:
        return "the device table entry asks for guest translation, which the unit lacks or has off (GV, GLX, GCR3)";
    case device_entry_error::reserved_guest_default:
        return "the device table entry sends requests without PASID to a guest, which the unit cannot (GIoV)";
    case device_entry_error::reserved_page_response:
        return "the device table entry asks for enhanced page responses, which the unit lacks (GPRP)";
    case device_entry_error::reserved_iotlb: return "the device table entry allows ATS, which the unit lacks (I)";
    case device_entry_error::reserved_secure_ats:
        return "the device table entry asks for secure ATS, which the unit lacks (SATS)";
    case device_entry_error::reserved_attributes: return "the device table entry has attributes that the unit lacks";
    case device_entry_error::reserved_virtual_iommu:
        return "the device table entry belongs to a guest's IOMMU, which the unit cannot be";
    case device_entry_error::reserved_interrupt_mode: return "the device table entry's IntCtl has the reserved value 3";
    case device_entry_error::port_io: return "the device table entry's IoCtl has the reserved value 3";
    case device_entry_error::mode:
        return "the device table entry's Mode has the reserved value 7, or more host levels than the unit";
    case device_entry_error::no_host_translation:
        return "the device table entry asks for host translation, which the unit lacks (Mode, HostPageTableRoot)";
    case device_entry_error::host_updates: return "the device table entry's HAD has the reserved value 2";
    case device_entry_error::identity: return "the device table entry has no host tables while SNP is on (Mode)";
    case device_entry_error::gcr3_levels: return "the device table entry has more GCR3 levels than the unit (GLX)";
    case device_entry_error::guest_levels: return "the device table entry has more guest levels than the unit (GPM)";
    case device_entry_error::interrupt_table: return "the device table entry's interrupt table is too large (IntTabLen)";
    }
    return "an error that this library does not raise";
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
