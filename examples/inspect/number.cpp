#include "number.hpp"

#include <cstdio>

namespace inspect {

std::string size_text(std::uint64_t bytes_less_one) {
    constexpr char units[] = "BKMGTPE";
    if (bytes_less_one == ~std::uint64_t{0}) return "16E";
    std::uint64_t const bytes = bytes_less_one + 1;
    unsigned unit = 0;
    while (unit < 6 && bytes >> (10 * (unit + 1)) != 0)
        ++unit;
    // Exactly in a smaller unit, as long as it stays short.
    unsigned exact = unit;
    while ((bytes & ((std::uint64_t{1} << 10 * exact) - 1)) != 0)
        --exact;
    if (std::uint64_t const n = bytes >> 10 * exact; n < 10000)
        return std::to_string(n) + (exact == 0 ? "" : std::string{units[exact]});
    char text[32];
    std::snprintf(text, sizeof text, "%.1f%c", static_cast<double>(bytes) / static_cast<double>(1ull << 10 * unit), units[unit]);
    return text;
}

std::string count_text(std::uint64_t count) {
    std::string text = std::to_string(count);
    for (std::size_t i = text.size(); i > 3;)
        text.insert(i -= 3, " ");
    return text;
}

} // namespace inspect
