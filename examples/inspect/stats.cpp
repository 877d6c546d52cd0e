#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "number.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <optional>
#include <vector>

namespace inspect {

namespace {

struct page_run {
    std::uint64_t first;
    std::uint64_t last;
};

// What one set of tables holds.
struct domain_figures {
    std::vector<std::size_t> devices;                // indices of those that use it
    std::map<std::uint64_t, std::uint64_t> leaves;   // lg2 size -> how many
    std::uint64_t bytes_less_one{~std::uint64_t{0}}; // mapped bytes, less one so that 2^64 fits
    std::uint64_t ranges{};
    std::vector<std::uint64_t> pages; // the table pages, ascending
    std::uint64_t entered{};          // tables entered, a shared one for each way in
    bool complete{true};
    std::uint64_t resume{};
    std::uint64_t invalid{};
    std::uint64_t lacking{};
    std::vector<anomaly> first_invalid;
    std::vector<page_run> writable; // what its devices may write, as outputs

    [[nodiscard]] std::uint64_t leaf_count() const {
        std::uint64_t n = 0;
        for (auto const& [lg2, count] : leaves)
            n += count;
        return n;
    }
};

constexpr std::size_t anomalies_shown = 8;

domain_figures count(unit& u, guest_memory& memory, listed_device const& d, std::uint64_t max_loads, std::uint64_t& loads) {
    domain_figures f;
    page_directory seen;
    memory.record_pages(&seen);
    mapping before{};
    bool any = false;
    auto const done = u.enumerate(d.bound.source, d.bound.pasid, false, max_loads,
                                  {[&](mapping const& m) {
                                       ++f.leaves[m.smallest];
                                       f.bytes_less_one += m.last - m.first + 1;
                                       bool const joins = any && m.first == before.last + 1 && m.effective == before.effective &&
                                                          m.output == before.output + (before.last - before.first) + 1;
                                       f.ranges += !joins;
                                       before = m;
                                       any = true;
                                       if (!m.effective.rights().covers(stagewalk::write)) return true;
                                       std::uint64_t const last = m.output + (m.last - m.first);
                                       if (!f.writable.empty() && f.writable.back().last + 1 == m.output)
                                           f.writable.back().last = last;
                                       else
                                           f.writable.push_back({m.output, last});
                                       return true;
                                   },
                                   [&](anomaly const& a) {
                                       if (a.why.is == result::missing) {
                                           ++f.lacking;
                                           return;
                                       }
                                       if (f.invalid++ < anomalies_shown) f.first_invalid.push_back(a);
                                   }});
    memory.record_pages(nullptr);
    loads += done.loads;
    f.entered = done.tables;
    f.complete = done.complete;
    f.resume = done.resume;
    seen.for_each([&](std::uint64_t page, std::uint64_t const*) { f.pages.push_back(page); });
    std::sort(f.pages.begin(), f.pages.end());
    return f;
}

// The pages that hold the configuration of devices: what finding a device reads beside its page tables.
std::vector<std::uint64_t> configuration_pages(capture& c, unit& u, std::vector<listed_device> const& list) {
    page_directory seen;
    c.memory.record_pages(&seen);
    for (listed_device const& d : list)
        static_cast<void>(u.find(d.bound.source, d.bound.pasid));
    c.memory.record_pages(nullptr);
    std::vector<std::uint64_t> pages;
    seen.for_each([&](std::uint64_t page, std::uint64_t const*) { pages.push_back(page); });
    std::sort(pages.begin(), pages.end());
    return pages;
}

std::vector<std::uint64_t> intersection(std::vector<std::uint64_t> const& a, std::vector<std::uint64_t> const& b) {
    std::vector<std::uint64_t> both;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
    return both;
}

// The table pages that lie in what a device may write: it can then map whatever it likes.
std::vector<std::uint64_t> exposed_pages(std::vector<std::uint64_t> const& tables, std::vector<page_run> const& writable) {
    std::vector<std::uint64_t> exposed;
    for (page_run const& w : writable) {
        auto const from = std::lower_bound(tables.begin(), tables.end(), w.first >> 12);
        auto const to = std::upper_bound(from, tables.end(), w.last >> 12);
        exposed.insert(exposed.end(), from, to);
    }
    std::sort(exposed.begin(), exposed.end());
    exposed.erase(std::unique(exposed.begin(), exposed.end()), exposed.end());
    return exposed;
}

struct shared_tables {
    std::size_t a; // indices of domains
    std::size_t b;
    std::vector<std::uint64_t> pages;
};

struct exposure {
    std::size_t device; // index into the list
    std::vector<std::uint64_t> pages;
};

struct figures {
    std::vector<listed_device> list;
    std::vector<domain_figures> domains;
    std::vector<std::uint64_t> configuration;
    std::vector<shared_tables> shared;
    std::vector<exposure> exposed;
    std::uint64_t loads{};
};

figures gather(capture& c, unit& u, options const& o) {
    figures all;
    all.list = list_devices(c, u, o.source, o.pasid);
    all.configuration = configuration_pages(c, u, list_devices(c, u, o.source, o.pasid, true));
    std::vector<std::size_t> const same_tables = first_with_same_tables(all.list);
    std::vector<std::size_t> domain_of(all.list.size(), 0);
    std::vector<std::uint64_t> tables = all.configuration;
    progress p{"counting"};
    for (std::size_t i = 0; i < all.list.size(); ++i) {
        p.look(i, all.list.size());
        listed_device const& d = all.list[i];
        if (d.bound.is != result::ok || d.bound.bypasses) continue;
        std::size_t const same = same_tables[i];
        if (same == i) {
            domain_of[i] = all.domains.size();
            all.domains.push_back(count(u, c.memory, d, o.max_loads - std::min(o.max_loads, all.loads), all.loads));
            auto& pages = all.domains.back().pages;
            // Finding the device was recorded too.
            std::erase_if(pages, [&](std::uint64_t page) {
                return std::binary_search(all.configuration.begin(), all.configuration.end(), page);
            });
            tables.insert(tables.end(), pages.begin(), pages.end());
        } else {
            domain_of[i] = domain_of[same];
        }
        all.domains[domain_of[i]].devices.push_back(i);
    }
    std::sort(tables.begin(), tables.end());
    tables.erase(std::unique(tables.begin(), tables.end()), tables.end());

    for (std::size_t a = 0; a < all.domains.size(); ++a)
        for (std::size_t b = a + 1; b < all.domains.size(); ++b) {
            auto both = intersection(all.domains[a].pages, all.domains[b].pages);
            if (!both.empty()) all.shared.push_back({a, b, std::move(both)});
        }
    std::vector<std::optional<std::vector<std::uint64_t>>> exposed_by(all.domains.size());
    for (std::size_t i = 0; i < all.list.size(); ++i) {
        binding const& b = all.list[i].bound;
        if (b.is != result::ok) continue;
        std::vector<std::uint64_t> pages;
        if (b.bypasses) {
            if (b.rights.covers(stagewalk::write)) pages = exposed_pages(tables, {{0, b.reach}});
        } else {
            // Once for all devices that share the tables.
            auto& known = exposed_by[domain_of[i]];
            if (!known) known = exposed_pages(tables, all.domains[domain_of[i]].writable);
            pages = *known;
        }
        if (!pages.empty()) all.exposed.push_back({i, std::move(pages)});
    }
    return all;
}

std::string names(figures const& all, unit const& u, domain_figures const& f) {
    std::string text;
    for (std::size_t const i : f.devices)
        text += (text.empty() ? "" : ", ") + all.list[i].name(u);
    return text;
}

void print_domain(figures const& all, unit const& u, domain_figures const& f) {
    binding const& b = all.list[f.devices[0]].bound;
    print('\n' + paint(style::heading, b.domain + ", " + b.mode) + '\n' + wrapped("used by " + names(all, u, f), 2));
    std::string sizes;
    for (auto const& [lg2, n] : f.leaves)
        sizes += (sizes.empty() ? "" : ", ") + count_text(n) + " x " + page_size_text(lg2);
    std::string const mapped = f.leaf_count() == 0 ? "nothing" : size_text(f.bytes_less_one) + ": " + sizes;
    print("  mapped     " + wrapped(mapped, 13).substr(13));
    if (f.leaf_count() != 0) {
        char average[32];
        std::snprintf(average, sizeof average, "%.1f", static_cast<double>(f.leaf_count()) / static_cast<double>(f.ranges));
        print("  ranges     " + count_text(f.ranges) + ", " + average + " pages each on average\n");
    }
    print("  tables     " + count_text(f.pages.size()) + (f.pages.size() == 1 ? " page" : " pages") + ", entered " +
          count_text(f.entered) + (f.entered == 1 ? " time\n" : " times\n"));
    if (!f.complete)
        print("  " + paint(style::bad, "stopped by --max-loads at " + hex(f.resume) + ": a table may contain itself") + '\n');
    if (f.lacking != 0) print("  " + paint(style::bad, count_text(f.lacking) + " entries are not in the capture") + '\n');
    if (f.invalid != 0) print("  " + paint(style::bad, count_text(f.invalid) + " entries are not valid") + '\n');
    for (anomaly const& a : f.first_invalid)
        print(wrapped(hex(a.input) + ": entry " + hex(a.entry, 16) + " at " + hex(a.why.fault.entry_address) + ": " +
                          answer_line(a.why),
                      4));
}

json domain_json(figures const& all, domain_figures const& f) {
    binding const& b = all.list[f.devices[0]].bound;
    json j;
    j["domain"] = b.domain;
    j["mode"] = b.mode;
    j["root"] = hex_0x(b.root);
    j["sources"] = json::array();
    for (std::size_t const i : f.devices)
        j["sources"].push_back(hex_0x(all.list[i].bound.source));
    j["leaves"] = json::object();
    for (auto const& [lg2, n] : f.leaves)
        j["leaves"][std::to_string(lg2)] = n;
    j["ranges"] = f.ranges;
    j["table_pages"] = f.pages.size();
    j["tables_entered"] = f.entered;
    j["complete"] = f.complete;
    j["entries_not_captured"] = f.lacking;
    j["invalid_entries"] = f.invalid;
    j["first_invalid"] = json::array();
    for (anomaly const& a : f.first_invalid)
        j["first_invalid"].push_back({{"input", hex_0x(a.input)}, {"entry", hex_0x(a.entry)}, {"why", answer_json(a.why)}});
    return j;
}

json pages_json(std::vector<std::uint64_t> const& pages) {
    json j = json::array();
    for (std::uint64_t const page : pages)
        j.push_back(hex_0x(page << 12));
    return j;
}

std::string pages_text(std::vector<std::uint64_t> const& pages) {
    std::string text = count_text(pages.size()) + (pages.size() == 1 ? " page: " : " pages: ");
    for (std::size_t i = 0; i < pages.size() && i < 4; ++i)
        text += (i == 0 ? "" : ", ") + hex(pages[i] << 12);
    return text + (pages.size() > 4 ? ", ..." : "");
}

} // namespace

int stats(options const& o) {
    capture c{o.input};
    auto const unit = open_unit(c, c.memory, true);
    figures const all = gather(c, *unit, o);
    if (o.json) {
        json j = json_head("stats", c);
        j["devices"] = all.list.size();
        j["captured_pages"] = c.memory.page_count();
        j["configuration_pages"] = all.configuration.size();
        j["loads"] = all.loads;
        j["domains"] = json::array();
        for (domain_figures const& f : all.domains)
            j["domains"].push_back(domain_json(all, f));
        j["shared_table_pages"] = json::array();
        for (shared_tables const& s : all.shared)
            j["shared_table_pages"].push_back({{"a", hex_0x(all.list[all.domains[s.a].devices[0]].bound.source)},
                                               {"b", hex_0x(all.list[all.domains[s.b].devices[0]].bound.source)},
                                               {"pages", pages_json(s.pages)}});
        j["writable_table_pages"] = json::array();
        for (exposure const& e : all.exposed)
            j["writable_table_pages"].push_back(
                {{"source_id", hex_0x(all.list[e.device].bound.source)}, {"pages", pages_json(e.pages)}});
        print(j.dump(1) + '\n');
        finish_output();
        return 0;
    }
    print(wrapped(count_text(all.list.size()) + " devices, " + count_text(all.domains.size()) + " sets of tables, " +
                  count_text(c.memory.page_count()) + " captured pages, " + count_text(all.configuration.size()) +
                  " of them with device tables; " + count_text(all.loads) + " entries read"));
    for (domain_figures const& f : all.domains)
        print_domain(all, *unit, f);
    print('\n' + paint(style::heading, "tables shared between domains") + '\n');
    if (all.shared.empty()) print("  none\n");
    for (shared_tables const& s : all.shared)
        print(wrapped(all.list[all.domains[s.a].devices[0]].name(*unit) + " and " +
                          all.list[all.domains[s.b].devices[0]].name(*unit) + " share " + pages_text(s.pages),
                      2));
    print('\n' + paint(style::heading, "tables that a device may write") + '\n');
    if (all.exposed.empty()) print("  none\n");
    for (exposure const& e : all.exposed)
        print(paint(style::bad, wrapped(all.list[e.device].name(*unit) + " may write " + pages_text(e.pages), 2)));
    finish_output();
    return 0;
}

} // namespace inspect
