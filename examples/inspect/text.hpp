/// \file
/// Text for people: colour where a terminal wants it, tables, progress. Never wider than 80 columns by itself.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inspect {

/// How a piece of text stands out.
enum class style { plain, heading, good, bad, faint };

/// Decides from the terminal and NO_COLOR whether standard output is coloured.
void set_up_colour();
/// \p text, coloured if standard output is.
[[nodiscard]] std::string paint(style s, std::string_view text);

/// Writes \p text to standard output. \throw bad_input if it cannot be written.
void print(std::string_view text);
/// Flushes standard output. \throw bad_input if it cannot be written.
void finish_output();

/// \p text filled with blanks to \p width columns, on the left for numbers.
[[nodiscard]] std::string padded(std::string_view text, std::size_t width, bool on_left = false);
/// \p text broken between words at 80 columns, every line indented by \p indent.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t indent = 0);

/// Rows whose columns are as wide as their widest cell.
class text_table {
public:
    /// \param headings the first row; one that begins with `>` makes its column flush right.
    explicit text_table(std::vector<std::string> headings);
    /// Adds a row.
    void add(std::vector<std::string> cells);
    /// All rows, each line indented by two.
    [[nodiscard]] std::string text() const;

private:
    std::vector<bool> right_;
    std::vector<std::vector<std::string>> rows_;
};

/// Says on standard error how far something is that takes longer than a second.
class progress {
public:
    /// \param what "checking".
    explicit progress(std::string what) : what_{std::move(what)} {}
    progress(progress const&) = delete;
    progress& operator=(progress const&) = delete;
    ~progress();

    /// \p done of \p total. Cheap: looks at the clock now and then only.
    void at(std::uint64_t done, std::uint64_t total) {
        if ((++calls_ & 0xfff) == 0) look(done, total);
    }
    /// The same, at once.
    void look(std::uint64_t done, std::uint64_t total);

private:
    using clock = std::chrono::steady_clock;

    std::string what_;
    std::uint64_t calls_{};
    clock::time_point next_{clock::now() + std::chrono::seconds{1}};
    bool shown_{};
};

} // namespace inspect
