/// \file
/// The devices of a capture: those that its kernel saw and those that the tables bind.
#pragma once

#include "unit.hpp"

#include <optional>
#include <string>
#include <vector>

namespace inspect {

/// A device with what it is bound to.
struct listed_device {
    binding bound;
    device_info const* info{}; ///< What the capture's kernel said of it; null if nothing.

    /// Its bus address, or its stream; and its PASID, if it is bound for one.
    [[nodiscard]] std::string name(unit const& u) const;
};

/// \throw bad_input if there can be no such source.
void require_source(unit const& u, std::uint32_t source);

/// All devices in ascending order, with each PASID that they are bound for; or \p only, whether anybody knows it or not; or
/// those with \p pasid.
/// \param with_blocked also those that are blocked and that the kernel did not see: tables may block everybody.
[[nodiscard]] std::vector<listed_device> list_devices(capture const& c, unit& u, std::optional<std::uint32_t> only = std::nullopt,
                                                      std::optional<std::uint32_t> pasid = std::nullopt,
                                                      bool with_blocked = false);

/// For each device the index of the first one with the same tables, at most its own.
[[nodiscard]] std::vector<std::size_t> first_with_same_tables(std::vector<listed_device> const& list);

/// The binding in words: "second stage, 4 levels", "pass-through", or why there is none.
[[nodiscard]] std::string binding_text(binding const& b);

} // namespace inspect
