#include "bad_input.hpp"
#include "unit.hpp"

namespace inspect {

std::unique_ptr<unit> open_unit(capture const& c, guest_memory& memory, bool range_rules) {
    if (c.format.starts_with("vtd")) return open_vtd_unit(c, memory, range_rules);
    std::string const where = c.path("meta.json") + ": format \"" + c.format + "\": ";
    if (c.format == "smmuv3" || c.format.starts_with("amd")) throw bad_input{where + "this architecture is not supported yet"};
    throw bad_input{where + "unknown architecture (known: vtd*, smmuv3, amd*)"};
}

} // namespace inspect
