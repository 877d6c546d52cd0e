/// \file
/// Why an SMMU did not translate (IHI 0070 7.3), and what it says of the access.
#pragma once

#include "../core/access.hpp"
#include "../core/fault.hpp"
#include "../core/size.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The event numbers, with the manual's names.
enum class event : std::uint8_t {
    none = 0x00,               ///< Terminated without an event: Config = 0xx, or the SMMU is off.
    f_uut = 0x01,              ///< Unsupported kind of transaction.
    c_bad_streamid = 0x02,     ///< The StreamID is beyond the stream table.
    f_ste_fetch = 0x03,        ///< The stream table could not be read.
    c_bad_ste = 0x04,          ///< The stream table entry is illegal; see `stream_entry_error`.
    f_bad_ats_treq = 0x05,     ///< ATS translation request from where there must be none.
    f_stream_disabled = 0x06,  ///< S1DSS forbids the request.
    f_transl_forbidden = 0x07, ///< ATS translated request from where there must be none.
    c_bad_substreamid = 0x08,  ///< The SubstreamID is beyond the context descriptor table, or there is none.
    f_cd_fetch = 0x09,         ///< The context descriptor table could not be read.
    c_bad_cd = 0x0a,           ///< The context descriptor is illegal; see `context_error`.
    f_walk_eabt = 0x0b,        ///< A table descriptor could not be read or updated.
    f_translation = 0x10,      ///< Nothing is mapped there.
    f_addr_size = 0x11,        ///< An output address is wider than allowed.
    f_access = 0x12,           ///< The access flag is clear.
    f_permission = 0x13,       ///< The access is not granted.
    f_tlb_conflict = 0x20,     ///< Implementation defined.
    f_cfg_conflict = 0x21,     ///< Implementation defined.
    e_page_request = 0x24,     ///< A hint of the device.
    f_vms_fetch = 0x25,        ///< The VMS could not be read (MPAM).
};

/// Bits of `fault::detail` of an SMMU: bits 127:64 of the event record as far as they do not depend on the queue, and how the
/// access ended. In the place of the stall tag, bits 15:0, is what the record does not tell: of a c_bad_ste or c_bad_cd the
/// `stream_entry_error` or `context_error`, of an f_permission the rights that are missing, as in `access`. A stage alone,
/// without its unit, gives these only.
namespace fault_detail {
inline constexpr std::uint64_t stalled = std::uint64_t{1} << 31;      ///< Stall: the access waits for CMD_RESUME.
inline constexpr std::uint64_t privileged = std::uint64_t{1} << 33;   ///< PnU: the access was privileged.
inline constexpr std::uint64_t instruction = std::uint64_t{1} << 34;  ///< InD: an instruction was read.
inline constexpr std::uint64_t reading = std::uint64_t{1} << 35;      ///< RnW: the access read.
inline constexpr std::uint64_t second_stage = std::uint64_t{1} << 39; ///< S2.
inline constexpr std::uint64_t class_at = 40;                         ///< CLASS, 2 bits: 0 CD, 1 TT, 2 IN.
inline constexpr std::uint64_t table_read = std::uint64_t{1} << 44;   ///< TTRnW: a table was read, not updated; with CLASS = TT.
/// Not in the record: the access ends well, reads give zero and writes nothing (CD.A = 0).
inline constexpr std::uint64_t reads_zero = std::uint64_t{1} << 63;
/// What of it goes into the record.
inline constexpr std::uint64_t recorded = bit_mask(47, 16);
} // namespace fault_detail

/// Whether \p e says that a stage refused: such events obey CD.S, R and A or STE.S2S and S2R.
[[nodiscard]] constexpr bool is_stage_event(event e) {
    return e == event::f_translation || e == event::f_addr_size || e == event::f_access || e == event::f_permission;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
