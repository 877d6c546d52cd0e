#include "answer_text.hpp"
#include "bad_input.hpp"
#include "commands.hpp"
#include "line_io.hpp"
#include "unit.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace inspect {

namespace {

// What a line of the batch is.
struct batch_line {
    enum { request, skip, error } is{request};
    question q;
    std::string_view problem;

    static batch_line wrong(std::string_view what) { return {error, {}, what}; }
};

bool is_blank(char c) { return c == ' ' || c == '\t'; }

// Cuts the next word off `rest`; empty at the end.
std::string_view next_word(std::string_view& rest) {
    while (!rest.empty() && is_blank(rest.front()))
        rest.remove_prefix(1);
    std::size_t end = 0;
    while (end < rest.size() && !is_blank(rest[end]))
        ++end;
    std::string_view const word = rest.substr(0, end);
    rest.remove_prefix(end);
    return word;
}

batch_line parse(input_line const& line, std::uint32_t largest_source) {
    std::string_view rest = line.text;
    if (!line.too_long && rest.ends_with('\r')) rest.remove_suffix(1);
    std::string_view const source = next_word(rest);
    if (source.empty() && !line.too_long) return {batch_line::skip, {}, {}};
    if (source.starts_with('#')) return {batch_line::skip, {}, {}};
    if (line.too_long) return batch_line::wrong("the line is too long");
    std::string_view const pasid = next_word(rest);
    std::string_view const iova = next_word(rest);
    std::string_view const access = next_word(rest);
    if (access.empty() || !next_word(rest).empty()) return batch_line::wrong("not four fields: source_id pasid|- iova r|w|rw");

    question q;
    std::uint64_t value = 0;
    switch (parse_hex(source, value)) {
    case parsed::not_a_number: return batch_line::wrong("source_id is not a hexadecimal number");
    case parsed::too_large: value = ~std::uint64_t{0}; break;
    case parsed::ok: break;
    }
    if (value > largest_source) return batch_line::wrong("source_id is too large");
    q.source = static_cast<std::uint32_t>(value);
    if (pasid != "-") {
        switch (parse_hex(pasid, value)) {
        case parsed::not_a_number: return batch_line::wrong("pasid is neither - nor a hexadecimal number");
        case parsed::too_large: value = ~std::uint64_t{0}; break;
        case parsed::ok: break;
        }
        if (value > 0xfffff) return batch_line::wrong("pasid does not fit 20 bits");
        q.pasid = static_cast<std::uint32_t>(value);
    }
    switch (parse_hex(iova, q.address)) {
    case parsed::not_a_number: return batch_line::wrong("iova is not a hexadecimal number");
    case parsed::too_large: return batch_line::wrong("iova does not fit 64 bits");
    case parsed::ok: break;
    }
    if (access == "r") {
        q.access = stagewalk::read;
    } else if (access == "w") {
        q.access = stagewalk::write;
    } else if (access == "rw") {
        q.access = stagewalk::read_write;
    } else {
        return batch_line::wrong("the access is none of r, w, rw");
    }
    return {batch_line::request, q, {}};
}

void put_fault(line_writer& out, fault_text const& f) {
    out.put("fault\t");
    if (f.code == 0) {
        out.put('-');
    } else {
        out.put_hex(f.code);
    }
    out.put('\t');
    out.put(static_cast<char>('0' + static_cast<int>(f.stage)));
    out.put('\t');
    if (!f.level || *f.level < 0) out.put('-');
    if (f.level) out.put_decimal(static_cast<std::uint64_t>(*f.level < 0 ? -*f.level : *f.level));
    out.put("\tname=");
    out.put(f.name);
    out.put(" at=");
    out.put(at_text(f.at));
    // A key without a meaning for this fault is left out.
    if (f.entry_address != 0) {
        out.put(" addr=");
        out.put_hex(f.entry_address);
    }
    if (f.intermediate != 0) {
        out.put(" ipa=");
        out.put_hex(f.intermediate);
    }
    if (f.flags != 0) {
        out.put(" flags=");
        out.put_hex(f.flags);
    }
    out.put(f.reported ? " reported=1" : " reported=0");
}

void put_answer(line_writer& out, answer const& a) {
    switch (a.is) {
    case result::ok:
        out.put("ok\t");
        out.put_hex(a.address);
        out.put('\t');
        out.put(rights_text(a.rights));
        out.put('\t');
        if (a.lg2_size >= 64) {
            out.put('-');
        } else {
            out.put_decimal(a.lg2_size);
        }
        break;
    case result::fault: put_fault(out, a.fault); break;
    case result::interrupt:
        out.put("interrupt\t");
        out.put_hex(a.address);
        break;
    case result::missing:
        out.put("missing\t");
        out.put_hex(a.address);
        break;
    }
}

// A file descriptor that is closed again, unless it is standard input.
class batch_file {
public:
    explicit batch_file(std::string const& path)
        : descriptor_{path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)} {
        if (descriptor_ < 0) throw bad_input{path + ": cannot be opened: " + std::strerror(errno)};
    }
    batch_file(batch_file const&) = delete;
    batch_file& operator=(batch_file const&) = delete;
    ~batch_file() {
        if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
    }
    [[nodiscard]] int descriptor() const { return descriptor_; }

private:
    int descriptor_;
};

} // namespace

int translate(options const& o) {
    capture c{o.input};
    auto const unit = open_unit(c, c.memory, !o.no_ranges);
    batch_file const file{o.batch};
    line_reader in{file.descriptor(), o.batch == "-" ? "standard input" : o.batch};
    line_writer out{STDOUT_FILENO};
    std::uint32_t const largest_source = unit->largest_source();

    input_line line{};
    // Whoever feeds us line by line gets its answers before we wait for more.
    while (in.next(line, [&] { out.flush(); })) {
        batch_line const asked = parse(line, largest_source);
        out.reserve(4096);
        if (o.json) {
            json j;
            j["schema"] = "stagewalk-inspect.translate/1";
            if (asked.is == batch_line::request) {
                j.update(answer_json(unit->translate(asked.q)));
            } else {
                j["result"] = asked.is == batch_line::skip ? "skip" : "error";
                if (asked.is == batch_line::error) j["text"] = asked.problem;
            }
            out.put(j.dump());
        } else if (asked.is == batch_line::request) {
            put_answer(out, unit->translate(asked.q));
        } else if (asked.is == batch_line::skip) {
            out.put("skip");
        } else {
            out.put("error\t");
            out.put(asked.problem);
        }
        out.put('\n');
    }
    out.flush();
    return 0;
}

} // namespace inspect
