/// \file
/// What an event says of the request that was refused, and whether it is logged (48882 2.5).
#pragma once

#include "../core/access.hpp"
#include "../core/fault.hpp"
#include "../core/size.hpp"
#include "device_table.hpp"
#include "event.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Stands in `refused_for::pasid` where there is no guest translation.
inline constexpr std::uint64_t no_guest = ~std::uint64_t{0};

/// Whose tables refuse a request: what an event says beside the request.
struct refused_for {
    std::uint64_t pasid{no_guest}; ///< The PASID of guest translation, or no_guest.
    std::uint64_t domain{};        ///< Else the domain id.
    bool is_user{};                ///< Whether the request is a user's.
    bool is_silent{};              ///< DTE.SA: page faults are not logged.
    bool is_once{};                ///< DTE.SE: one is, no more.
};

/// Flags of an access in its event: RW, and NX for an instruction that a guest's tables were to give.
[[nodiscard]] constexpr std::uint64_t flags_of(access a) {
    return (a.covers(write) ? fault_detail::writing : 0) | (a.covers(execute) ? fault_detail::execute : 0);
}

/// Fault \p f of the tables for request \p r, complete: flags, domain or PASID, and whether it is logged.
/// \param f the fault; its code, place and `fault::detail` as the tables gave it, with RW and NX of the access that failed.
/// \param r the request.
/// \param whose whose tables they are.
[[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> refused_by_tables(fault<event> f, request const& r,
                                                                                 refused_for const& whose) {
    using namespace fault_detail;
    bool const is_guest = whose.pasid != no_guest;
    f.input = r.address.value;
    f.detail |= is_guest ? of_pasid(whose.pasid) | (whose.is_user ? user : 0) : whose.domain << domain_at;
    if (!is_guest) f.detail &= ~execute;
    if (r.type == request_type::translation) f.detail |= translation;
    if (f.code == event::page_tab_hardware_error) {
        f.detail &= ~(execute | user | present | permission | reserved);
        f.detail |= master_abort;
    } else {
        f.reported = !whose.is_silent && !(r.type == request_type::translation && is_refusal(f));
        if (f.reported && whose.is_once) f.detail |= once;
    }
    return f;
}

/// Where a fault of the configuration was found.
struct configuration_place {
    std::uint64_t address{}; ///< The device table entry's address, or 0.
    std::uint64_t entry{};   ///< Its first word, if it was read.
};

/// Fault \p code of the configuration for request \p r, with flags and type \p more.
[[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event>
refused_by_configuration(event code, request const& r, configuration_place const& place, std::uint64_t more = 0) {
    using namespace fault_detail;
    fault<event> f;
    f.code = code;
    f.at = fault_at::context;
    f.input = r.address.value;
    f.descriptor = place.address;
    f.entry = place.entry;
    f.detail = more;
    if (r.type == request_type::translation) f.detail |= translation;
    if (r.access.covers(write) && code != event::invalid_device_request) f.detail |= writing;
    if (r.has_pasid() && code != event::dev_tab_hardware_error) f.detail |= of_pasid(r.pasid);
    return f;
}

/// \p why as an event has it.
[[nodiscard]] constexpr std::uint64_t type_of(invalid_request why) {
    return static_cast<std::uint64_t>(why) << fault_detail::type_at;
}
/// \p why as an event has it, and what `fault::detail` tells beside the event.
[[nodiscard]] constexpr std::uint64_t type_of(device_entry_error why) {
    return static_cast<std::uint64_t>(why) | (is_reserved(why) ? fault_detail::reserved : 0);
}

/// What is wrong with the device table entry, of a fault that it caused; else `none`.
[[nodiscard]] constexpr device_entry_error entry_error_of(fault<event> const& f) {
    bool const of_entry =
        f.code == event::illegal_dev_table_entry || (f.code == event::io_page_fault && !f.descriptor && !f.entry);
    return of_entry ? static_cast<device_entry_error>(f.detail & low_mask(15)) : device_entry_error::none;
}
/// Why the request is invalid, of an `invalid_device_request`.
[[nodiscard]] constexpr invalid_request invalid_request_of(fault<event> const& f) {
    return static_cast<invalid_request>(f.detail >> fault_detail::type_at & low_mask(3));
}
/// Whether the device's next page faults are not logged after this one (DTE.SE).
[[nodiscard]] constexpr bool is_once(fault<event> const& f) {
    return f.code == event::io_page_fault && (f.detail & fault_detail::once) != 0;
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
