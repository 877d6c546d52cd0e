/// \file
/// The 128 bits that a unit records of a fault (VT-d 9.9 and FRCD_REG in 11.4).
#pragma once

#include "../core/fault.hpp"
#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "reason.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Fault recording register FRCD_REG[n], at FRO * 16 + n * 16 bytes from the unit's registers (VT-d 11.4).
struct fault_record : entry<128,                         // bits
                            pointer_field<"FI", 63, 12>, // page of the input address
                            field<"SID", 79, 64>,        // source id
                            field<"T2", 92>,             // with T1 (T1, T2): 0 0 write, 0 1 page request, 1 0 read, 1 1 atomic
                            field<"PRIV", 93>,           // privileged request, if PP
                            field<"EXE", 94>,            // execute request, if PP and a read
                            field<"PP", 95>,             // the request carried a PASID
                            field<"FR", 103, 96>,        // fault reason, see reason
                            field<"PV", 123, 104>,       // the PASID
                            field<"AT", 125, 124>,       // address type, see request_type; 0 without ECAP.DT
                            field<"T1", 126>,            // see T2
                            field<"F", 127>              // the record is valid; software clears it
                            > {
    using entry::entry;
};

/// The record of fault \p f of request \p r, as a unit with capabilities \p caps writes it, F set.
/// Whether it may be written at all is `f.reported`.
/// \param caps the unit's capabilities.
/// \param f the fault; only its code enters the record.
/// \param r the request that was refused.
[[nodiscard]] constexpr fault_record to_record(capabilities const& caps, fault<reason> const& f, request const& r) {
    fault_record record;
    // Address bits above the widest supported table are forced to zero; a unit may have first-stage tables alone.
    std::uint64_t const first = caps.cap.get<"FS5LP">() != 0 ? 5 : 4;
    std::uint64_t const second = caps.deepest_second_stage();
    std::uint64_t const width = 12 + 9 * (second != 0 ? second : first);
    record.set<"FI">(r.address.value & low_mask(width));
    record.set<"SID">(r.source);
    record.set<"FR">(static_cast<std::uint64_t>(f.code));
    bool const reads = r.access.covers(read);
    bool const writes = r.access.covers(write);
    bool const page_request = r.type == request_type::page;
    record.set<"T1">(reads && !page_request);
    record.set<"T2">((reads && writes) || page_request);
    if (r.has_pasid()) {
        record.set<"PP">(1);
        record.set<"PV">(r.pasid);
        record.set<"PRIV">(r.access.covers(privileged));
        record.set<"EXE">(r.access.covers(execute) && reads && !writes);
    }
    if (caps.ecap.get<"DT">() != 0 && !page_request) record.set<"AT">(static_cast<std::uint64_t>(r.type));
    record.set<"F">(1);
    return record;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
