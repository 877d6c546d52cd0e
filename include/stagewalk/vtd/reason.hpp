/// \file
/// VT-d fault reasons and what the requester is told (VT-d chapter 7 and
/// appendix A).
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Fault reasons; the enumerators are the manual's numbers. Conditions that
/// share a number share an enumerator. 01h to 0eh are legacy mode's, 20h to 2bh
/// interrupt remapping's, 38h and above scalable mode's. Those of host permission
/// tables are there for who meets them in a record: no unit of this library raises them.
enum class reason : std::uint8_t {
    none = 0x00,                               ///< Not a recorded fault.
    root_not_present = 0x01,                   ///< LRT.2: root entry with P = 0.
    context_not_present = 0x02,                ///< LCT.2: context entry with P = 0.
    context_invalid = 0x03,                    ///< LCT.4: AW or TT unsupported, or the second-stage
                                               ///< root table cannot be read.
    address_beyond_width = 0x04,               ///< LGN.1: input above the limit.
    write_denied = 0x05,                       ///< LGN.2: write or atomic without W.
    read_denied = 0x06,                        ///< LGN.3: read or atomic without R.
    table_unreadable = 0x07,                   ///< LSS.1: a second-stage table below the root table
                                               ///< cannot be read.
    root_unreadable = 0x08,                    ///< LRT.1: the root entry cannot be read.
    context_unreadable = 0x09,                 ///< LCT.1: the context entry cannot be read.
    root_reserved = 0x0a,                      ///< LRT.3: reserved bits of the root entry are set.
    context_reserved = 0x0b,                   ///< LCT.3: reserved bits of the context entry are set.
    table_reserved = 0x0c,                     ///< LSS.2: reserved bits of a second-stage entry with
                                               ///< R or W are set.
    request_blocked = 0x0d,                    ///< LCT.5: TT blocks translation and translated requests.
    output_in_interrupt_range = 0x0e,          ///< LGN.4: the output lies in FEEx_xxxxh.
    interrupt_reserved = 0x20,                 ///< reserved field of a remappable interrupt request.
    interrupt_index = 0x21,                    ///< the interrupt index is beyond the table, or the
                                               ///< entry's address beyond HAW.
    interrupt_not_present = 0x22,              ///< interrupt remapping entry with P = 0.
    interrupt_unreadable = 0x23,               ///< the interrupt remapping table cannot be read.
    interrupt_entry_reserved = 0x24,           ///< reserved fields of a present interrupt remapping entry are set.
    interrupt_compatibility_blocked = 0x25,    ///< a compatibility-format interrupt
                                               ///< request while those are blocked.
    interrupt_source = 0x26,                   ///< the requester is not the one that the entry names.
    posted_descriptor_unreadable = 0x27,       ///< the posted-interrupt descriptor cannot be accessed.
    posted_descriptor_reserved = 0x28,         ///< reserved fields of the posted-interrupt descriptor are set.
    interrupt_request_illegal = 0x29,          ///< a request without PASID to FEEx_xxxxh that is no DWORD write.
    interrupt_mode_required = 0x2a,            ///< interrupts are blocked while IRTA.EIME = 0 (ECAP.EIMER).
    interrupt_remapping_required = 0x2b,       ///< interrupts are blocked while interrupt remapping is off
                                               ///< (ECAP.IRREQ).
    root_pointer_invalid = 0x30,               ///< RTA.1: the translation table mode is reserved or unsupported.
    pasid_in_legacy_mode = 0x31,               ///< RTA.2: a request with PASID in legacy mode.
    page_request_in_legacy_mode = 0x32,        ///< RTA.3: a page request in legacy mode.
    dma_aborted = 0x33,                        ///< RTA.4: abort-DMA mode.
    execute_unsupported = 0x34,                ///< RTA.5: an execute request to a unit of major
                                               ///< version 8 or later.
    scalable_root_unreadable = 0x38,           ///< SRT.1: the scalable root entry cannot be read.
    scalable_root_not_present = 0x39,          ///< SRT.2: the half of the scalable root entry has LP or UP = 0.
    scalable_root_reserved = 0x3a,             ///< SRT.3: reserved bits of the scalable root entry are set.
    scalable_context_unreadable = 0x40,        ///< SCT.1: the scalable context entry cannot be read.
    scalable_context_not_present = 0x41,       ///< SCT.2: scalable context entry with P = 0.
    scalable_context_reserved = 0x42,          ///< SCT.3: reserved bits of the scalable context entry are set.
    scalable_context_invalid = 0x43,           ///< SCT.4: PRE without DTE, RID_PASID beyond
                                               ///< PDTS, or EPTR without PASIDE.
    device_tlb_disabled = 0x44,                ///< SCT.5: a translation or translated request with DTE = 0.
    pasid_disabled = 0x45,                     ///< SCT.6: a request with PASID with PASIDE = 0.
    pasid_beyond_directory = 0x46,             ///< SCT.7: the PASID is beyond PDTS.
    page_requests_disabled = 0x47,             ///< SCT.8: a page request with PRE = 0.
    pasid_is_rid_pasid = 0x48,                 ///< SCT.9: the request's PASID is RID_PASID.
    translated_pasid_disabled = 0x49,          ///< SCT.10: a translated request with PASID with EPTR = 0.
    pasid_directory_unreadable = 0x50,         ///< SPD.1: the PASID directory entry cannot be read.
    pasid_directory_not_present = 0x51,        ///< SPD.2: PASID directory entry with P = 0.
    pasid_directory_reserved = 0x52,           ///< SPD.3: reserved bits of the PASID directory entry are set.
    pasid_entry_unreadable = 0x58,             ///< SPT.1: the PASID table entry cannot be read.
    pasid_entry_not_present = 0x59,            ///< SPT.2: PASID table entry with P = 0.
    pasid_entry_reserved = 0x5a,               ///< SPT.3: reserved bits of the PASID table entry are set.
    pasid_entry_invalid = 0x5b,                ///< SPT.4: AW, PGTT or FSPM unsupported, or
                                               ///< FSPTPTR beyond the second stage.
    execute_disabled = 0x5c,                   ///< SPT.5: an execute request with ECAP.ERS = 0.
    supervisor_disabled = 0x5d,                ///< SPT.6: a privileged request with SRE = 0.
    beyond_host_permission = 0x60,             ///< SPT.9: a translated address is beyond HPTSZ. Not raised.
    first_stage_unreadable = 0x70,             ///< SFS.1: a first-stage table below the root table cannot be read.
    first_stage_not_present = 0x71,            ///< SFS.2: first-stage entry with P = 0.
    first_stage_reserved = 0x72,               ///< SFS.3: reserved bits of a first-stage entry are set.
    first_stage_root_unreadable = 0x73,        ///< SFS.4: the first-stage root table cannot be read.
    first_stage_address_width = 0x74,          ///< SFS.5: nested: the address of a first-stage entry is beyond the
                                               ///< second stage.
    first_stage_root_not_readable = 0x75,      ///< SFS.6: nested: the second stage does not grant reading of the
                                               ///< first-stage root table.
    first_stage_table_not_readable = 0x76,     ///< SFS.7: nested: the second stage does not grant reading of a
                                               ///< first-stage table.
    first_stage_table_not_writable = 0x77,     ///< SFS.8: nested: the second stage does not grant writing A, EA or
                                               ///< D into a first-stage table.
    second_stage_unreadable = 0x78,            ///< SSS.1: a second-stage table below the
                                               ///< root table cannot be read.
    second_stage_not_present = 0x79,           ///< SSS.2: second-stage R = W = 0, in one entry or in all together.
    second_stage_reserved = 0x7a,              ///< SSS.3: reserved bits of a second-stage
                                               ///< entry with R or W are set.
    second_stage_root_unreadable = 0x7b,       ///< SSS.4: the second-stage root table cannot be read.
    second_stage_update_unsnooped = 0x7c,      ///< SSS.5: a second-stage A or D bit must be set and the walk does
                                               ///< not snoop.
    second_stage_update_failed = 0x7d,         ///< SSS.6: a second-stage A or D bit could not be set.
    not_canonical = 0x80,                      ///< SGN.1: the input address is not canonical.
    user_denied = 0x81,                        ///< SGN.2: a user request meets U/S = 0.
    output_beyond_host = 0x83,                 ///< SGN.4: a translated or passed-through address is above HAW.
    input_beyond_second_stage = 0x84,          ///< SGN.5: second-stage input above the limit.
    scalable_write_denied = 0x85,              ///< SGN.6: write or atomic without W in any stage.
    scalable_read_denied = 0x86,               ///< SGN.7: read or atomic without R in the second stage.
    scalable_output_in_interrupt_range = 0x87, ///< SGN.8: the output lies in FEEx_xxxxh.
    pasid_beyond_unit = 0x89,                  ///< SGN.10: the PASID is wider than ECAP.PSS.
    first_stage_update_unsnooped = 0x90,       ///< SFS.9: a first-stage A, EA or D bit must be set and the walk
                                               ///< does not snoop.
    first_stage_update_failed = 0x91,          ///< SFS.10: a first-stage A, EA or D bit could not be set.
    host_permission_unreadable = 0xa0,         ///< HPT.1: a host permission entry cannot be read. Not raised, as all that follow.
    host_permission_reserved = 0xa1,           ///< HPT.2: reserved bits of a host permission entry are set.
    host_permission_root_unreadable = 0xa2,    ///< HPT.3: the root of the host permission tables cannot be read.
    host_permission_zero_length = 0xa3,        ///< HPT.4: the walk of a zero-length read was terminated.
    host_permission_write_denied = 0xa4,       ///< HPT.5: write without W.
    host_permission_read_denied = 0xa5,        ///< HPT.6: read without R.
};

/// What a requester asks the address translation for (PCIe AT field; page
/// requests are messages).
enum class request_type : std::uint8_t {
    untranslated = 0, ///< AT = 00b: an ordinary access.
    translation = 1,  ///< AT = 01b: an ATS translation request.
    translated = 2,   ///< AT = 10b: an access with an address that ATS gave.
    reserved = 3,     ///< AT = 11b: refused without a fault.
    page = 4,         ///< A page request message.
};

/// What the requester is told of a fault.
enum class response : std::uint8_t {
    unsupported_request, ///< UR.
    completer_abort,     ///< CA.
    success_no_rights,   ///< Success with R = W = U = S = 0.
    success_with_rights, ///< Success with the rights that there are.
    invalid_request,     ///< Page response "Invalid Request", or the message is
                         ///< dropped.
};

/// One line of the manual's table of fault reasons.
struct reason_row {
    reason code;           ///< The reason.
    bool qualified;        ///< Whether FPD on the path suppresses its record.
    response untranslated; ///< What an untranslated request is told.
    response translation;  ///< What a translation request is told.
    response translated;   ///< What a translated request is told.
};

namespace detail {

inline constexpr response UR = response::unsupported_request;
inline constexpr response CA = response::completer_abort;
inline constexpr response S0 = response::success_no_rights;
inline constexpr response SP = response::success_with_rights;

// clang-format off
inline constexpr reason_row reason_rows[] = {
    // reason                                   qualified  untranslated, translation, translated
    {reason::root_not_present, false, UR, UR, UR},
    {reason::context_not_present, true, UR, UR, UR},
    {reason::context_invalid, true, UR, CA, UR},
    {reason::address_beyond_width, true, UR, S0, UR},
    {reason::write_denied, true, UR, SP, UR},
    {reason::read_denied, true, UR, SP, UR},
    {reason::table_unreadable, true, UR, CA, UR},
    {reason::root_unreadable, false, UR, CA, UR},
    {reason::context_unreadable, false, UR, CA, UR},
    {reason::root_reserved, false, UR, CA, UR},
    {reason::context_reserved, true, UR, CA, UR},
    {reason::table_reserved, true, UR, CA, UR},
    {reason::request_blocked, true, UR, UR, UR},
    {reason::output_in_interrupt_range, true, UR, CA, UR},
    {reason::interrupt_reserved, false, UR, UR, UR},
    {reason::interrupt_index, false, UR, UR, UR},
    {reason::interrupt_not_present, true, UR, UR, UR},
    {reason::interrupt_unreadable, false, UR, UR, UR},
    {reason::interrupt_entry_reserved, true, UR, UR, UR},
    {reason::interrupt_compatibility_blocked, false, UR, UR, UR},
    {reason::interrupt_source, true, UR, UR, UR},
    {reason::posted_descriptor_unreadable, true, UR, UR, UR},
    {reason::posted_descriptor_reserved, true, UR, UR, UR},
    {reason::interrupt_request_illegal, false, UR, UR, UR},
    {reason::interrupt_mode_required, false, UR, UR, UR},
    {reason::interrupt_remapping_required, false, UR, UR, UR},
    {reason::root_pointer_invalid, false, UR, CA, UR},
    {reason::pasid_in_legacy_mode, false, UR, UR, UR},
    {reason::page_request_in_legacy_mode, false, UR, UR, UR},
    {reason::dma_aborted, false, UR, UR, UR},
    {reason::execute_unsupported, false, UR, UR, UR},
    {reason::scalable_root_unreadable, false, UR, CA, UR},
    {reason::scalable_root_not_present, false, UR, UR, UR},
    {reason::scalable_root_reserved, false, UR, CA, UR},
    {reason::scalable_context_unreadable, false, UR, CA, UR},
    {reason::scalable_context_not_present, true, UR, UR, UR},
    {reason::scalable_context_reserved, true, UR, CA, UR},
    {reason::scalable_context_invalid, true, UR, CA, UR},
    {reason::device_tlb_disabled, true, UR, UR, UR},
    {reason::pasid_disabled, true, UR, UR, UR},
    {reason::pasid_beyond_directory, true, UR, UR, UR},
    {reason::page_requests_disabled, true, UR, UR, UR},
    {reason::pasid_is_rid_pasid, true, UR, UR, UR},
    {reason::translated_pasid_disabled, true, UR, UR, UR},
    {reason::pasid_directory_unreadable, false, UR, CA, CA},
    {reason::pasid_directory_not_present, true, UR, S0, UR},
    {reason::pasid_directory_reserved, true, UR, CA, CA},
    {reason::pasid_entry_unreadable, false, UR, CA, CA},
    {reason::pasid_entry_not_present, true, UR, S0, UR},
    {reason::pasid_entry_reserved, true, UR, CA, CA},
    {reason::pasid_entry_invalid, true, UR, CA, CA},
    {reason::execute_disabled, true, UR, S0, UR},
    {reason::supervisor_disabled, true, UR, S0, UR},
    {reason::beyond_host_permission, true, UR, UR, UR},
    {reason::first_stage_unreadable, true, UR, S0, UR},
    {reason::first_stage_not_present, true, UR, S0, UR},
    {reason::first_stage_reserved, true, UR, S0, UR},
    {reason::first_stage_root_unreadable, true, UR, S0, UR},
    {reason::first_stage_address_width, true, UR, S0, UR},
    {reason::first_stage_root_not_readable, true, UR, S0, UR},
    {reason::first_stage_table_not_readable, true, UR, S0, UR},
    {reason::first_stage_table_not_writable, true, UR, S0, UR},
    {reason::second_stage_unreadable, true, UR, CA, UR},
    {reason::second_stage_not_present, true, UR, S0, UR},
    {reason::second_stage_reserved, true, UR, CA, UR},
    {reason::second_stage_root_unreadable, true, UR, CA, UR},
    {reason::second_stage_update_unsnooped, true, UR, CA, UR},
    {reason::second_stage_update_failed, true, UR, CA, UR},
    {reason::not_canonical, true, UR, S0, UR},
    {reason::user_denied, true, UR, S0, UR},
    {reason::output_beyond_host, true, UR, S0, UR},
    {reason::input_beyond_second_stage, true, UR, S0, UR},
    {reason::scalable_write_denied, true, UR, SP, UR},
    {reason::scalable_read_denied, true, UR, SP, UR},
    {reason::scalable_output_in_interrupt_range, true, UR, CA, UR},
    {reason::pasid_beyond_unit, true, UR, UR, UR},
    {reason::first_stage_update_unsnooped, true, UR, S0, UR},
    {reason::first_stage_update_failed, true, UR, S0, UR},
    {reason::host_permission_unreadable, true, UR, UR, CA},
    {reason::host_permission_reserved, true, UR, UR, CA},
    {reason::host_permission_root_unreadable, true, UR, UR, CA},
    {reason::host_permission_zero_length, true, UR, UR, UR},
    {reason::host_permission_write_denied, true, UR, UR, UR},
    {reason::host_permission_read_denied, true, UR, UR, UR},
};
// clang-format on

} // namespace detail

/// The manual's line for \p r; that of an unqualified reason answered with UR
/// if there is none.
[[nodiscard]] constexpr reason_row row_of(reason r) {
    for (reason_row const& row : detail::reason_rows)
        if (row.code == r) return row;
    return {r, false, detail::UR, detail::UR, detail::UR};
}

/// Whether the fault-processing-disable bit of an entry on the path suppresses
/// the record of \p r.
[[nodiscard]] constexpr bool is_qualified(reason r) { return row_of(r).qualified; }

/// What a requester of type \p t is told of \p r.
[[nodiscard]] constexpr response response_to(reason r, request_type t) {
    switch (t) {
    case request_type::untranslated: return row_of(r).untranslated;
    case request_type::translation: return row_of(r).translation;
    case request_type::translated: return row_of(r).translated;
    case request_type::reserved: return response::unsupported_request;
    case request_type::page: break;
    }
    return response::invalid_request;
}

/// Whether \p r reported to a requester of type \p t is recoverable: ATS tells
/// the device, and nothing is recorded. A failed update of a first-stage entry
/// (91h) is recorded all the same.
[[nodiscard]] constexpr bool is_recoverable(reason r, request_type t) {
    response const answer = response_to(r, t);
    return (answer == response::success_no_rights || answer == response::success_with_rights) &&
           r != reason::first_stage_update_failed;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
