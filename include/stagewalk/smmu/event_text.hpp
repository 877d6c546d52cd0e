/// \file
/// SMMUv3 events in words.
#pragma once

#include "context_check.hpp"
#include "event.hpp"
#include "stream_check.hpp"

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The manual's name of \p e: `F_TRANSLATION`; `none` where there is no event. Never null.
[[nodiscard]] constexpr char const* name_of(event e) {
    switch (e) {
    case event::none: return "none";
    case event::f_uut: return "F_UUT";
    case event::c_bad_streamid: return "C_BAD_STREAMID";
    case event::f_ste_fetch: return "F_STE_FETCH";
    case event::c_bad_ste: return "C_BAD_STE";
    case event::f_bad_ats_treq: return "F_BAD_ATS_TREQ";
    case event::f_stream_disabled: return "F_STREAM_DISABLED";
    case event::f_transl_forbidden: return "F_TRANSL_FORBIDDEN";
    case event::c_bad_substreamid: return "C_BAD_SUBSTREAMID";
    case event::f_cd_fetch: return "F_CD_FETCH";
    case event::c_bad_cd: return "C_BAD_CD";
    case event::f_walk_eabt: return "F_WALK_EABT";
    case event::f_translation: return "F_TRANSLATION";
    case event::f_addr_size: return "F_ADDR_SIZE";
    case event::f_access: return "F_ACCESS";
    case event::f_permission: return "F_PERMISSION";
    case event::f_tlb_conflict: return "F_TLB_CONFLICT";
    case event::f_cfg_conflict: return "F_CFG_CONFLICT";
    case event::e_page_request: return "E_PAGE_REQUEST";
    case event::f_vms_fetch: return "F_VMS_FETCH";
    }
    return "unknown";
}

/// One line that says to a person what \p e means. Never null.
[[nodiscard]] constexpr char const* text_of(event e) {
    switch (e) {
    case event::none: return "the request is aborted without an event";
    case event::f_uut: return "the kind of request is not supported";
    case event::c_bad_streamid: return "the stream table has no entry for the stream";
    case event::f_ste_fetch: return "the stream table cannot be read";
    case event::c_bad_ste: return "the stream table entry is illegal";
    case event::f_bad_ats_treq: return "the device may not ask for translations";
    case event::f_stream_disabled: return "the stream table entry forbids requests with this substream, or without one";
    case event::f_transl_forbidden: return "the device may not use translated addresses";
    case event::c_bad_substreamid: return "the stream has no such substream";
    case event::f_cd_fetch: return "the context descriptor cannot be read";
    case event::c_bad_cd: return "the context descriptor is illegal";
    case event::f_walk_eabt: return "a table descriptor cannot be read or updated";
    case event::f_translation: return "the address is not mapped";
    case event::f_addr_size: return "an address is wider than allowed";
    case event::f_access: return "the access flag of the page is clear";
    case event::f_permission: return "the mapping does not grant the access";
    case event::f_tlb_conflict: return "cached translations contradict each other";
    case event::f_cfg_conflict: return "cached configurations contradict each other";
    case event::e_page_request: return "the device expects to need a page";
    case event::f_vms_fetch: return "the virtual machine structure cannot be read";
    }
    return "an event that this library does not raise";
}

/// The enumerator's name of \p e, for machines: `stage2_size`. Never null.
[[nodiscard]] constexpr char const* name_of(stream_entry_error e) {
    switch (e) {
    case stream_entry_error::none: return "none";
    case stream_entry_error::not_valid: return "not_valid";
    case stream_entry_error::no_stage1: return "no_stage1";
    case stream_entry_error::no_stage2: return "no_stage2";
    case stream_entry_error::split_ats: return "split_ats";
    case stream_entry_error::ats_stalls: return "ats_stalls";
    case stream_entry_error::stream_world: return "stream_world";
    case stream_entry_error::stall_disable: return "stall_disable";
    case stream_entry_error::substream_size: return "substream_size";
    case stream_entry_error::two_level_contexts: return "two_level_contexts";
    case stream_entry_error::context_pointer: return "context_pointer";
    case stream_entry_error::stalls: return "stalls";
    case stream_entry_error::does_not_stall: return "does_not_stall";
    case stream_entry_error::table_format: return "table_format";
    case stream_entry_error::updates: return "updates";
    case stream_entry_error::dirty_updates: return "dirty_updates";
    case stream_entry_error::table_updates: return "table_updates";
    case stream_entry_error::stage2_granule: return "stage2_granule";
    case stream_entry_error::stage2_table: return "stage2_table";
    case stream_entry_error::stage2_size: return "stage2_size";
    case stream_entry_error::stage2_start: return "stage2_start";
    case stream_entry_error::endianness: return "endianness";
    case stream_entry_error::vmid: return "vmid";
    }
    return "unknown";
}

/// One line that says to a person why a stream table entry is illegal. Never null.
[[nodiscard]] constexpr char const* text_of(stream_entry_error e) {
    switch (e) {
    case stream_entry_error::none: return "the stream table entry is legal";
    case stream_entry_error::not_valid: return "the stream table entry is not valid (V = 0)";
    case stream_entry_error::no_stage1: return "the stream table entry asks for stage 1, which the unit lacks";
    case stream_entry_error::no_stage2: return "the stream table entry asks for stage 2, which the unit lacks";
    case stream_entry_error::split_ats: return "the stream table entry allows split-stage ATS where there is none";
    case stream_entry_error::ats_stalls: return "the stream table entry allows ATS and stalls stage-2 faults";
    case stream_entry_error::stream_world: return "the stream table entry names a stream world that there is not (STRW)";
    case stream_entry_error::stall_disable: return "the stream table entry forbids stalls where nobody can choose (S1STALLD)";
    case stream_entry_error::substream_size: return "the stream table entry has more substreams than the unit (S1CDMax)";
    case stream_entry_error::two_level_contexts:
        return "the stream table entry has context tables of two levels, which the unit lacks";
    case stream_entry_error::context_pointer: return "the stream table entry's context pointer is too wide (S1ContextPtr)";
    case stream_entry_error::stalls: return "the stream table entry stalls faults where nothing stalls (S2S)";
    case stream_entry_error::does_not_stall: return "the stream table entry does not stall faults where everything does (S2S)";
    case stream_entry_error::table_format: return "the stream table entry names a table format that the unit lacks (S2AA64)";
    case stream_entry_error::updates: return "the stream table entry asks for updates that the unit cannot make (S2HA, S2HD)";
    case stream_entry_error::dirty_updates: return "the stream table entry asks for a dirty state, which the unit lacks (S2HD)";
    case stream_entry_error::table_updates: return "the stream table entry has S2HAFT without S2HA";
    case stream_entry_error::stage2_granule: return "the stream table entry names a granule that the unit lacks (S2TG)";
    case stream_entry_error::stage2_table: return "the stream table entry's table pointer is too wide (S2TTB)";
    case stream_entry_error::stage2_size: return "the stream table entry's address size is out of range (S2T0SZ)";
    case stream_entry_error::stage2_start: return "the stream table entry's start level does not fit its address size (S2SL0)";
    case stream_entry_error::endianness: return "the stream table entry names a byte order that the unit lacks (S2ENDI)";
    case stream_entry_error::vmid: return "the stream table entry's VMID is wider than the unit's";
    }
    return "an error that this library does not raise";
}

/// The enumerator's name of \p e, for machines: `not_valid`. Never null.
[[nodiscard]] constexpr char const* name_of(context_error e) {
    switch (e) {
    case context_error::none: return "none";
    case context_error::not_valid: return "not_valid";
    case context_error::stall_disabled: return "stall_disabled";
    case context_error::terminates: return "terminates";
    case context_error::stalls: return "stalls";
    case context_error::does_not_stall: return "does_not_stall";
    case context_error::endianness: return "endianness";
    case context_error::table_format: return "table_format";
    case context_error::updates: return "updates";
    case context_error::dirty_updates: return "dirty_updates";
    case context_error::table_updates: return "table_updates";
    case context_error::asid: return "asid";
    case context_error::size: return "size";
    case context_error::granule: return "granule";
    case context_error::table: return "table";
    }
    return "unknown";
}

/// One line that says to a person why a context descriptor is illegal. Never null.
[[nodiscard]] constexpr char const* text_of(context_error e) {
    switch (e) {
    case context_error::none: return "the context descriptor is legal";
    case context_error::not_valid: return "the context descriptor is not valid (V = 0)";
    case context_error::stall_disabled: return "the context descriptor stalls faults, which the stream table entry forbids";
    case context_error::terminates: return "the context descriptor does not abort where the unit knows nothing else (A)";
    case context_error::stalls: return "the context descriptor stalls faults where nothing stalls (S)";
    case context_error::does_not_stall: return "the context descriptor does not stall faults where everything does (S)";
    case context_error::endianness: return "the context descriptor names a byte order that the unit lacks (ENDI)";
    case context_error::table_format: return "the context descriptor names a table format that the unit lacks (AA64)";
    case context_error::updates: return "the context descriptor asks for updates that the unit cannot make (HA, HD)";
    case context_error::dirty_updates: return "the context descriptor asks for a dirty state, which the unit lacks (HD)";
    case context_error::table_updates: return "the context descriptor has HAFT without HA";
    case context_error::asid: return "the context descriptor's ASID is wider than the unit's";
    case context_error::size: return "the context descriptor's address size is out of range (T0SZ, T1SZ)";
    case context_error::granule: return "the context descriptor names a granule that the unit lacks (TG0, TG1)";
    case context_error::table: return "the context descriptor's table pointer is too wide (TTB0, TTB1)";
    }
    return "an error that this library does not raise";
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
