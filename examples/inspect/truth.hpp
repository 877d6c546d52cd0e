/// \file
/// A truth file: what somebody else says that the tables translate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace inspect {

/// What a line of a truth file says of a device's rights.
enum class expectation {
    read_only,      ///< `r`: reads are translated, writes lack permission.
    write,          ///< `w`: writes are translated.
    read_and_write, ///< `rw`: both are translated.
    something,      ///< `?`: at least one is translated.
    write_refused,  ///< `!w`: reads succeed, writes lack permission.
    nothing,        ///< `-`: neither succeeds.
};

/// A line of a truth file.
struct truth_line {
    std::size_t number{}; ///< Counted from 1.
    std::uint32_t source{};
    std::optional<std::uint32_t> pasid;
    std::uint64_t iova{};
    std::uint64_t last_offset{};         ///< The size less one; iova + last_offset does not pass 2^64 - 1.
    std::optional<std::uint64_t> output; ///< Where iova leads.
    expectation expects{};
    std::string text; ///< As it was written.
};

/// Reads the whole of \p path. \throw bad_input if it cannot be read or a line cannot be understood.
[[nodiscard]] std::vector<truth_line> read_truth(std::string const& path, std::uint32_t largest_source);

} // namespace inspect
