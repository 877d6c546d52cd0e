#include "vtd_registers.hpp"

#include "bad_input.hpp"

#include <string>

namespace inspect {

namespace {

namespace vtd = stagewalk::vtd;

// Global status register GSTS (VT-d 11.4.4.2), as far as it steers translation.
struct global_status : stagewalk::entry<64, stagewalk::field<"TES", 31>, stagewalk::field<"RTPS", 30>> {
    using entry::entry;
};

// What is wrong with the capabilities, and the register to blame.
struct complaint {
    char const* key;
    char const* what;
};

complaint explain(vtd::capability_error e) {
    switch (e) {
    case vtd::capability_error::none: break;
    case vtd::capability_error::no_table_levels: return {"CAP", "SAGAW names no supported table depth"};
    case vtd::capability_error::reserved_table_levels: return {"CAP", "SAGAW has a reserved bit set"};
    case vtd::capability_error::large_pages: return {"CAP", "SSLPS is none of 0, 1, 3"};
    case vtd::capability_error::domain_width: return {"CAP", "ND is 7, which is reserved"};
    case vtd::capability_error::host_address_width: return {"CAP", "MGAW is below 32 bits"};
    case vtd::capability_error::nesting: return {"ECAP", "NEST is set without SMTS, FSTS and SSTS"};
    }
    return {"CAP", "makes no sense"};
}

} // namespace

vtd_registers read_vtd_registers(capture const& c) {
    auto const contradiction = [&](std::string const& what) {
        return bad_input{c.registers_at() + "the registers contradict each other: " + what};
    };
    std::uint64_t const cap = c.reg("CAP");
    std::uint64_t const ecap = c.reg("ECAP");
    std::uint64_t const version = c.has_reg("VER") ? c.reg("VER") : 0x10;
    global_status const status{c.reg("GSTS")};
    vtd::root_table_address const root{c.reg("RTADDR")};

    // The width that the capture states is the host's, and no register: it is judged by itself.
    if (auto const wrong = vtd::capabilities{cap, ecap}.contradiction(); wrong != vtd::capability_error::none)
        throw bad_input{c.registers_at() + c.register_name(explain(wrong).key) + ": " + explain(wrong).what};
    if (c.haw && (*c.haw < 32 || *c.haw > 52))
        throw bad_input{c.registers_at() + c.register_name("haw") + " is " + std::to_string(*c.haw) + ", not within 32 to 52"};

    bool const enabled = status.get<"TES">() != 0;
    if (enabled && status.get<"RTPS">() == 0) throw contradiction("GSTS.TES is set without GSTS.RTPS");
    vtd_registers const all{{cap, ecap, c.haw.value_or(0), version}, root, enabled};
    if (!enabled) return all;

    bool const says_legacy = c.format.find("legacy") != std::string::npos;
    bool const says_scalable = c.format.find("scalable") != std::string::npos || c.format.find("-sm") != std::string::npos;
    if (says_legacy && all.mode() == vtd::table_mode::scalable)
        throw contradiction("RTADDR.TTM selects scalable mode, but format is \"" + c.format + "\"");
    if (says_scalable && all.mode() == vtd::table_mode::legacy)
        throw contradiction("RTADDR.TTM selects legacy mode, but format is \"" + c.format + "\"");
    return all;
}

} // namespace inspect
