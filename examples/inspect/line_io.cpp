#include "line_io.hpp"

#include "bad_input.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <unistd.h>

namespace inspect {

void line_writer::flush() {
    std::size_t done = 0;
    while (done < used_) {
        ssize_t const n = ::write(descriptor_, buffer_.data() + done, used_ - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw bad_input{std::string{"standard output: cannot be written: "} + std::strerror(errno)};
        done += static_cast<std::size_t>(n);
    }
    used_ = 0;
}

bool line_reader::take(input_line& line) {
    for (;;) {
        char const* const from = buffer_.data() + begin_;
        auto const* const newline = static_cast<char const*>(std::memchr(buffer_.data() + searched_, '\n', end_ - searched_));
        if (newline != nullptr) {
            auto const length = static_cast<std::size_t>(newline - from);
            bool const end_of_long_line = std::exchange(skipping_, false);
            begin_ += length + 1;
            searched_ = begin_;
            if (end_of_long_line) continue;
            line = {{from, length}, false};
            return true;
        }
        std::size_t const length = end_ - begin_;
        bool const full = length == capacity;
        searched_ = end_;
        if (!full && !at_end_) return false;
        // A line that fills the buffer is shown once, cut short; what follows of it is dropped. The last line of a file
        // need not end.
        bool const shown = !skipping_ && length > 0;
        line = {{from, length}, full};
        skipping_ = full;
        begin_ = end_ = searched_ = 0;
        return shown;
    }
}

void line_reader::fill() {
    if (begin_ > 0) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        searched_ -= begin_;
        begin_ = 0;
    }
    for (;;) {
        ssize_t const n = ::read(descriptor_, buffer_.data() + end_, capacity - end_);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw bad_input{name_ + ": cannot be read: " + std::strerror(errno)};
        at_end_ = n == 0;
        end_ += static_cast<std::size_t>(n);
        return;
    }
}

} // namespace inspect
