/// \file
/// The memory of a machine in an ELF core, as `dump-guest-memory` writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inspect {

/// A piece of the machine's memory.
struct core_piece {
    std::uint64_t address{}; ///< Physical.
    std::string_view bytes;  ///< What the file holds of it; never empty.
};

/// The loaded segments of the core \p file by their physical addresses, in the order of the file.
/// \param path what to call the file in a complaint.
/// \throw bad_input if it is anything but a whole 64-bit little-endian ELF core.
[[nodiscard]] std::vector<core_piece> read_elf_core(std::string const& path, std::string_view file);

} // namespace inspect
