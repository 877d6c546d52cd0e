/// \file
/// Addresses that are not memory: interrupts, and HyperTransport's special ranges (48882 2.1.2, 2.2.2.1).
#pragma once

#include "../core/range.hpp"
#include "device_table.hpp"
#include "event.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// FEE0_0000h to FEEF_FFFFh in the space of \p Address.
template <class Address>
inline constexpr range<Address> interrupt_range = range<Address>::between(Address{0xfee0'0000}, Address{0xfeef'ffff});

/// FD_0000_0000h to FF_FFFF_FFFFh in the space of \p Address.
template <class Address>
inline constexpr range<Address> hypertransport_range = range<Address>::between(Address{0xfd'0000'0000}, Address{0xff'ffff'ffff});

/// What becomes of a request to HyperTransport's special ranges.
enum class ht_passage : std::uint8_t {
    translated, ///< It is translated like any other.
    forwarded,  ///< It passes unchanged.
    interrupt,  ///< It passes as an interrupt.
    refused,    ///< It is aborted: INVALID_DEVICE_REQUEST.
};

/// What becomes of a request to HyperTransport's special ranges, and why it is refused.
struct ht_verdict {
    ht_passage is{};       ///< What becomes of it.
    invalid_request why{}; ///< Refused: the type of the event.

    /// Verdicts are equal that say the same.
    friend constexpr bool operator==(ht_verdict const&, ht_verdict const&) = default;
};

/// Judges a request to address \p at in hypertransport_range of a device with entry \p e. The borders between its parts are not
/// confirmed by a second source.
/// \param at the address.
/// \param e the device table entry, valid.
/// \param asks whether it is an ATS translation request.
/// \param writes whether it is a plain write: no atomic operation.
template <class Address>
[[nodiscard]] constexpr ht_verdict judge_ht(Address at, device_table_entry const& e, bool asks, bool writes) {
    auto const within = [at](std::uint64_t first, std::uint64_t last) {
        return range<Address>::between(Address{first}, Address{last}).contains(at);
    };
    constexpr auto refuse = [](invalid_request why) { return ht_verdict{ht_passage::refused, why}; };
    if (within(0xfd'f800'0000, 0xfd'f8ff'ffff)) { // interrupts and EOI
        if (asks || !writes) return refuse(invalid_request::interrupt_range);
        if (e.get<"IV">() != 0 && e.get<"IntCtl">() == 0) return refuse(invalid_request::interrupt_closed);
        return {ht_passage::interrupt, {}};
    }
    if (within(0xfd'f910'0000, 0xfd'f91f'ffff)) { // system management
        std::uint64_t const rule = e.get<"SysMgt">();
        if (rule == 3) return {ht_passage::translated, {}};
        if (asks) return refuse(invalid_request::system_request);
        if (rule == 1 || (rule == 2 && writes)) return {ht_passage::forwarded, {}};
        return refuse(rule == 0 && writes ? invalid_request::system_management : invalid_request::system_request);
    }
    if (within(0xfd'fc00'0000, 0xfd'fdff'ffff)) { // port I/O
        std::uint64_t const rule = e.get<"IoCtl">();
        if (rule == 2) return {ht_passage::translated, {}};
        if (asks || rule == 0) return refuse(invalid_request::port_io);
        return {ht_passage::forwarded, {}};
    }
    return refuse(invalid_request::bad_interrupt);
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
