#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "number.hpp"
#include "text.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace inspect {

namespace {

json binding_json(listed_device const& d, unit const& u) {
    json j;
    j["source_id"] = hex_0x(d.bound.source);
    if (u.sources_are_bdfs()) {
        j["bdf"] = bdf_text(d.bound.source);
    } else if (d.info != nullptr && !d.info->bdf.empty()) {
        j["bdf"] = d.info->bdf;
    }
    j["pasid"] = d.bound.pasid == no_pasid ? json{} : json(hex_0x(d.bound.pasid));
    j["driver"] = d.info == nullptr || d.info->driver.empty() ? json{} : json(d.info->driver);
    j["iommu_group"] = d.info == nullptr || d.info->group.empty() ? json{} : json(d.info->group);
    j["known_to_kernel"] = d.info != nullptr;
    j["bound"] = d.bound.is == result::ok;
    auto const add_details = [&] {
        for (auto const& [name, value] : d.bound.details)
            j["details"][name] = value;
    };
    if (d.bound.is != result::ok) {
        if (!d.bound.domain.empty()) j["domain"] = d.bound.domain;
        if (d.bound.blocked) j["mode"] = d.bound.mode;
        j["why_not"] = answer_json(d.bound.problem);
        add_details();
        return j;
    }
    j["domain"] = d.bound.domain;
    j["mode"] = d.bound.mode;
    j["bypasses"] = d.bound.bypasses;
    j["root"] = d.bound.bypasses ? json{} : json(hex_0x(d.bound.root));
    if (d.bound.second_root != 0) j["second_root"] = hex_0x(d.bound.second_root);
    j["last_input"] = hex_0x(d.bound.reach);
    add_details();
    return j;
}

std::string code_text(answer const& problem) {
    return problem.fault.code == 0 ? "refused" : "fault " + hex(problem.fault.code) + 'h';
}

// What the faults in the table mean.
std::string explained(std::vector<listed_device> const& list) {
    // One code may have several reasons.
    std::map<std::pair<std::uint64_t, std::string>, answer const*> problems;
    for (listed_device const& d : list)
        if (d.bound.is == result::fault && !d.bound.blocked)
            problems.try_emplace({d.bound.problem.fault.code, d.bound.problem.fault.meaning}, &d.bound.problem);
    std::string text = problems.empty() ? "" : "\n";
    for (auto const& [why, problem] : problems)
        text += wrapped(code_text(*problem) + ": " + problem->fault.meaning, 2);
    return text;
}

// Tables may block everybody whom nobody knows: those are told in few words.
bool is_one_of_many(listed_device const& d) { return d.bound.blocked && d.info == nullptr; }

std::string many_text(std::vector<listed_device> const& list) {
    // By why they are blocked: how many there are, and the ranges of their ids.
    struct group {
        std::uint64_t count{};
        std::string ids;
        std::uint32_t first{};
        std::uint32_t last{};
        void close() {
            if (count != 0) ids += (ids.empty() ? "" : ", ") + hex(first, 4) + (first == last ? "" : "-" + hex(last, 4));
        }
    };
    std::map<std::string, group> groups;
    for (listed_device const& d : list) {
        if (!is_one_of_many(d)) continue;
        group& g = groups[d.bound.mode];
        if (g.count == 0 || d.bound.source != g.last + 1) {
            g.close();
            g.first = d.bound.source;
        }
        g.last = d.bound.source;
        ++g.count;
    }
    std::string text = groups.empty() ? "" : "\n";
    for (auto& [mode, g] : groups) {
        g.close();
        text += wrapped(count_text(g.count) + " more: " + mode + ": " + g.ids, 2);
    }
    return text;
}

} // namespace

int devices(options const& o) {
    capture c{o.input};
    auto const unit = open_unit(c, c.memory, true);
    std::vector<listed_device> const list = list_devices(c, *unit, o.source, o.pasid, true);
    if (o.json) {
        json j = json_head("devices", c);
        for (auto const& [name, value] : unit->facts())
            j["unit"][name] = value;
        j["devices"] = json::array();
        for (listed_device const& d : list)
            j["devices"].push_back(binding_json(d, *unit));
        print(j.dump(1) + '\n');
    } else {
        for (auto const& [name, value] : unit->facts())
            print(padded(name, 12) + value + '\n');
        print("\n");
        text_table table{{"device", "source", "driver", "domain", "tables at", "translation"}};
        for (listed_device const& d : list) {
            if (!o.source && is_one_of_many(d)) continue;
            table.add({d.bound.pasid == no_pasid ? d.name(*unit) : "pasid " + hex(d.bound.pasid), hex(d.bound.source, 4),
                       d.info == nullptr        ? "(unlisted)"
                       : d.info->driver.empty() ? "-"
                                                : d.info->driver,
                       d.bound.domain.empty() ? "-" : d.bound.domain,
                       d.bound.is != result::ok || d.bound.bypasses ? "-" : hex(d.bound.root),
                       d.bound.is == result::fault && !d.bound.blocked ? "none: " + code_text(d.bound.problem)
                                                                       : binding_text(d.bound)});
        }
        print(table.text());
        print(explained(list));
        if (!o.source) print(many_text(list));
        // Of a single device there is room for all.
        if (o.source)
            for (listed_device const& d : list) {
                if (d.bound.details.empty()) continue;
                print('\n' + paint(style::heading, d.name(*unit)) + '\n');
                for (auto const& [name, value] : d.bound.details)
                    print(wrapped(name + ": " + value, 2));
            }
    }
    finish_output();
    return 0;
}

} // namespace inspect
