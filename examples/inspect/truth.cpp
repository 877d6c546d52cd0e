#include "truth.hpp"

#include "bad_input.hpp"
#include "capture.hpp"
#include "number.hpp"

#include <string_view>

namespace inspect {

namespace {

struct fields {
    std::string_view at[7];
};

class line_parser {
public:
    line_parser(std::string const& path, std::size_t number) : path_{path}, number_{number} {}

    [[noreturn]] void fail(std::string const& what) const {
        throw bad_input{path_ + ": line " + std::to_string(number_) + ": " + what};
    }
    [[nodiscard]] fields split(std::string_view line) const {
        fields f;
        for (std::size_t i = 0; i < 7; ++i) {
            std::size_t const tab = line.find('\t');
            if (tab == std::string_view::npos && i < 6) fail("has fewer than 7 columns; the file may be truncated");
            f.at[i] = i < 6 ? line.substr(0, tab) : line;
            if (i < 6) line.remove_prefix(tab + 1);
        }
        return f;
    }
    [[nodiscard]] std::uint64_t hex_number(std::string_view text, char const* what) const {
        std::uint64_t value = 0;
        switch (parse_hex(text, value)) {
        case parsed::ok: return value;
        case parsed::too_large: fail(std::string{what} + " does not fit 64 bits");
        case parsed::not_a_number: break;
        }
        fail(std::string{what} + " is not a hexadecimal number");
    }
    // A size less one: 2^64 itself is a size.
    [[nodiscard]] std::uint64_t last_offset(std::string_view text) const {
        std::string_view digits = text;
        if (digits.starts_with("0x")) digits.remove_prefix(2);
        while (digits.starts_with('0'))
            digits.remove_prefix(1);
        if (digits == "10000000000000000") return ~std::uint64_t{0};
        std::uint64_t const size = hex_number(text, "size");
        if (size == 0) fail("size is 0");
        return size - 1;
    }
    [[nodiscard]] expectation rights(std::string_view text) const {
        if (text == "r") return expectation::read_only;
        if (text == "w") return expectation::write;
        if (text == "rw") return expectation::read_and_write;
        if (text == "?") return expectation::something;
        if (text == "!w") return expectation::write_refused;
        if (text == "-") return expectation::nothing;
        fail("perms is none of r, w, rw, ?, !w, -");
    }

private:
    std::string const& path_;
    std::size_t number_;
};

} // namespace

std::vector<truth_line> read_truth(std::string const& path, std::uint32_t largest_source) {
    std::string const whole = read_file(path);
    std::vector<truth_line> lines;
    std::string_view rest = whole;
    for (std::size_t number = 1; !rest.empty(); ++number) {
        std::size_t const end = rest.find('\n');
        std::string_view text = rest.substr(0, end);
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        if (text.ends_with('\r')) text.remove_suffix(1);
        if (text.find_first_not_of(" \t") == std::string_view::npos || text.starts_with('#')) continue;

        line_parser const parse{path, number};
        fields const f = parse.split(text);
        truth_line line;
        line.number = number;
        std::uint64_t const source = parse.hex_number(f.at[0], "source_id");
        if (source > largest_source) parse.fail("source_id is above " + hex(largest_source));
        line.source = static_cast<std::uint32_t>(source);
        if (f.at[1] != "-") {
            std::uint64_t const pasid = parse.hex_number(f.at[1], "pasid");
            if (pasid > 0xfffff) parse.fail("pasid does not fit 20 bits");
            line.pasid = static_cast<std::uint32_t>(pasid);
        }
        line.iova = parse.hex_number(f.at[2], "iova");
        if (f.at[3] != "-") line.output = parse.hex_number(f.at[3], "gpa");
        line.expects = parse.rights(f.at[4]);
        line.last_offset = parse.last_offset(f.at[5]);
        bool const needs_output = line.expects != expectation::write_refused && line.expects != expectation::nothing;
        if (needs_output && !line.output) parse.fail("gpa is missing, but perms says that it is mapped");
        if (line.iova + line.last_offset < line.iova) parse.fail("iova and size pass 2^64");
        if (line.output && *line.output + line.last_offset < *line.output) parse.fail("gpa and size pass 2^64");
        line.text = text;
        lines.push_back(std::move(line));
    }
    return lines;
}

} // namespace inspect
