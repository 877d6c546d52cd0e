/// \file
/// What an AMD IOMMU finds for a device: how its requests are translated (48882 2.2.2).
#pragma once

#include "../core/access.hpp"
#include "device_table.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// How a device's requests are translated.
enum class binding_kind : std::uint8_t {
    bypass,   ///< Not at all, whatever they ask (V = 0).
    identity, ///< Not at all, with the rights of the device table entry (Mode = 0).
    host,     ///< By host tables.
    guest,    ///< By guest tables.
    nested,   ///< By guest tables over host tables.
};

/// What the device table entry, and with guest tables the GCR3 table, say of a device's requests, checked.
struct binding {
    binding_kind kind{};           ///< How they are translated.
    device_table_entry entry{};    ///< The device table entry.
    std::uint32_t pasid{no_pasid}; ///< The PASID used: the request's own, or 0 by GIoV; no_pasid without guest tables.
    std::uint64_t guest_root{};    ///< The guest root table; an intermediate address if nested.

    /// The DomainID.
    [[nodiscard]] constexpr std::uint16_t domain() const { return static_cast<std::uint16_t>(entry.get<"DomainID">()); }
    /// What the device may do at all, DTE.IR and IW.
    [[nodiscard]] constexpr access granted() const { return {entry.get<"IR">() | entry.get<"IW">() << 1}; }
    /// The depth of the guest tables, 4 or 5.
    [[nodiscard]] constexpr std::uint64_t guest_levels() const { return entry.get<"GPM">() + 4; }

    /// Bindings are equal field by field.
    friend constexpr bool operator==(binding const&, binding const&) = default;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
