/// \file
/// The architectures that the tool knows: by what it tells them apart, and how it opens each.
#pragma once

#include "capture.hpp"
#include "unit.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace inspect {

/// A register that an option gives where memory comes without registers.
struct register_option {
    char const* key;                                      ///< The manual's name.
    char const* what;                                     ///< For people: what it is, and its default.
    bool required{};                                      ///< There is no telling anything without it.
    std::optional<std::uint64_t> otherwise{std::nullopt}; ///< What it is where nobody says.
    char const* option{nullptr};                          ///< What the option is called, unless that follows from the key.
};

/// An architecture.
struct architecture {
    char const* name;                           ///< For people.
    char const* format;                         ///< What the `format` of a capture begins with.
    std::span<register_option const> registers; ///< Those that steer translation.
    /// See open_unit.
    std::unique_ptr<unit> (*open)(capture const& c, guest_memory& memory, bool range_rules);
};

/// All that are supported.
[[nodiscard]] std::span<architecture const* const> architectures();

/// Whose register \p key is; null for none.
[[nodiscard]] architecture const* owner_of(std::string const& key);
/// The option that gives register \p key, or `haw`.
[[nodiscard]] std::string option_of(std::string const& key);

// Each is defined beside its unit.
extern architecture const vtd_architecture;   ///< Intel VT-d.
extern architecture const smmu_architecture;  ///< Arm SMMUv3.
extern architecture const amdvi_architecture; ///< AMD-Vi.

} // namespace inspect
