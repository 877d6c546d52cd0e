#include "device_list.hpp"

#include "bad_input.hpp"
#include "number.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <tuple>

namespace inspect {

std::string listed_device::name(unit const& u) const {
    std::string const device = u.sources_are_bdfs()                    ? bdf_text(bound.source)
                               : info != nullptr && !info->bdf.empty() ? info->bdf
                                                                       : "stream " + hex(bound.source);
    return bound.pasid == no_pasid ? device : device + " PASID " + hex(bound.pasid);
}

void require_source(unit const& u, std::uint32_t source) {
    if (source > u.largest_source()) throw bad_input{"--source: " + hex(source) + " is above " + hex(u.largest_source())};
}

std::vector<listed_device> list_devices(capture const& c, unit& u, std::optional<std::uint32_t> only,
                                        std::optional<std::uint32_t> pasid, bool with_blocked) {
    if (only) require_source(u, *only);
    if (only && pasid) return {{u.find(*only, *pasid), c.device(*only)}};
    binding_list bound = u.bindings(only);
    if (!bound.complete)
        std::fprintf(stderr, "stagewalk-inspect: the tables bind very much; only the first %zu bindings are looked at\n",
                     bound.all.size());
    std::vector<listed_device> list;
    for (binding& b : bound.all) {
        device_info const* const info = c.device(b.source);
        if (b.blocked && !with_blocked && !only && info == nullptr) continue;
        if (!pasid || b.pasid == *pasid) list.push_back({std::move(b), info});
    }
    if (only && list.empty()) list.push_back({u.find(*only, no_pasid), c.device(*only)});
    if (only || pasid) return list;
    std::size_t const by_tables = list.size();
    for (device_info const& d : c.devices) {
        bool const listed = std::any_of(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(by_tables),
                                        [&](listed_device const& l) { return l.bound.source == d.source; });
        if (!listed && d.source <= u.largest_source()) list.push_back({u.find(d.source, no_pasid), &d});
    }
    std::stable_sort(list.begin(), list.end(),
                     [](listed_device const& a, listed_device const& b) { return a.bound.source < b.bound.source; });
    return list;
}

std::vector<std::size_t> first_with_same_tables(std::vector<listed_device> const& list) {
    using tables = std::tuple<std::uint64_t, std::uint64_t, std::string, std::string>;
    std::map<tables, std::size_t> seen;
    std::vector<std::size_t> first(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
        binding const& b = list[i].bound;
        bool const translates = b.is == result::ok && !b.bypasses;
        first[i] = translates ? seen.try_emplace({b.root, b.second_root, b.mode, b.settings}, i).first->second : i;
    }
    return first;
}

std::string binding_text(binding const& b) {
    if (b.is == result::ok || b.blocked) return b.mode;
    if (b.is == result::missing) return "page " + hex(b.problem.address) + " is not captured";
    return std::string{"none: "} + b.problem.fault.meaning;
}

} // namespace inspect
