/// \file
/// A first stage to look up in, and what a chase by hand asks of its entries.
#pragma once

#include "second_stage.hpp"

namespace bench {

/// An address space's tables. EAFE = 0, WPE = 0, walks snoop.
using process_stage_type = vtd::first_stage<iova, pa>;
using process = tables_of<process_stage_type>;

/// What the first stage asks of an entry for a request that claims no privilege: P, U/S, A, and R/W and D of one that writes.
struct process_format {
    template <class Stage>
    explicit process_format(Stage const&) {}

    [[nodiscard]] static bool admits(std::uint64_t in) { return in + (std::uint64_t{1} << 47) <= low_mask(48); }
    [[nodiscard]] static std::uint64_t wants(access a) { return bit_mask(0, 0) | bit_mask(2, 2) | bit_mask(5, 5) | (a.bits & 2); }
    [[nodiscard]] static std::uint64_t wants_of_page(access a) { return a.covers(write) ? bit_mask(6, 6) : 0; }
    [[nodiscard]] static attributes grants(std::uint64_t e, std::uint64_t rights) {
        return attributes::from_bits(read.bits | (rights & write.bits) | (e & (bit_mask(4, 3) | bit_mask(7, 7))));
    }
};

} // namespace bench
