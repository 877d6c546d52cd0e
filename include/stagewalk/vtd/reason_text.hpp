/// \file
/// VT-d fault reasons in words.
#pragma once

#include "reason.hpp"

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// The enumerator's name of \p r, for machines: `root_not_present`. Never null.
[[nodiscard]] constexpr char const* name(reason r) {
    switch (r) {
    case reason::none: return "none";
    case reason::root_not_present: return "root_not_present";
    case reason::context_not_present: return "context_not_present";
    case reason::context_invalid: return "context_invalid";
    case reason::address_beyond_width: return "address_beyond_width";
    case reason::write_denied: return "write_denied";
    case reason::read_denied: return "read_denied";
    case reason::table_unreadable: return "table_unreadable";
    case reason::root_unreadable: return "root_unreadable";
    case reason::context_unreadable: return "context_unreadable";
    case reason::root_reserved: return "root_reserved";
    case reason::context_reserved: return "context_reserved";
    case reason::table_reserved: return "table_reserved";
    case reason::request_blocked: return "request_blocked";
    case reason::output_in_interrupt_range: return "output_in_interrupt_range";
    case reason::interrupt_reserved: return "interrupt_reserved";
    case reason::interrupt_index: return "interrupt_index";
    case reason::interrupt_not_present: return "interrupt_not_present";
    case reason::interrupt_unreadable: return "interrupt_unreadable";
    case reason::interrupt_entry_reserved: return "interrupt_entry_reserved";
    case reason::interrupt_compatibility_blocked: return "interrupt_compatibility_blocked";
    case reason::interrupt_source: return "interrupt_source";
    case reason::posted_descriptor_unreadable: return "posted_descriptor_unreadable";
    case reason::posted_descriptor_reserved: return "posted_descriptor_reserved";
    case reason::interrupt_request_illegal: return "interrupt_request_illegal";
    case reason::interrupt_mode_required: return "interrupt_mode_required";
    case reason::interrupt_remapping_required: return "interrupt_remapping_required";
    case reason::root_pointer_invalid: return "root_pointer_invalid";
    case reason::pasid_in_legacy_mode: return "pasid_in_legacy_mode";
    case reason::page_request_in_legacy_mode: return "page_request_in_legacy_mode";
    case reason::dma_aborted: return "dma_aborted";
    case reason::execute_unsupported: return "execute_unsupported";
    case reason::scalable_root_unreadable: return "scalable_root_unreadable";
    case reason::scalable_root_not_present: return "scalable_root_not_present";
    case reason::scalable_root_reserved: return "scalable_root_reserved";
    case reason::scalable_context_unreadable: return "scalable_context_unreadable";
    case reason::scalable_context_not_present: return "scalable_context_not_present";
    case reason::scalable_context_reserved: return "scalable_context_reserved";
    case reason::scalable_context_invalid: return "scalable_context_invalid";
    case reason::device_tlb_disabled: return "device_tlb_disabled";
    case reason::pasid_disabled: return "pasid_disabled";
    case reason::pasid_beyond_directory: return "pasid_beyond_directory";
    case reason::page_requests_disabled: return "page_requests_disabled";
    case reason::pasid_is_rid_pasid: return "pasid_is_rid_pasid";
    case reason::translated_pasid_disabled: return "translated_pasid_disabled";
    case reason::pasid_directory_unreadable: return "pasid_directory_unreadable";
    case reason::pasid_directory_not_present: return "pasid_directory_not_present";
    case reason::pasid_directory_reserved: return "pasid_directory_reserved";
    case reason::pasid_entry_unreadable: return "pasid_entry_unreadable";
    case reason::pasid_entry_not_present: return "pasid_entry_not_present";
    case reason::pasid_entry_reserved: return "pasid_entry_reserved";
    case reason::pasid_entry_invalid: return "pasid_entry_invalid";
    case reason::execute_disabled: return "execute_disabled";
    case reason::supervisor_disabled: return "supervisor_disabled";
    case reason::beyond_host_permission: return "beyond_host_permission";
    case reason::first_stage_unreadable: return "first_stage_unreadable";
    case reason::first_stage_not_present: return "first_stage_not_present";
    case reason::first_stage_reserved: return "first_stage_reserved";
    case reason::first_stage_root_unreadable: return "first_stage_root_unreadable";
    case reason::first_stage_address_width: return "first_stage_address_width";
    case reason::first_stage_root_not_readable: return "first_stage_root_not_readable";
    case reason::first_stage_table_not_readable: return "first_stage_table_not_readable";
    case reason::first_stage_table_not_writable: return "first_stage_table_not_writable";
    case reason::second_stage_unreadable: return "second_stage_unreadable";
    case reason::second_stage_not_present: return "second_stage_not_present";
    case reason::second_stage_reserved: return "second_stage_reserved";
    case reason::second_stage_root_unreadable: return "second_stage_root_unreadable";
    case reason::second_stage_update_unsnooped: return "second_stage_update_unsnooped";
    case reason::second_stage_update_failed: return "second_stage_update_failed";
    case reason::not_canonical: return "not_canonical";
    case reason::user_denied: return "user_denied";
    case reason::output_beyond_host: return "output_beyond_host";
    case reason::input_beyond_second_stage: return "input_beyond_second_stage";
    case reason::scalable_write_denied: return "scalable_write_denied";
    case reason::scalable_read_denied: return "scalable_read_denied";
    case reason::scalable_output_in_interrupt_range: return "scalable_output_in_interrupt_range";
    case reason::pasid_beyond_unit: return "pasid_beyond_unit";
    case reason::first_stage_update_unsnooped: return "first_stage_update_unsnooped";
    case reason::first_stage_update_failed: return "first_stage_update_failed";
    case reason::host_permission_unreadable: return "host_permission_unreadable";
    case reason::host_permission_reserved: return "host_permission_reserved";
    case reason::host_permission_root_unreadable: return "host_permission_root_unreadable";
    case reason::host_permission_zero_length: return "host_permission_zero_length";
    case reason::host_permission_write_denied: return "host_permission_write_denied";
    case reason::host_permission_read_denied: return "host_permission_read_denied";
    }
    return "unknown";
}

/// One line that says to a person what \p r means. Never null.
[[nodiscard]] constexpr char const* text(reason r) {
    switch (r) {
    case reason::none: return "the request is refused without a fault";
    case reason::root_not_present: return "the bus has no root entry";
    case reason::context_not_present: return "the device has no context entry";
    case reason::context_invalid:
        return "the context entry names an unsupported width or type, or a root "
               "table that cannot be read";
    case reason::address_beyond_width: return "the address is beyond the domain's width";
    case reason::write_denied: return "the mapping does not grant writing";
    case reason::read_denied: return "the mapping does not grant reading";
    case reason::table_unreadable: return "a page table cannot be read";
    case reason::root_unreadable: return "the root entry cannot be read";
    case reason::context_unreadable: return "the context entry cannot be read";
    case reason::root_reserved: return "the root entry has reserved bits set";
    case reason::context_reserved: return "the context entry has reserved bits set";
    case reason::table_reserved: return "a page-table entry has reserved bits set";
    case reason::request_blocked: return "the context entry blocks translation and translated requests";
    case reason::output_in_interrupt_range: return "the address leads into the interrupt range";
    case reason::interrupt_reserved: return "the interrupt request has reserved bits set";
    case reason::interrupt_index: return "the interrupt index is beyond the table";
    case reason::interrupt_not_present: return "the interrupt has no remapping entry";
    case reason::interrupt_unreadable: return "the interrupt remapping table cannot be read";
    case reason::interrupt_entry_reserved: return "the interrupt remapping entry has reserved bits set";
    case reason::interrupt_compatibility_blocked: return "compatibility-format interrupts are blocked";
    case reason::interrupt_source: return "the interrupt comes from a requester that its entry does not allow";
    case reason::posted_descriptor_unreadable: return "the posted-interrupt descriptor cannot be accessed";
    case reason::posted_descriptor_reserved: return "the posted-interrupt descriptor has reserved bits set";
    case reason::interrupt_request_illegal: return "only a DWORD write may go to the interrupt range";
    case reason::interrupt_mode_required: return "interrupts are blocked until extended interrupt mode is on";
    case reason::interrupt_remapping_required: return "interrupts are blocked until interrupt remapping is on";
    case reason::root_pointer_invalid: return "the root table register has an unsupported mode";
    case reason::pasid_in_legacy_mode: return "a request with PASID in legacy mode";
    case reason::page_request_in_legacy_mode: return "a page request in legacy mode";
    case reason::dma_aborted: return "the unit aborts all DMA";
    case reason::execute_unsupported: return "the unit knows no execute requests";
    case reason::scalable_root_unreadable: return "the root entry cannot be read";
    case reason::scalable_root_not_present: return "the half bus has no root entry";
    case reason::scalable_root_reserved: return "the root entry has reserved bits set";
    case reason::scalable_context_unreadable: return "the context entry cannot be read";
    case reason::scalable_context_not_present: return "the device has no context entry";
    case reason::scalable_context_reserved: return "the context entry has reserved bits set";
    case reason::scalable_context_invalid: return "the context entry contradicts itself";
    case reason::device_tlb_disabled: return "the context entry lets the device keep no translations";
    case reason::pasid_disabled: return "the context entry allows no PASIDs";
    case reason::pasid_beyond_directory: return "the PASID is beyond the directory";
    case reason::page_requests_disabled: return "the context entry allows no page requests";
    case reason::pasid_is_rid_pasid: return "the PASID is the one kept for requests without PASID";
    case reason::translated_pasid_disabled: return "the context entry allows no PASIDs on translated requests";
    case reason::pasid_directory_unreadable: return "the PASID directory cannot be read";
    case reason::pasid_directory_not_present: return "the PASID has no directory entry";
    case reason::pasid_directory_reserved: return "the PASID directory entry has reserved bits set";
    case reason::pasid_entry_unreadable: return "the PASID table cannot be read";
    case reason::pasid_entry_not_present: return "the PASID has no table entry";
    case reason::pasid_entry_reserved: return "the PASID table entry has reserved bits set";
    case reason::pasid_entry_invalid: return "the PASID table entry names an unsupported kind of translation";
    case reason::execute_disabled: return "the unit knows no execute requests";
    case reason::supervisor_disabled: return "the PASID allows no privileged requests";
    case reason::beyond_host_permission: return "the translated address is beyond the host permission tables";
    case reason::first_stage_unreadable: return "a first-stage table cannot be read";
    case reason::first_stage_not_present: return "the address is not mapped by the first stage";
    case reason::first_stage_reserved: return "a first-stage entry has reserved bits set";
    case reason::first_stage_root_unreadable: return "the first-stage root table cannot be read";
    case reason::first_stage_address_width: return "a first-stage entry leads beyond the second stage";
    case reason::first_stage_root_not_readable: return "the second stage forbids reading the first-stage root table";
    case reason::first_stage_table_not_readable: return "the second stage forbids reading a first-stage table";
    case reason::first_stage_table_not_writable: return "the second stage forbids updating a first-stage table";
    case reason::second_stage_unreadable: return "a second-stage table cannot be read";
    case reason::second_stage_not_present: return "the address is not mapped by the second stage";
    case reason::second_stage_reserved: return "a second-stage entry has reserved bits set";
    case reason::second_stage_root_unreadable: return "the second-stage root table cannot be read";
    case reason::second_stage_update_unsnooped:
        return "a second-stage entry needs an update that the unit cannot make "
               "coherently";
    case reason::second_stage_update_failed: return "a second-stage entry could not be updated";
    case reason::not_canonical: return "the address is not canonical";
    case reason::user_denied: return "the mapping is for privileged requests";
    case reason::output_beyond_host: return "the address is beyond the host's width";
    case reason::input_beyond_second_stage: return "the address is beyond the domain's width";
    case reason::scalable_write_denied: return "the mapping does not grant writing";
    case reason::scalable_read_denied: return "the mapping does not grant reading";
    case reason::scalable_output_in_interrupt_range: return "the address leads into the interrupt range";
    case reason::pasid_beyond_unit: return "the PASID is wider than the unit supports";
    case reason::first_stage_update_unsnooped:
        return "a first-stage entry needs an update that the unit cannot make "
               "coherently";
    case reason::first_stage_update_failed: return "a first-stage entry could not be updated";
    case reason::host_permission_unreadable: return "a host permission table cannot be read";
    case reason::host_permission_reserved: return "a host permission entry has reserved bits set";
    case reason::host_permission_root_unreadable: return "the host permission root table cannot be read";
    case reason::host_permission_zero_length: return "the host permission tables end a zero-length read";
    case reason::host_permission_write_denied: return "the host permission tables do not grant writing";
    case reason::host_permission_read_denied: return "the host permission tables do not grant reading";
    }
    return "a fault that this library does not raise";
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
