/// \file
/// Sizes in the low bits of addresses: of host tables' pages (48882 2.2.3) and of commands' operands (48882 2.4).
#pragma once

#include "../core/size.hpp"

#include <bit>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// The lg2 size that the low bits of \p word, from bit 12 on, tell: the lowest zero is bit lg2 - 1 (48882 2.2.3, table of page
/// sizes; the operands of commands too). 13 to 64; 65 where bits 63:12 are all ones.
[[nodiscard]] constexpr std::uint64_t coded_size(std::uint64_t word) {
    return static_cast<std::uint64_t>(std::countr_one(word | low_mask(12))) + 1;
}
/// Address \p base of a block of 2^\p lg2 bytes, 13 to 64, with its size in its low bits.
[[nodiscard]] constexpr std::uint64_t with_coded_size(std::uint64_t base, std::uint64_t lg2) {
    return (base | low_mask(lg2 - 1)) & ~(std::uint64_t{1} << (lg2 - 1)) & ~low_mask(12);
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
