#include "device_list.hpp"

#include "bad_input.hpp"
#include "number.hpp"

#include <algorithm>

namespace inspect {

std::string listed_device::name(unit const& u) const {
    return u.sources_are_bdfs() ? bdf_text(bound.source) : "stream " + hex(bound.source);
}

void require_source(unit const& u, std::uint32_t source) {
    if (source > u.largest_source()) throw bad_input{"--source: " + hex(source) + " is above " + hex(u.largest_source())};
}

std::vector<listed_device> list_devices(capture const& c, unit& u, std::optional<std::uint32_t> only,
                                        std::optional<std::uint32_t> pasid) {
    if (only) require_source(u, *only);
    if (only) return {{u.find(*only, pasid.value_or(no_pasid)), c.device(*only)}};
    std::vector<listed_device> list;
    for (binding& b : u.bindings())
        list.push_back({std::move(b), c.device(b.source)});
    std::size_t const bound = list.size();
    for (device_info const& d : c.devices) {
        bool const listed = std::any_of(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(bound),
                                        [&](listed_device const& l) { return l.bound.source == d.source; });
        if (!listed && d.source <= u.largest_source()) list.push_back({u.find(d.source, no_pasid), &d});
    }
    std::stable_sort(list.begin(), list.end(),
                     [](listed_device const& a, listed_device const& b) { return a.bound.source < b.bound.source; });
    return list;
}

std::size_t first_with_same_tables(std::vector<listed_device> const& list, std::size_t i) {
    std::size_t first = 0;
    while (first < i && !list[first].bound.same_tables(list[i].bound))
        ++first;
    return first;
}

std::string binding_text(binding const& b) {
    if (b.is == result::ok) return b.mode;
    if (b.is == result::missing) return "page " + hex(b.problem.address) + " is not captured";
    return std::string{"none: "} + b.problem.fault.meaning;
}

} // namespace inspect
