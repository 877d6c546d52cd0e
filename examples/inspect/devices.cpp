#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "number.hpp"
#include "text.hpp"

namespace inspect {

namespace {

json binding_json(listed_device const& d, unit const& u) {
    json j;
    j["source_id"] = hex_0x(d.bound.source);
    if (u.sources_are_bdfs()) j["bdf"] = bdf_text(d.bound.source);
    j["pasid"] = d.bound.pasid == no_pasid ? json{} : json(hex_0x(d.bound.pasid));
    j["driver"] = d.info == nullptr || d.info->driver.empty() ? json{} : json(d.info->driver);
    j["iommu_group"] = d.info == nullptr || d.info->group.empty() ? json{} : json(d.info->group);
    j["known_to_kernel"] = d.info != nullptr;
    j["bound"] = d.bound.is == result::ok;
    if (d.bound.is != result::ok) {
        j["why_not"] = answer_json(d.bound.problem);
        return j;
    }
    j["domain"] = d.bound.domain;
    j["mode"] = d.bound.mode;
    j["bypasses"] = d.bound.bypasses;
    j["root"] = d.bound.bypasses ? json{} : json(hex_0x(d.bound.root));
    j["last_input"] = hex_0x(d.bound.reach);
    return j;
}

} // namespace

int devices(options const& o) {
    capture c{o.capture};
    auto const unit = open_unit(c, c.memory, true);
    std::vector<listed_device> const list = list_devices(c, *unit, o.source, o.pasid);
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
        for (listed_device const& d : list)
            table.add({d.name(*unit), hex(d.bound.source, 4),
                       d.info == nullptr        ? "(unlisted)"
                       : d.info->driver.empty() ? "-"
                                                : d.info->driver,
                       d.bound.domain.empty() ? "-" : d.bound.domain,
                       d.bound.is != result::ok || d.bound.bypasses ? "-" : hex(d.bound.root), binding_text(d.bound)});
        print(table.text());
    }
    finish_output();
    return 0;
}

} // namespace inspect
