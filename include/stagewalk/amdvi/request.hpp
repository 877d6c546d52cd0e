/// \file
/// What a device asks of an AMD IOMMU.
#pragma once

#include "../core/access.hpp"
#include "../core/address.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Stands in `request::pasid` for a request without PASID.
inline constexpr std::uint32_t no_pasid = ~std::uint32_t{0};

/// What kind of request it is (48882 2.2.1).
enum class request_type : std::uint64_t {
    untranslated, ///< It is to be translated.
    translation,  ///< ATS: it asks for the translation, to keep it. See to_completion().
    translated,   ///< ATS: its address has been translated before.
};

/// One request. It must not cross a 4 KiB boundary.
struct request {
    std::uint16_t source{}; ///< The DeviceID: bus 15:8, device 7:3, function 2:0.
    iova address{};         ///< The address of the first byte, all 64 bits of it. With a PASID it is a guest's virtual address.
    /// read, write or read_write (an atomic operation). With a PASID also privileged, and execute for a read. Of a translation
    /// request read_write, or read if it sets no-write.
    stagewalk::access access{read};
    std::uint32_t pasid{no_pasid};                 ///< 20 bits, or no_pasid.
    request_type type{request_type::untranslated}; ///< Its kind.

    /// Whether it carries a PASID.
    [[nodiscard]] constexpr bool has_pasid() const { return pasid != no_pasid; }

    /// Requests are equal field by field.
    friend constexpr bool operator==(request const&, request const&) = default;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
