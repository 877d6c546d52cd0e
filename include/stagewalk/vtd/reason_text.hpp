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
    case reason::none:
        return "none";
    case reason::root_not_present:
        return "root_not_present";
    case reason::context_not_present:
        return "context_not_present";
    case reason::context_invalid:
        return "context_invalid";
    case reason::address_beyond_width:
        return "address_beyond_width";
    case reason::write_denied:
        return "write_denied";
    case reason::read_denied:
        return "read_denied";
    case reason::table_unreadable:
        return "table_unreadable";
    case reason::root_unreadable:
        return "root_unreadable";
    case reason::context_unreadable:
        return "context_unreadable";
    case reason::root_reserved:
        return "root_reserved";
    case reason::context_reserved:
        return "context_reserved";
    case reason::table_reserved:
        return "table_reserved";
    case reason::request_blocked:
        return "request_blocked";
    case reason::output_in_interrupt_range:
        return "output_in_interrupt_range";
    case reason::interrupt_request_illegal:
        return "interrupt_request_illegal";
    case reason::root_pointer_invalid:
        return "root_pointer_invalid";
    case reason::pasid_in_legacy_mode:
        return "pasid_in_legacy_mode";
    case reason::page_request_in_legacy_mode:
        return "page_request_in_legacy_mode";
    case reason::dma_aborted:
        return "dma_aborted";
    }
    return "unknown";
}

/// One line that says to a person what \p r means. Never null.
[[nodiscard]] constexpr char const* text(reason r) {
    switch (r) {
    case reason::none:
        return "the request is refused without a fault";
    case reason::root_not_present:
        return "the bus has no root entry";
    case reason::context_not_present:
        return "the device has no context entry";
    case reason::context_invalid:
        return "the context entry names an unsupported width or type, or a root table that cannot be read";
    case reason::address_beyond_width:
        return "the address is beyond the domain's width";
    case reason::write_denied:
        return "the mapping does not grant writing";
    case reason::read_denied:
        return "the mapping does not grant reading";
    case reason::table_unreadable:
        return "a page table cannot be read";
    case reason::root_unreadable:
        return "the root entry cannot be read";
    case reason::context_unreadable:
        return "the context entry cannot be read";
    case reason::root_reserved:
        return "the root entry has reserved bits set";
    case reason::context_reserved:
        return "the context entry has reserved bits set";
    case reason::table_reserved:
        return "a page-table entry has reserved bits set";
    case reason::request_blocked:
        return "the context entry blocks translation and translated requests";
    case reason::output_in_interrupt_range:
        return "the address leads into the interrupt range";
    case reason::interrupt_request_illegal:
        return "only a DWORD write may go to the interrupt range";
    case reason::root_pointer_invalid:
        return "the root table register has an unsupported mode";
    case reason::pasid_in_legacy_mode:
        return "a request with PASID in legacy mode";
    case reason::page_request_in_legacy_mode:
        return "a page request in legacy mode";
    case reason::dma_aborted:
        return "the unit aborts all DMA";
    }
    return "a fault that this library does not raise";
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
