#include "amdvi_registers.hpp"

#include "bad_input.hpp"

namespace inspect {

namespace {

namespace amdvi = stagewalk::amdvi;

constexpr register_option options[] = {
    {"DEVTAB_BASE", "Device Table Base Address Register", true},
    {"EXT_FEATURES", "Extended Feature Register", true},
    {"EXT_FEATURES2", "Extended Feature 2 Register (default 0)", false, 0},
    {"CONTROL", "Control Register (default 1: translation is on)", false, 1},
    {"DEVTAB_BASE1", "Device Table Segment 1 Base Address Register"},
    {"DEVTAB_BASE2", "that of segment 2"},
    {"DEVTAB_BASE3", "that of segment 3"},
    {"DEVTAB_BASE4", "that of segment 4"},
    {"DEVTAB_BASE5", "that of segment 5"},
    {"DEVTAB_BASE6", "that of segment 6"},
    {"DEVTAB_BASE7", "that of segment 7"},
    {"EXCLUSION_BASE", "Exclusion Base Register (default 0: no such range)"},
    {"EXCLUSION_LIMIT", "Exclusion Range Limit Register (default 0)"},
    {"CAP_HEADER", "the first dword of the PCI capability (default 1000000: IotlbSup)"},
};

// What is wrong with the capabilities, and the register to blame.
struct complaint {
    char const* key;
    char const* what;
};

complaint explain(amdvi::capability_error e) {
    switch (e) {
    case amdvi::capability_error::none: break;
    case amdvi::capability_error::gcr3_levels: return {"EXT_FEATURES", "GLXSup is 3, which is reserved"};
    case amdvi::capability_error::pasid_size: return {"EXT_FEATURES", "PASmax is above 19"};
    case amdvi::capability_error::interrupt_table_size: return {"EXT_FEATURES2", "NumIntRemapSup is above 1, which is reserved"};
    }
    return {"EXT_FEATURES", "makes no sense"};
}

} // namespace

std::span<register_option const> amdvi_register_options() { return options; }

std::string device_table_register(std::uint64_t n) { return n == 0 ? "DEVTAB_BASE" : "DEVTAB_BASE" + std::to_string(n); }

amdvi_registers read_amdvi_registers(capture const& c) {
    auto const wrong = [&](std::string const& key, std::string const& what) {
        return bad_input{c.registers_at() + c.register_name(key) + what};
    };
    auto const reg_or = [&](std::string const& key, std::uint64_t otherwise) { return c.has_reg(key) ? c.reg(key) : otherwise; };
    // Addresses have 52 bits. A capture may state a width anyway, but who gives the option expects it to count.
    if (c.folder.empty() && c.haw) throw wrong("haw", " does not apply to an AMD IOMMU");

    amdvi_registers all;
    std::uint64_t const header = reg_or("CAP_HEADER", amdvi::capabilities::iotlbs);
    if (header > 0xffff'ffff) throw wrong("CAP_HEADER", " does not fit 32 bits");
    std::uint64_t const features = c.reg("EXT_FEATURES");
    all.caps = amdvi::capabilities{features, reg_or("EXT_FEATURES2", 0), static_cast<std::uint32_t>(header)};
    if (auto const bad = all.caps.contradiction(); bad != amdvi::capability_error::none)
        throw wrong(explain(bad).key, std::string{": "} + explain(bad).what);
    std::uint64_t const control = c.reg("CONTROL");
    all.control = {control, c.reg("DEVTAB_BASE")};
    for (std::uint64_t n = 1; n < all.segments(); ++n)
        all.control.table[n] = amdvi::device_table_base_register{c.reg(device_table_register(n))};
    all.control.exclusion_base = amdvi::exclusion_base_register{reg_or("EXCLUSION_BASE", 0)};
    all.control.exclusion_limit = amdvi::exclusion_limit_register{reg_or("EXCLUSION_LIMIT", 0)};
    return all;
}

} // namespace inspect
