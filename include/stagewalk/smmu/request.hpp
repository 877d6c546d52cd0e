/// \file
/// What a device asks of an SMMU.
#pragma once

#include "../core/access.hpp"
#include "../core/address.hpp"
#include "memory_type.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Stands in `request::pasid` for a request without SubstreamID.
inline constexpr std::uint32_t no_pasid = ~std::uint32_t{0};

/// What kind of request it is (IHI 0070 3.9).
enum class request_type : std::uint64_t {
    ordinary,    ///< It is to be translated.
    translation, ///< ATS: it asks for the translation, to keep it. See to_completion().
    translated,  ///< ATS: its address has been translated before.
};

/// One request.
struct request {
    std::uint32_t source{}; ///< The StreamID.
    iova address{};         ///< The address of the first byte, all 64 bits of it.
    /// read, write or read_write (an atomic operation); execute: an instruction is read (InD); privileged (PnU).
    stagewalk::access access{read};
    std::uint32_t pasid{no_pasid}; ///< The SubstreamID, 20 bits, or no_pasid.
    memory_attributes memory{};    ///< The memory type that it comes with. It counts where stage 1 is off.
    request_type type{
        request_type::ordinary}; ///< Its kind. A translation request has access read_write, or read if it sets no-write.

    /// Whether it carries a SubstreamID.
    [[nodiscard]] constexpr bool has_pasid() const { return pasid != no_pasid; }

    /// Requests are equal field by field.
    friend constexpr bool operator==(request const&, request const&) = default;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
