/// \file
/// The 16 bytes that an AMD IOMMU writes into its event log and its PPR log (48882 2.5 and 2.6).
#pragma once

#include "../core/fault.hpp"
#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "device_table.hpp"
#include "event.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// An event of a request or an interrupt: codes 1 to 4, and 8; of guest_event_fault and viommu_hardware_error too little is known
/// to name more. Which fields count depends on the code.
struct event_record : entry<128, field<"DeviceID", 15, 0>,    //
                            field<"PASID 19:16", 19, 16>,     // with GN
                            field<"vNR", 27>,                 // marks of a hardware vIOMMU
                            field<"vEvent", 29>,              //
                            field<"vPtr", 30>,                //
                            field<"vCmd", 31>,                //
                            field<"DomainID", 47, 32>,        // with GN: PASID 15:0
                            field<"GN", 48>,                  // guest translation: the PASID counts
                            field<"NX", 49>,                  // an instruction was to be read
                            field<"US", 50>,                  // a user's request
                            field<"I", 51>,                   // an interrupt, not memory
                            field<"PR", 52>,                  // the entry to blame is present
                            field<"RW", 53>,                  // the access writes
                            field<"PE", 54>,                  // the access is not granted
                            field<"RZ", 55>,                  // a reserved bit is set; else, with PR, a bad encoding
                            field<"TR", 56>,                  // an ATS translation request
                            field<"Type", 59, 57>,            // see invalid_request; of a hardware error see hardware_error
                            field<"EventCode", 63, 60>,       // see event
                            pointer_field<"Address", 127, 64> // of the request, or of the entry that could not be read
                            > {
    using entry::entry;

    /// Whether it has been written: the tail may be seen before the entry. Software clears the entry when it is done with it.
    [[nodiscard]] constexpr bool is_written() const { return get<"EventCode">() != 0; }
    /// The PASID. Of an event with GN.
    [[nodiscard]] constexpr std::uint32_t pasid() const {
        return static_cast<std::uint32_t>(get<"PASID 19:16">() << 16 | get<"DomainID">());
    }
};

/// ILLEGAL_COMMAND_ERROR, COMMAND_HARDWARE_ERROR and IOTLB_INV_TIMEOUT (48882 2.5.6 to 2.5.8).
struct command_event_record : entry<128, field<"DeviceID", 15, 0>,    // IOTLB_INV_TIMEOUT: whose
                                    field<"Type", 58, 57>,            // COMMAND_HARDWARE_ERROR: see hardware_error
                                    field<"EventCode", 63, 60>,       // see event
                                    pointer_field<"Address", 127, 64> // of the command, or of what it could not store
                                    > {
    using entry::entry;
};

/// INVALID_PPR_REQUEST (48882 2.5.10).
struct invalid_ppr_record : entry<128, field<"DeviceID", 15, 0>,    //
                                  field<"PASID 15:0", 31, 16>,      // with GN
                                  field<"PPR Tag", 41, 32>,         // of the page request
                                  field<"PASID 19:16", 45, 42>,     // with GN
                                  field<"GN", 48>,                  // the page request has a PASID
                                  field<"Flags", 59, 49>,           // as in event_record
                                  field<"EventCode", 63, 60>,       // 9
                                  pointer_field<"Address", 127, 64> // of the page
                                  > {
    using entry::entry;
};

/// EVENT_COUNTER_ZERO (48882 2.5.11).
struct counter_record : entry<128, field<"EventCode", 63, 60>,  // 0ah
                              pointer_field<"Counter", 127, 64> // which one
                              > {
    using entry::entry;
};

/// RMP_PAGE_FAULT and RMP_HARDWARE_ERROR (48882 2.5). This library raises neither.
struct rmp_record : entry<128, field<"DeviceID", 15, 0>,    //
                          field<"RMP Flags", 23, 16>,       // RMP_PAGE_FAULT
                          field<"VMTag", 47, 32>,           //
                          field<"Flags", 59, 48>,           // as in event_record
                          field<"EventCode", 63, 60>,       // 0dh or 0eh
                          pointer_field<"Address", 127, 64> // the guest's address, or the entry's in bits 63:3
                          > {
    using entry::entry;
};

/// PAGE_SERVICE_REQUEST, an entry of the PPR log (48882 2.6).
struct ppr_record : entry<128, field<"DeviceID", 15, 0>,    //
                          field<"PASID 15:0", 31, 16>,      // with GN
                          field<"PPR Tag", 41, 32>,         // which page request
                          field<"PASID 19:16", 45, 42>,     // with GN
                          field<"Execute", 49>,             // what is asked for: an instruction,
                          field<"Read", 50>,                // reading,
                          field<"Write", 53>,               // writing
                          field<"User", 54>,                // by a user
                          field<"RZ", 55>,                  // the page cannot come: a reserved bit is set
                          field<"GN", 56>,                  // it has a PASID
                          field<"PPRCode", 63, 60>,         // 1
                          pointer_field<"Address", 127, 64> // the page
                          > {
    using entry::entry;

    /// Whether it has been written: the tail may be seen before the entry.
    [[nodiscard]] constexpr bool is_written() const { return get<"PPRCode">() != 0; }
};

/// The event log entry of fault \p f of a request or an interrupt of \p source. Whether it is written at all says `f.reported`.
/// \param f the fault; its `detail` is as event.hpp tells.
/// \param source the DeviceID.
[[nodiscard]] constexpr event_record to_record(fault<event> const& f, std::uint16_t source) {
    event_record e;
    e.word[0] = f.detail & fault_detail::recorded;
    e.set<"DeviceID">(source);
    e.set<"EventCode">(static_cast<std::uint64_t>(f.code));
    // Where there is no device table entry, the address is not told either.
    bool const has_entry = (f.detail & low_mask(16)) != static_cast<std::uint64_t>(device_entry_error::beyond_table);
    switch (f.code) {
    case event::illegal_dev_table_entry: e.word[1] = has_entry ? f.input & ~low_mask(2) : 0; break;
    case event::io_page_fault: e.word[1] = has_entry ? f.input : 0; break;
    case event::dev_tab_hardware_error:
    case event::page_tab_hardware_error: e.word[1] = f.descriptor; break;
    default: e.word[1] = f.input;
    }
    return e;
}
/// The event log entry of fault \p f of request \p r. Whether it is written at all says `f.reported`.
[[nodiscard]] constexpr event_record to_record(fault<event> const& f, request const& r) { return to_record(f, r.source); }

namespace detail {

[[nodiscard]] constexpr command_event_record command_record(event code, std::uint64_t at) {
    command_event_record e;
    e.set<"EventCode">(static_cast<std::uint64_t>(code));
    e.set<"Address">(at);
    return e;
}

// The fields of a page request that both logs have in the same place.
template <class Record>
constexpr void set_page_request(Record& e, request const& r, std::uint16_t tag) {
    e.template set<"DeviceID">(r.source);
    e.template set<"PPR Tag">(tag);
    if (!r.has_pasid()) return;
    e.template set<"GN">(1);
    e.template set<"PASID 15:0">(r.pasid);
    e.template set<"PASID 19:16">(r.pasid >> 16);
}

} // namespace detail

/// ILLEGAL_COMMAND_ERROR: command processing stops, the head stays at the command, Status.CmdBufRun is cleared.
/// \param at the system address of the command.
[[nodiscard]] constexpr command_event_record illegal_command(std::uint64_t at) {
    return detail::command_record(event::illegal_command_error, at);
}
/// COMMAND_HARDWARE_ERROR: the same happens.
/// \param at the system address of the command that could not be read, or of what could not be stored.
/// \param why the kind of error.
[[nodiscard]] constexpr command_event_record command_failed(std::uint64_t at, hardware_error why) {
    auto e = detail::command_record(event::command_hardware_error, at);
    e.set<"Type">(static_cast<std::uint64_t>(why));
    return e;
}
/// IOTLB_INV_TIMEOUT: the device \p source did not complete the command at system address \p at.
[[nodiscard]] constexpr command_event_record device_timed_out(std::uint16_t source, std::uint64_t at) {
    auto e = detail::command_record(event::iotlb_inv_timeout, at & ~low_mask(4));
    e.set<"DeviceID">(source);
    return e;
}
/// INVALID_PPR_REQUEST: page request \p r, with tag \p tag (10 bits), that the device must not make.
[[nodiscard]] constexpr invalid_ppr_record invalid_page_request(request const& r, std::uint16_t tag) {
    invalid_ppr_record e;
    detail::set_page_request(e, r, tag);
    e.set<"EventCode">(static_cast<std::uint64_t>(event::invalid_ppr_request));
    e.set<"Address">(r.address.value);
    return e;
}
/// The PPR log entry of page request \p r, with tag \p tag (10 bits). It is a user's if it has a PASID, unless the IOMMU knows
/// supervisors (USSup) and it says to be one's.
[[nodiscard]] constexpr ppr_record page_request(request const& r, std::uint16_t tag, capabilities const& caps) {
    ppr_record e;
    detail::set_page_request(e, r, tag);
    e.set<"Execute">(r.access.covers(execute));
    e.set<"Read">(r.access.covers(read));
    e.set<"Write">(r.access.covers(write));
    e.set<"User">(r.has_pasid() && !(caps.has<"USSup">() && r.access.covers(privileged)));
    e.set<"PPRCode">(1);
    e.set<"Address">(r.address.value & ~low_mask(12));
    return e;
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
