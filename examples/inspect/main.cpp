/// \file
/// stagewalk-inspect: looks into the tables of an IOMMU that somebody captured.
#include "architecture.hpp"
#include "bad_input.hpp"
#include "commands.hpp"
#include "number.hpp"
#include "text.hpp"

#include <stagewalk/version.hpp>

#include <CLI/CLI.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

namespace {

using inspect::architecture;
using inspect::options;

// "VT-d: --vtd-root, --cap, --ecap", a line for each architecture.
std::string required_registers() {
    std::string text;
    for (architecture const* const a : inspect::architectures()) {
        std::string names;
        for (inspect::register_option const& r : a->registers)
            if (r.required) names += (names.empty() ? "" : ", ") + inspect::option_of(r.key);
        text += std::string{"  "} + a->name + ": " + names + '\n';
    }
    return text;
}

// Checks a hexadecimal option and stores it.
CLI::callback_t hexadecimal(std::uint64_t limit, std::function<void(std::uint64_t)> store) {
    return [=](CLI::results_t const& words) {
        std::uint64_t value = 0;
        if (inspect::parse_hex(words[0], value) != inspect::parsed::ok || value > limit) return false;
        store(value);
        return true;
    };
}

// A source id, or a bus address: 0020, 00:04.0, 0000:00:04.0.
bool parse_source(std::string text, std::uint32_t& source) {
    std::uint64_t value = 0;
    if (text.find(':') == std::string::npos) {
        if (inspect::parse_hex(text, value) != inspect::parsed::ok || value > 0xffff'ffff) return false;
        source = static_cast<std::uint32_t>(value);
        return true;
    }
    if (text.starts_with("0000:")) text.erase(0, 5);
    std::size_t const colon = text.find(':');
    std::size_t const dot = text.find('.', colon == std::string::npos ? 0 : colon);
    if (colon == std::string::npos || dot == std::string::npos) return false;
    std::uint64_t bus = 0;
    std::uint64_t device = 0;
    std::uint64_t function = 0;
    bool const ok = inspect::parse_hex(text.substr(0, colon), bus) == inspect::parsed::ok &&
                    inspect::parse_hex(text.substr(colon + 1, dot - colon - 1), device) == inspect::parsed::ok &&
                    inspect::parse_hex(text.substr(dot + 1), function) == inspect::parsed::ok;
    if (!ok || bus > 255 || device > 31 || function > 7) return false;
    source = static_cast<std::uint32_t>(bus << 8 | device << 3 | function);
    return true;
}

// Where a raw image lies: BASE, BASE:OFFSET or BASE:OFFSET:SIZE, all hexadecimal.
bool parse_place(std::string_view text, inspect::image_place& place) {
    std::uint64_t parts[3]{};
    std::size_t n = 0;
    for (; n < 3; ++n) {
        std::size_t const colon = text.find(':');
        if (inspect::parse_hex(text.substr(0, colon), parts[n]) != inspect::parsed::ok) return false;
        if (colon == std::string_view::npos) break;
        text.remove_prefix(colon + 1);
    }
    if (n == 3) return false;
    place = {parts[0], parts[1], {}};
    if (n == 2) place.size = parts[2];
    return true;
}

// A size: decimal with K, M, G or T behind it, or hexadecimal with 0x.
bool parse_size(std::string text, std::uint64_t& bytes) {
    if (text.starts_with("0x")) return inspect::parse_hex(text, bytes) == inspect::parsed::ok;
    constexpr std::string_view units = "KMGT";
    std::size_t const unit = text.empty() ? std::string_view::npos : units.find(text.back());
    unsigned const lg2 = unit == std::string_view::npos ? 0 : 10 * (static_cast<unsigned>(unit) + 1);
    if (lg2 != 0) text.pop_back();
    if (inspect::parse_decimal(text, bytes) != inspect::parsed::ok || bytes > ~std::uint64_t{0} >> lg2) return false;
    bytes <<= lg2;
    return true;
}

class command_line {
public:
    explicit command_line(options& o) : o_{o} {
        app.name("stagewalk-inspect");
        app.set_version_flag("--version", "stagewalk-inspect " + std::to_string(STAGEWALK_VERSION_MAJOR) + '.' +
                                              std::to_string(STAGEWALK_VERSION_MINOR) + '.' +
                                              std::to_string(STAGEWALK_VERSION_PATCH));
        app.require_subcommand(1);
        app.footer("Addresses, source ids and PASIDs are hexadecimal, with or without 0x.\n"
                   "Memory without registers (--core, --ram) needs them as options:\n" +
                   required_registers() + "Exit status: 0; check: 1 if a line disagrees or none agrees; 2 for bad input.");

        auto* const devices = add("devices", "The devices and what they are bound to", inspect::devices);
        source(devices);

        auto* const ranges = add("ranges", "What devices may reach, merged into ranges", inspect::ranges);
        source(ranges);
        max_loads(ranges);
        ranges->add_option("--perm", o.perm, "Only ranges that grant these rights")->check(CLI::IsMember({"r", "w", "rw"}));
        ranges->add_option("--has", hexadecimal(~0ull, [&](std::uint64_t v) { o.has = v; }), "Only the range with this IOVA")
            ->type_name("IOVA");
        range(ranges, "Only ranges that overlap these IOVAs, both inclusive");
        ranges
            ->add_option(
                "--min-size", [&](CLI::results_t const& words) { return parse_size(words[0], o.min_size); },
                "Only ranges of at least this size")
            ->type_name("SIZE");
        ranges->add_option("--limit", o.limit, "At most so many ranges");

        auto* const tree = add("tree", "Every table entry that is present, decoded, from the root table down", inspect::tree);
        source(tree);
        range(tree, "Only page-table entries for these IOVAs, both inclusive");
        tree->add_option("--depth", o.depth, "Only so many entries below each other, the root entry being the first");
        tree->add_option("--max-entries", o.max_entries, "At most so many entries (default 1000000)");
        max_loads(tree);

        auto* const walk = add("walk", "One request, step by step, every entry decoded", inspect::walk_one);
        walk->add_option("iova", hexadecimal(~0ull, [&](std::uint64_t v) { o.address = v; }), "The address")
            ->required()
            ->type_name("IOVA");
        source(walk)->required();
        walk->add_flag("--write", o.write, "A write (else a read)");
        walk->add_flag("--rw", o.read_write, "An access that needs both rights");
        no_ranges(walk);

        auto* const translate = add("translate", "Requests in, answers out, a line each", inspect::translate);
        translate->add_option("--batch", o.batch, "Lines `source_id pasid|- iova r|w|rw`; - for standard input")
            ->required()
            ->type_name("FILE|-");
        no_ranges(translate);

        auto* const check = add("check", "Holds the tables against what somebody else says they translate", inspect::check);
        check->add_option("--truth", o.truth, "The truth file (default: truth.tsv of the capture)")->type_name("FILE");
        check->add_option("--limit", o.limit, "How many disagreements to show (default 5)");

        auto* const stats = add("stats", "Figures and oddities of the tables", inspect::stats);
        source(stats);
        max_loads(stats);

        add("demo", "A tour: a device's DMA through the guest's tables and a host's stage 2", inspect::demo);
    }

    CLI::App app{"Looks into the tables of an IOMMU that somebody captured."};

    [[nodiscard]] int run() {
        // What shows only a few unless asked has its own default.
        if (chosen_ == inspect::check && o_.limit == ~std::uint64_t{0}) o_.limit = 5;
        return chosen_(o_);
    }

private:
    using command = int (*)(options const&);

    CLI::App* add(char const* name, char const* what, command to_run) {
        CLI::App* const sub = app.add_subcommand(name, what);
        sub->add_option("--capture", o_.input.folder, "The folder with meta.json, pages.bin and pages.idx")->type_name("DIR");
        if (to_run != inspect::demo) memory_image(sub);
        if (to_run != inspect::demo) sub->add_flag("--json", o_.json, "For programs");
        sub->callback([this, to_run] { chosen_ = to_run; });
        return sub;
    }
    // Memory without a capture's registers.
    void memory_image(CLI::App* sub) {
        sub->add_option("--core", o_.input.core, "Instead: an ELF core, as dump-guest-memory writes it")->type_name("FILE");
        sub->add_option("--ram", o_.input.images, "Instead: a raw image of RAM; again for each piece")
            ->allow_extra_args(false)
            ->type_name("FILE");
        sub->add_option(
               "--base",
               [this](CLI::results_t const& words) {
                   o_.input.places.assign(words.size(), {});
                   for (std::size_t i = 0; i < words.size(); ++i)
                       if (!parse_place(words[i], o_.input.places[i])) return false;
                   return true;
               },
               "Where the image lies; with OFFSET (and SIZE) only that part of the file")
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
            ->allow_extra_args(false)
            ->type_name("ADDR[:OFFSET[:SIZE]]");
        for (architecture const* const a : inspect::architectures())
            for (inspect::register_option const& r : a->registers)
                reg(sub, r.key, a->name + std::string{": "} + r.what);
        sub->add_option(
               "--haw",
               [this](CLI::results_t const& words) {
                   std::uint64_t bits = 0;
                   if (inspect::parse_decimal(words[0], bits) != inspect::parsed::ok) return false;
                   o_.input.haw = bits;
                   return true;
               },
               "The host address width in bits (default: as wide as CAP allows)")
            ->type_name("BITS");
    }
    void reg(CLI::App* sub, std::string const& key, std::string const& what) {
        sub->add_option(inspect::option_of(key), hexadecimal(~0ull, [=, this](std::uint64_t v) { o_.input.registers[key] = v; }),
                        what)
            ->type_name("HEX");
    }
    void range(CLI::App* sub, char const* what) {
        sub->add_option(
               "--range",
               [this](CLI::results_t const& words) {
                   std::uint64_t from = 0;
                   std::uint64_t to = 0;
                   if (words.size() != 2 || inspect::parse_hex(words[0], from) != inspect::parsed::ok ||
                       inspect::parse_hex(words[1], to) != inspect::parsed::ok || to < from)
                       return false;
                   o_.from = from;
                   o_.to = to;
                   return true;
               },
               what)
            ->expected(2)
            ->type_name("FIRST LAST");
    }
    CLI::Option* source(CLI::App* sub) {
        sub->add_option("--pasid", hexadecimal(0xfffff, [this](std::uint64_t v) { o_.pasid = static_cast<std::uint32_t>(v); }),
                        "Its PASID")
            ->type_name("PASID");
        return sub
            ->add_option(
                "--source,--bdf",
                [this](CLI::results_t const& words) {
                    std::uint32_t value = 0;
                    if (!parse_source(words[0], value)) return false;
                    o_.source = value;
                    return true;
                },
                "The device: source id or bus:device.function")
            ->type_name("SOURCE");
    }
    void max_loads(CLI::App* sub) {
        sub->add_option("--max-loads", o_.max_loads, "The bound on entries read, against hostile tables");
    }
    void no_ranges(CLI::App* sub) { sub->add_flag("--no-ranges", o_.no_ranges, "Interrupt addresses and the like are ordinary"); }

    options& o_;
    command chosen_{};
};

} // namespace

int main(int argc, char** argv) {
    inspect::set_up_colour();
    inspect::options o;
    command_line line{o};
    try {
        line.app.parse(argc, argv);
    } catch (CLI::ParseError const& e) {
        if (e.get_exit_code() == 0) return line.app.exit(e);
        std::fprintf(stderr, "stagewalk-inspect: %s (--help explains)\n", e.what());
        return inspect::status_bad_input;
    }
    try {
        return line.run();
    } catch (inspect::bad_input const& e) {
        std::fprintf(stderr, "stagewalk-inspect: %s\n", e.what());
    } catch (std::exception const& e) {
        std::fprintf(stderr, "stagewalk-inspect: %s: %s\n", o.input.name().c_str(), e.what());
    }
    return inspect::status_bad_input;
}
