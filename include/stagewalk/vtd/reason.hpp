/// \file
/// VT-d fault reasons and what the requester is told (VT-d specification, chapter 7 and appendix A).
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Fault reasons; the enumerators are the manual's numbers. Codes of one number that the manual tells apart only in
/// prose (LCT.4.1, LCT.4.2 …) share an enumerator.
enum class reason : std::uint8_t {
    none = 0x00,                        ///< Not a recorded fault.
    root_not_present = 0x01,            ///< LRT.2: root entry with P = 0.
    context_not_present = 0x02,         ///< LCT.2: context entry with P = 0.
    context_invalid = 0x03,             ///< LCT.4: AW or TT unsupported, or the second-stage root table cannot be read.
    address_beyond_width = 0x04,        ///< LGN.1: input above the limit.
    write_denied = 0x05,                ///< LGN.2: write or atomic without W.
    read_denied = 0x06,                 ///< LGN.3: read or atomic without R.
    table_unreadable = 0x07,            ///< LSS.1: a second-stage table below the root table cannot be read.
    root_unreadable = 0x08,             ///< LRT.1: the root entry cannot be read.
    context_unreadable = 0x09,          ///< LCT.1: the context entry cannot be read.
    root_reserved = 0x0a,               ///< LRT.3: reserved bits of the root entry are set.
    context_reserved = 0x0b,            ///< LCT.3: reserved bits of the context entry are set.
    table_reserved = 0x0c,              ///< LSS.2: reserved bits of a second-stage entry with R or W are set.
    request_blocked = 0x0d,             ///< LCT.5: TT blocks translation and translated requests.
    output_in_interrupt_range = 0x0e,   ///< LGN.4: the output lies in FEEx_xxxxh.
    interrupt_request_illegal = 0x29,   ///< A request without PASID to FEEx_xxxxh that is no DWORD write.
    root_pointer_invalid = 0x30,        ///< RTA.1: the translation table mode is reserved or unsupported.
    pasid_in_legacy_mode = 0x31,        ///< RTA.2: a request with PASID in legacy mode.
    page_request_in_legacy_mode = 0x32, ///< RTA.3: a page request in legacy mode.
    dma_aborted = 0x33,                 ///< RTA.4: abort-DMA mode.
};

/// What a requester asks the address translation for (PCIe AT field; page requests are messages).
enum class request_type : std::uint8_t {
    untranslated = 0, ///< AT = 00b: an ordinary access.
    translation = 1,  ///< AT = 01b: an ATS translation request.
    translated = 2,   ///< AT = 10b: an access with an address that ATS gave.
    page = 3,         ///< A page request message.
};

/// What the requester is told of a fault.
enum class response : std::uint8_t {
    unsupported_request, ///< UR.
    completer_abort,     ///< CA.
    success_no_rights,   ///< Success with R = W = U = S = 0: recoverable, hence not recorded.
    success_with_rights, ///< Success with the rights that there are: recoverable, hence not recorded.
    invalid_request,     ///< Page response "Invalid Request", or the message is dropped.
};

/// Whether the fault-processing-disable bit of an entry on the path suppresses the record of \p r ("qualified", table
/// of chapter 7).
[[nodiscard]] constexpr bool is_qualified(reason r) {
    switch (r) {
    case reason::none:
    case reason::root_not_present:
    case reason::root_unreadable:
    case reason::context_unreadable:
    case reason::root_reserved:
    case reason::interrupt_request_illegal:
    case reason::root_pointer_invalid:
    case reason::pasid_in_legacy_mode:
    case reason::page_request_in_legacy_mode:
    case reason::dma_aborted:
        return false;
    default:
        return true;
    }
}

/// What a requester of type \p t is told of \p r (table of chapter 7).
[[nodiscard]] constexpr response response_to(reason r, request_type t) {
    if (t == request_type::page) return response::invalid_request;
    if (t != request_type::translation) return response::unsupported_request;
    switch (r) {
    case reason::address_beyond_width:
        return response::success_no_rights;
    case reason::write_denied:
    case reason::read_denied:
        return response::success_with_rights;
    case reason::root_unreadable:
    case reason::root_reserved:
    case reason::context_unreadable:
    case reason::context_reserved:
    case reason::context_invalid:
    case reason::table_unreadable:
    case reason::table_reserved:
    case reason::output_in_interrupt_range:
    case reason::root_pointer_invalid:
        return response::completer_abort;
    default:
        return response::unsupported_request;
    }
}

/// Whether \p r reported to a requester of type \p t is recoverable: ATS tells the device, and nothing is recorded.
[[nodiscard]] constexpr bool is_recoverable(reason r, request_type t) {
    response const answer = response_to(r, t);
    return answer == response::success_no_rights || answer == response::success_with_rights;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
