/// \file
/// What a device asks of a VT-d unit.
#pragma once

#include "../core/access.hpp"
#include "../core/address.hpp"
#include "reason.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Stands in `request::pasid` for a request without PASID.
inline constexpr std::uint32_t no_pasid = ~std::uint32_t{0};

/// One request. It must not cross a 4 KiB boundary: PCIe splits there, and so does a caller.
struct request {
    std::uint16_t source{}; ///< Requester id: bus 15:8, device 7:3, function 2:0.
    iova address{};         ///< The address of the first byte, as it is on the bus.
    /// read, write or read_write (an atomic operation). With a PASID also privileged, and execute for a read.
    stagewalk::access access{read};
    std::uint32_t pasid{no_pasid};                 ///< 20 bits, or no_pasid.
    request_type type{request_type::untranslated}; ///< Ordinary, ATS translation (a read), ATS translated, or page request.
    std::uint32_t bytes{4};                        ///< The length in bytes; a read of 0 bytes is a zero-length read.
    bool no_write{};                               ///< ATS translation request with NW = 1: only reading is asked for.

    /// Whether it carries a PASID.
    [[nodiscard]] constexpr bool has_pasid() const { return pasid != no_pasid; }

    /// Requests are equal field by field.
    friend constexpr bool operator==(request const&, request const&) = default;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
