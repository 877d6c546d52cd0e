/// \file
/// What a successful translation says.
#pragma once

#include "attributes.hpp"
#include "size.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// How an address reached its output. 64 bits wide like its neighbours: a byte stored and read back as part of a word
/// stalls.
enum class passage : std::uint64_t {
    walked,    ///< Through page tables.
    bypassed,  ///< Pass-through or translation off: the output is the input.
    interrupt, ///< Not memory at all: an interrupt request, to be handed to interrupt remapping.
    queued,    ///< Not an access: a page request that may go into the queue for software.
};

/// Where an input address leads.
/// \tparam Output the address type of the output.
template <class Output>
struct translation {
    Output output{};             ///< The translated address of the very byte that was asked for.
    attributes effective{};      ///< Rights and memory attributes, combined over all levels and stages.
    std::uint64_t lg2_size{};    ///< The smallest page of all stages has 2^lg2_size bytes; 64: nothing is translated.
    passage by{passage::walked}; ///< How the address got there.

    /// The mask of the offset within the page.
    [[nodiscard]] constexpr std::uint64_t offset_mask() const { return low_mask(lg2_size); }

    /// Translations are equal that lead to the same place in the same way.
    friend constexpr bool operator==(translation const&, translation const&) = default;
};

} // namespace v0
} // namespace stagewalk
