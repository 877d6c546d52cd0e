/// \file
/// Lines in and out of file descriptors, without an allocation per line.
#pragma once

#include "number.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inspect {

/// Gathers output in a buffer.
class line_writer {
public:
    explicit line_writer(int descriptor) : descriptor_{descriptor}, buffer_(capacity) {}

    /// Makes room for \p bytes, at most 4096. \throw bad_input if what is there cannot be written.
    void reserve(std::size_t bytes) {
        if (capacity - used_ < bytes) flush();
    }
    /// Appends \p text, for which there is room.
    void put(std::string_view text) {
        text.copy(buffer_.data() + used_, text.size());
        used_ += text.size();
    }
    /// Appends one character, for which there is room.
    void put(char c) { buffer_[used_++] = c; }
    /// Appends \p value in hexadecimal, for which there is room.
    void put_hex(std::uint64_t value) {
        char* const from = buffer_.data() + used_;
        used_ += static_cast<std::size_t>(inspect::put_hex(from, value) - from);
    }
    /// Appends \p value in decimal, for which there is room.
    void put_decimal(std::uint64_t value) {
        char digits[20];
        std::size_t n = 0;
        do
            digits[n++] = static_cast<char>('0' + value % 10);
        while ((value /= 10) != 0);
        while (n > 0)
            put(digits[--n]);
    }
    /// Writes what is there.
    void flush();

private:
    static constexpr std::size_t capacity = std::size_t{1} << 18;

    int descriptor_;
    std::vector<char> buffer_;
    std::size_t used_{};
};

/// A line that was read, without its end.
struct input_line {
    std::string_view text; ///< Valid until the next line; the beginning where it is too long.
    bool too_long;         ///< It is longer than the buffer.
};

/// Reads lines of up to a megabyte; longer ones are passed over, and said to be so.
class line_reader {
public:
    /// \param name what to call the file in a complaint.
    line_reader(int descriptor, std::string name) : descriptor_{descriptor}, name_{std::move(name)}, buffer_(capacity) {}

    /// The next line; false at the end. \p idle is called before waiting for input.
    /// \throw bad_input if the file cannot be read.
    template <class Idle>
    bool next(input_line& line, Idle idle) {
        while (!take(line)) {
            if (at_end_) return false;
            idle();
            fill();
        }
        return true;
    }

private:
    static constexpr std::size_t capacity = std::size_t{1} << 20;

    bool take(input_line& line);
    void fill();

    int descriptor_;
    std::string name_;
    std::vector<char> buffer_;
    std::size_t begin_{}; // of what was read and not yet taken
    std::size_t end_{};
    std::size_t searched_{}; // no line end before this
    bool at_end_{};
    bool skipping_{}; // the rest of a line that is too long
};

} // namespace inspect
