/// \file
/// What a VT-d unit finds for a device: how its requests are translated (VT-d chapter 3).
#pragma once

#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// How a device's requests are translated.
enum class binding_kind : std::uint8_t {
    pass_through,        ///< Not at all: output = input.
    legacy_second_stage, ///< By second-stage tables, legacy mode.
    second_stage,        ///< By second-stage tables, scalable mode.
    first_stage,         ///< By first-stage tables.
    nested,              ///< By first-stage tables over second-stage tables.
};

/// What the root, context and PASID entries of a device say, checked.
struct binding {
    binding_kind kind{};           ///< How its requests are translated.
    bool scalable{};               ///< Whether the unit is in scalable mode.
    bool quiet{};                  ///< FPD was set on the path: qualified faults are not recorded.
    bool privileged{};             ///< The requests' privilege, of their own or by RID_PRIV.
    std::uint16_t domain{};        ///< The domain id.
    std::uint32_t pasid{no_pasid}; ///< The PASID used: the request's own or RID_PASID; no_pasid in legacy mode.
    std::uint64_t first_root{};    ///< The first-stage root table; an intermediate address if nested.
    std::uint64_t first_levels{};  ///< Its depth, 4 or 5.
    std::uint64_t second_root{};   ///< The second-stage root table.
    std::uint64_t second_levels{}; ///< Its depth, 3 to 5.
    bool write_protect{};          ///< WPE.
    bool extended_accessed{};      ///< EAFE.
    bool accessed_dirty{};         ///< SSADE.
    bool walks_snoop{true};        ///< PWSNP.
    bool pages_snoop{};            ///< PGSNP.
    bool cache_disable{};          ///< CD.
    bool memory_types{};           ///< EMTE.
    std::uint32_t pat{};           ///< Eight memory types of 4 bits.

    /// Bindings are equal field by field.
    friend constexpr bool operator==(binding const&, binding const&) = default;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
