/// \file
/// Numbers as text: hexadecimal in and out without a stream or an allocation, sizes for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace inspect {

/// How a text fared as a number.
enum class parsed {
    ok,
    not_a_number, ///< Empty, or a character that is no digit.
    too_large,    ///< Does not fit 64 bits.
};

/// Reads hexadecimal digits, with or without 0x.
inline parsed parse_hex(std::string_view text, std::uint64_t& value) {
    if (text.size() >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) text.remove_prefix(2);
    if (text.empty()) return parsed::not_a_number;
    std::uint64_t result = 0;
    bool overflow = false;
    for (char const c : text) {
        unsigned digit = 0;
        if (c >= '0' && c <= '9') {
            digit = static_cast<unsigned>(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = static_cast<unsigned>(c - 'a') + 10;
        } else if (c >= 'A' && c <= 'F') {
            digit = static_cast<unsigned>(c - 'A') + 10;
        } else {
            return parsed::not_a_number;
        }
        overflow = overflow || (result >> 60) != 0;
        result = result << 4 | digit;
    }
    if (overflow) return parsed::too_large;
    value = result;
    return parsed::ok;
}

/// Reads decimal digits.
inline parsed parse_decimal(std::string_view text, std::uint64_t& value) {
    if (text.empty()) return parsed::not_a_number;
    std::uint64_t result = 0;
    bool overflow = false;
    for (char const c : text) {
        if (c < '0' || c > '9') return parsed::not_a_number;
        auto const digit = static_cast<std::uint64_t>(c - '0');
        overflow = overflow || result > (~std::uint64_t{0} - digit) / 10;
        result = result * 10 + digit;
    }
    if (overflow) return parsed::too_large;
    value = result;
    return parsed::ok;
}

/// Writes \p value in lower-case hexadecimal, at least \p digits long, and returns the end. Room for 16 is needed.
inline char* put_hex(char* out, std::uint64_t value, unsigned digits = 1) {
    unsigned needed = 1;
    while (needed < 16 && value >> (needed * 4) != 0)
        ++needed;
    if (needed < digits) needed = digits;
    for (unsigned i = needed; i-- > 0;)
        *out++ = "0123456789abcdef"[value >> (i * 4) & 15];
    return out;
}

/// The same as a string: `1000`.
inline std::string hex(std::uint64_t value, unsigned digits = 1) {
    char text[16];
    return {text, put_hex(text, value, digits)};
}

/// For JSON: `0x1000`.
inline std::string hex_0x(std::uint64_t value) { return "0x" + hex(value); }

/// A size that is a power of two: `4K`, `2M`, `1G`.
inline std::string page_size_text(std::uint64_t lg2) {
    if (lg2 >= 64) return "-";
    return std::to_string(std::uint64_t{1} << lg2 % 10) + (lg2 < 10 ? "" : std::string{"KMGTPE"[lg2 / 10 - 1]});
}

/// A number of bytes less one, so that 2^64 fits: `4K`, `160K`, `1.5M`.
std::string size_text(std::uint64_t bytes_less_one);

/// A count with the digits in groups of three: `1 048 576`.
std::string count_text(std::uint64_t count);

/// Requester id as bus:device.function.
inline std::string bdf_text(std::uint32_t source) {
    return hex(source >> 8, 2) + ':' + hex(source >> 3 & 31, 2) + '.' + hex(source & 7);
}

} // namespace inspect
