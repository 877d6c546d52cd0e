/// \file
/// Where the registers and the memory of a machine come from.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace inspect {

/// Where a raw image, or a part of it, lies in the machine's memory.
struct image_place {
    std::uint64_t base{};              ///< The address of its first byte.
    std::uint64_t offset{};            ///< Where it begins in the file.
    std::optional<std::uint64_t> size; ///< How much of it; without, the rest of the file.
};

/// One of three: a capture folder, an ELF core, raw images. All but the folder come without registers.
struct input_options {
    std::string folder;                             ///< The capture's folder.
    std::string core;                               ///< The ELF core.
    std::vector<std::string> images;                ///< Raw images,
    std::vector<image_place> places;                ///< and where each lies.
    std::map<std::string, std::uint64_t> registers; ///< By the manual's names.
    std::optional<std::uint64_t> haw;               ///< The host address width.

    /// What to call the whole in a complaint.
    [[nodiscard]] std::string name() const {
        return !folder.empty() ? folder : !core.empty() ? core : images.empty() ? "input" : images.front();
    }
};

} // namespace inspect
