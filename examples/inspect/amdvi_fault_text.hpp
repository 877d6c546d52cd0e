/// \file
/// What an event of an AMD IOMMU means, as far as its flags tell.
#pragma once

#include <stagewalk/amdvi/device_table.hpp>
#include <stagewalk/amdvi/event.hpp>
#include <stagewalk/amdvi/event_text.hpp>
#include <stagewalk/stagewalk.hpp>

#include <cstdint>

namespace inspect {

/// Why an entry of a page table is refused that gives \p detail.
[[nodiscard]] constexpr char const* refusal_text(std::uint64_t detail) {
    namespace bit = stagewalk::amdvi::fault_detail;
    if ((detail & bit::present) == 0) return "the address is not mapped";
    if ((detail & bit::permission) != 0) return "the access is not granted";
    if ((detail & bit::reserved) != 0) return "a table entry has a reserved bit set";
    return "a table entry's level or page size is illegal";
}

/// One line for people: of some events the reason tells more than the name.
[[nodiscard]] constexpr char const* meaning_of(stagewalk::fault<stagewalk::amdvi::event> const& f) {
    namespace amdvi = stagewalk::amdvi;
    namespace bit = amdvi::fault_detail;
    switch (f.code) {
    case amdvi::event::illegal_dev_table_entry: return text_of(static_cast<amdvi::device_entry_error>(f.detail & 0xffff));
    case amdvi::event::invalid_device_request: return text_of(static_cast<amdvi::invalid_request>(f.detail >> bit::type_at & 7));
    case amdvi::event::io_page_fault: break;
    default: return text_of(f.code);
    }
    if (f.stage != stagewalk::fault_stage::configuration)
        return f.level == stagewalk::no_level ? "the address is beyond the tables" : refusal_text(f.detail);
    // The entry to blame is one of the device table, which is valid, or of a GCR3 table.
    if ((f.detail & bit::permission) != 0) return "the device table entry does not grant the access (IR, IW)";
    if ((f.detail & bit::reserved) != 0) return "a GCR3 table entry has a reserved bit set";
    amdvi::device_table_entry const e{f.entry};
    return e.get<"V">() != 0 && e.get<"TV">() == 0 ? "the device table entry translates nothing (TV)"
                                                   : "there are no guest tables for the PASID";
}

} // namespace inspect
