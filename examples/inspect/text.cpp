#include "text.hpp"

#include "bad_input.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace inspect {

namespace {

bool coloured = false;

[[noreturn]] void cannot_write() { throw bad_input{std::string{"standard output: cannot be written: "} + std::strerror(errno)}; }

} // namespace

void set_up_colour() {
    char const* const no_color = std::getenv("NO_COLOR");
    char const* const terminal = std::getenv("TERM");
    coloured = isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0') && terminal != nullptr &&
               std::strcmp(terminal, "dumb") != 0;
}

std::string paint(style s, std::string_view text) {
    constexpr char const* codes[] = {"", "\033[1m", "\033[32m", "\033[31m", "\033[2m"};
    if (!coloured || s == style::plain) return std::string{text};
    return codes[static_cast<int>(s)] + std::string{text} + "\033[0m";
}

void print(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) cannot_write();
}

void finish_output() {
    if (std::fflush(stdout) != 0) cannot_write();
}

std::string padded(std::string_view text, std::size_t width, bool on_left) {
    std::string const blanks(width > text.size() ? width - text.size() : 0, ' ');
    return on_left ? blanks + std::string{text} : std::string{text} + blanks;
}

std::string wrapped(std::string_view text, std::size_t indent) {
    constexpr std::size_t columns = 80;
    std::string result(indent, ' ');
    std::size_t column = indent;
    while (!text.empty()) {
        std::size_t const end = std::min(text.find(' '), text.size());
        std::string_view const word = text.substr(0, end);
        if (column != indent && column + 1 + word.size() > columns) {
            result += '\n' + std::string(indent, ' ');
            column = indent;
        } else if (column != indent) {
            result += ' ';
            ++column;
        }
        result += word;
        column += word.size();
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return result + '\n';
}

text_table::text_table(std::vector<std::string> headings) {
    for (std::string& h : headings) {
        right_.push_back(h.starts_with('>'));
        if (right_.back()) h.erase(0, 1);
    }
    rows_.push_back(std::move(headings));
}

void text_table::add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string text_table::text() const {
    std::vector<std::size_t> widths(rows_[0].size());
    for (auto const& row : rows_)
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    std::string result;
    for (auto const& row : rows_) {
        std::string line = "  ";
        auto const end_line = [&] {
            line.erase(line.find_last_not_of(' ') + 1);
            result += (&row == &rows_[0] ? paint(style::heading, line) : line) + '\n';
        };
        for (std::size_t i = 0; i < row.size(); ++i) {
            // What does not fit goes on in the next line.
            if (i != 0 && line.size() + (right_[i] ? widths[i] : row[i].size()) > 80) {
                end_line();
                line = "    ";
            }
            line += padded(row[i], widths[i], right_[i]) + "  ";
        }
        end_line();
    }
    return result;
}

progress::~progress() {
    if (shown_ && isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
}

void progress::look(std::uint64_t done, std::uint64_t total) {
    auto const now = clock::now();
    if (now < next_) return;
    bool const terminal = isatty(STDERR_FILENO) != 0;
    next_ = now + (terminal ? std::chrono::milliseconds{200} : std::chrono::milliseconds{5000});
    double const percent = total == 0 ? 0 : 100.0 * static_cast<double>(done) / static_cast<double>(total);
    std::fprintf(stderr, terminal ? "\r\033[K%s: %.0f %%" : "%s: %.0f %%\n", what_.c_str(), percent);
    shown_ = true;
}

} // namespace inspect
