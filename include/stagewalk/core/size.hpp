/// \file
/// Sizes in powers of two: lg2 helpers that are safe at 64, and the literals `4_KiB`, `2_MiB`, `1_GiB`.
#pragma once

#include <bit>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// A mask of the \p lg2 lowest bits: 0 for 0, all ones for 64 and more.
/// A plain shift by 64 is undefined; page tables with a 64-bit input (AMD-Vi mode 6) do ask for it.
[[nodiscard]] constexpr std::uint64_t low_mask(std::uint64_t lg2) {
    return lg2 >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lg2) - 1;
}

/// The bits \p high down to \p low of a 64-bit word, both inclusive, as the manuals number them.
[[nodiscard]] constexpr std::uint64_t bit_mask(std::uint64_t high, std::uint64_t low) {
    return low_mask(high + 1) & ~low_mask(low);
}

/// Whether \p value is a multiple of 2^\p lg2.
[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t lg2) { return (value & low_mask(lg2)) == 0; }

inline namespace literals {
/// Kibibytes, in bytes.
[[nodiscard]] constexpr std::uint64_t operator""_KiB(unsigned long long n) { return std::uint64_t{n} << 10; }
/// Mebibytes, in bytes.
[[nodiscard]] constexpr std::uint64_t operator""_MiB(unsigned long long n) { return std::uint64_t{n} << 20; }
/// Gibibytes, in bytes.
[[nodiscard]] constexpr std::uint64_t operator""_GiB(unsigned long long n) { return std::uint64_t{n} << 30; }
/// Tebibytes, in bytes.
[[nodiscard]] constexpr std::uint64_t operator""_TiB(unsigned long long n) { return std::uint64_t{n} << 40; }
} // namespace literals

} // namespace v0
} // namespace stagewalk
