#include "capture.hpp"

#include "architecture.hpp"
#include "bad_input.hpp"
#include "number.hpp"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace inspect {

namespace {

using json = nlohmann::json;

struct closer {
    void operator()(std::FILE* f) const { std::fclose(f); }
};
using file = std::unique_ptr<std::FILE, closer>;

file open(std::string const& path) {
    file f{std::fopen(path.c_str(), "rb")};
    if (!f) throw bad_input{path + ": cannot be opened: " + std::strerror(errno)};
    return f;
}

// The member `key` of `object`, or null where it is absent or JSON's null; `where` names the object for people.
json const* member(json const& object, std::string const& key) {
    auto const found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

class reader {
public:
    reader(std::string path, json const& object, std::string where)
        : path_{std::move(path)}, object_{object}, where_{std::move(where)} {
        if (!object_.is_object()) fail(where_.empty() ? "the file" : where_.substr(0, where_.size() - 1), "is not an object");
    }

    [[nodiscard]] std::string required_text(std::string const& key) const {
        if (member(object_, key) == nullptr) fail(where_ + key, "is missing");
        return text(key);
    }
    [[nodiscard]] std::string text(std::string const& key) const {
        json const* const value = member(object_, key);
        if (value == nullptr) return {};
        if (!value->is_string()) fail(where_ + key, "is not a string");
        std::string result = value->get<std::string>();
        // It goes to people's terminals.
        for (char& c : result)
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
        return result;
    }
    [[nodiscard]] std::uint64_t required_hex(std::string const& key) const {
        std::uint64_t value = 0;
        switch (parse_hex(required_text(key), value)) {
        case parsed::ok: return value;
        case parsed::too_large: fail(where_ + key, "does not fit 64 bits");
        case parsed::not_a_number: break;
        }
        fail(where_ + key, "is not a hexadecimal number");
    }
    // A plain JSON number, or a string: hexadecimal with 0x, else decimal.
    [[nodiscard]] std::optional<std::uint64_t> number(std::string const& key) const {
        json const* const value = member(object_, key);
        if (value == nullptr) return std::nullopt;
        if (value->is_number_unsigned()) return value->get<std::uint64_t>();
        std::uint64_t result = 0;
        std::string const digits = value->is_string() ? value->get<std::string>() : std::string{};
        bool const is_hex = digits.starts_with("0x") || digits.starts_with("0X");
        if ((is_hex ? parse_hex(digits, result) : parse_decimal(digits, result)) != parsed::ok)
            fail(where_ + key, "is not a number");
        return result;
    }
    [[nodiscard]] json const* list(std::string const& key) const {
        json const* const value = member(object_, key);
        if (value != nullptr && !value->is_array()) fail(where_ + key, "is not a list");
        return value;
    }
    [[nodiscard]] json const& required_object(std::string const& key) const {
        json const* const value = member(object_, key);
        if (value == nullptr) fail(where_ + key, "is missing");
        if (!value->is_object()) fail(where_ + key, "is not an object");
        return *value;
    }
    [[noreturn]] void fail(std::string const& key, char const* what) const { throw bad_input{path_ + ": " + key + ' ' + what}; }

private:
    std::string path_;
    json const& object_;
    std::string where_;
};

// Calls take(line number, line without its end) for every line.
template <class Take>
void for_each_line(std::string_view text, Take take) {
    std::size_t number = 0;
    while (!text.empty()) {
        std::size_t const end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        take(++number, line);
    }
}

} // namespace

std::string read_file(std::string const& path) {
    file const f = open(path);
    std::string text;
    char part[1 << 16];
    while (std::size_t const n = std::fread(part, 1, sizeof part, f.get()))
        text.append(part, n);
    if (std::ferror(f.get()) != 0) throw bad_input{path + ": cannot be read: " + std::strerror(errno)};
    return text;
}

capture::capture(input_options const& in) : folder{in.folder} {
    int const sources = (in.folder.empty() ? 0 : 1) + (in.core.empty() ? 0 : 1) + (in.images.empty() ? 0 : 1);
    if (sources != 1)
        throw bad_input{std::string{sources == 0 ? "one" : "only one"} + " of --capture, --core and --ram must be given"};
    if (in.images.empty() && !in.places.empty()) throw bad_input{"--base: there is no --ram that it belongs to"};
    if (folder.empty()) {
        read_options(in);
        in.core.empty() ? read_images(in) : read_core(in.core);
        return;
    }
    if (!in.registers.empty() || in.haw)
        throw bad_input{option_of(in.registers.empty() ? "haw" : in.registers.begin()->first) +
                        ": a capture has its registers in meta.json"};
    read_meta();
    read_pages();
}

std::string capture::path(char const* file) const { return folder + (folder.ends_with('/') ? "" : "/") + file; }

void capture::read_meta() {
    std::string const where = path("meta.json");
    std::string const text = read_file(where);
    json whole;
    try {
        whole = json::parse(text);
    } catch (json::parse_error const& e) {
        throw bad_input{where + ": is not JSON: error at byte " + std::to_string(e.byte)};
    }
    reader const meta{where, whole, ""};
    format = meta.required_text("format");
    name = meta.text("name");
    kernel = meta.text("kernel_version");
    haw = meta.number("haw");
    for (auto const& [key, value] : meta.required_object("registers").items()) {
        // A register may be a hexadecimal string or a JSON number; what nobody asks for need not be either.
        if (value.is_string()) {
            registers_[key] = {value.get<std::string>(), true};
        } else if (value.is_number_unsigned()) {
            registers_[key] = {hex(value.get<std::uint64_t>()), true};
        } else {
            registers_[key] = {{}, false};
        }
    }
    if (json const* const list = meta.list("guest_ram")) {
        for (std::size_t i = 0; i < list->size(); ++i) {
            std::string const at = "guest_ram[" + std::to_string(i) + "].";
            reader const piece{where, (*list)[i], at};
            std::uint64_t const first = piece.required_hex("gpa");
            std::uint64_t const size = piece.required_hex("size");
            if (((first | size) & 0xfff) != 0) piece.fail(at + "gpa or size", "is not a multiple of 1000");
            if (size == 0 || first + (size - 1) < first) piece.fail(at + "size", "is 0 or passes 2^64");
            ram.push_back({first, first + (size - 1)});
        }
    }
    if (json const* const list = meta.list("devices")) {
        for (std::size_t i = 0; i < list->size(); ++i) {
            std::string const at = "devices[" + std::to_string(i) + "].";
            reader const device{where, (*list)[i], at};
            std::uint64_t const source = device.required_hex("source_id");
            if (source > 0xffff'ffff) device.fail(at + "source_id", "does not fit 32 bits");
            devices.push_back({static_cast<std::uint32_t>(source), device.text("bdf"), device.text("driver"),
                               device.text("iommu_group"), device.text("domain_type")});
        }
    }
}

void capture::read_pages() {
    std::string const bin = path("pages.bin");
    std::string const idx = path("pages.idx");
    std::string const bytes = read_file(bin);
    if (bytes.size() % 4096 != 0)
        throw bad_input{bin + ": is truncated: " + std::to_string(bytes.size()) +
                        " bytes are no whole number of 4096-byte pages"};
    words_.resize(bytes.size() / 8);
    if (!bytes.empty()) std::memcpy(words_.data(), bytes.data(), bytes.size());

    for_each_line(read_file(idx), [&](std::size_t number, std::string_view line) {
        if (line.empty() || line[0] == '#') return;
        auto const fail = [&](std::string const& what) {
            throw bad_input{idx + ": line " + std::to_string(number) + ": " + what};
        };
        std::size_t const gap = line.find_first_of(" \t");
        std::uint64_t gpa = 0;
        std::uint64_t offset = 0;
        if (gap == std::string_view::npos) fail("is not `gpa offset`; the file may be truncated");
        if (parse_hex(line.substr(0, gap), gpa) != parsed::ok) fail("the page's address is not a hexadecimal number of 64 bits");
        if (parse_decimal(line.substr(gap + 1), offset) != parsed::ok) fail("the offset is not a decimal number");
        if ((gpa & 0xfff) != 0) fail("page " + hex(gpa) + " is not aligned to 4096 bytes");
        if (offset % 4096 != 0) fail("offset " + std::to_string(offset) + " is not a multiple of 4096");
        if (offset >= bytes.size())
            fail("offset " + std::to_string(offset) + " lies beyond the end of pages.bin (" + std::to_string(bytes.size()) +
                 " bytes)");
        if (!memory.add(gpa, words_.data() + offset / 8)) fail("page " + hex(gpa) + " is listed twice");
    });
}

bool capture::has_reg(std::string const& key) const { return registers_.contains(key); }
std::string capture::register_name(std::string const& key) const {
    return folder.empty() ? option_of(key) : key == "haw" ? key : "registers." + key;
}
std::string capture::registers_at() const { return folder.empty() ? "" : path("meta.json") + ": "; }
std::string capture::pages_at() const { return (folder.empty() ? pages_from_ : path("pages.idx")) + ": "; }

std::uint64_t capture::reg(std::string const& key) const {
    auto const fail = [&](char const* what) -> bad_input { return bad_input{registers_at() + register_name(key) + ' ' + what}; };
    auto const found = registers_.find(key);
    if (found == registers_.end()) throw fail("is missing");
    if (!found->second.is_text) throw fail("is not a string");
    std::uint64_t value = 0;
    switch (parse_hex(found->second.text, value)) {
    case parsed::ok: return value;
    case parsed::too_large: throw fail("does not fit 64 bits");
    case parsed::not_a_number: break;
    }
    throw fail("is not a hexadecimal number");
}

device_info const* capture::device(std::uint32_t source) const {
    for (device_info const& d : devices)
        if (d.source == source) return &d;
    return nullptr;
}

} // namespace inspect
