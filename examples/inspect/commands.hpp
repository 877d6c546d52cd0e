/// \file
/// The tool's commands. Each returns the exit status; bad input is thrown before anything is printed.
#pragma once

#include "capture.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace inspect {

/// What the command line says.
struct options {
    input_options input;                             ///< Where registers and memory come from.
    bool json{};                                     ///< For programs instead of people.
    bool no_ranges{};                                ///< Address-range rules off.
    std::uint64_t max_loads{std::uint64_t{1} << 26}; ///< The bound on the loads of all enumerations together.
    std::uint64_t limit{~std::uint64_t{0}};          ///< ranges: lines; check: disagreements shown.
    std::optional<std::uint32_t> source;             ///< A single device.
    std::optional<std::uint32_t> pasid;              ///< Its PASID.
    std::uint64_t address{};                         ///< walk: the input address.
    bool write{};                                    ///< walk: a write.
    bool read_write{};                               ///< walk: an access that needs both.
    std::string batch;                               ///< translate: the file, `-` for standard input.
    std::string truth;                               ///< check: the file.
    std::string perm;                                ///< ranges: rights that must be granted.
    std::optional<std::uint64_t> has;                ///< ranges: an address that must lie inside.
    std::uint64_t depth{~std::uint64_t{0}};          ///< tree: entries below each other.
    std::uint64_t max_entries{1'000'000};            ///< tree: entries shown.
    std::optional<std::uint64_t> from;               ///< ranges, tree: the addresses to overlap.
    std::optional<std::uint64_t> to;                 ///< The last of them.
    std::uint64_t min_size{};                        ///< ranges: in bytes.
};

int devices(options const& o);
int ranges(options const& o);
int tree(options const& o);
int walk_one(options const& o);
int translate(options const& o);
int check(options const& o);
int stats(options const& o);
int demo(options const& o);

} // namespace inspect
