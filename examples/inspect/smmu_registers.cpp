#include "smmu_registers.hpp"

#include "bad_input.hpp"

#include <string>

namespace inspect {

namespace {

namespace smmu = stagewalk::smmu;

constexpr register_option options[] = {
    {"STRTAB_BASE", "SMMU_STRTAB_BASE, the stream table", true},
    {"STRTAB_BASE_CFG", "SMMU_STRTAB_BASE_CFG, its size and format", true},
    {"IDR0", "SMMU_IDR0", true},
    {"IDR1", "SMMU_IDR1", true},
    {"IDR3", "SMMU_IDR3", true},
    {"IDR5", "SMMU_IDR5", true},
    {"AIDR", "SMMU_AIDR", true},
    {"CR0", "SMMU_CR0 (default 1: translation is on)", false, 1},
    {"CR2", "SMMU_CR2 (default 0)", false, 0},
    {"GBPA", "SMMU_GBPA (default 0)", false, 0},
};

// What is wrong with the capabilities, and the register to blame.
struct complaint {
    char const* key;
    char const* what;
};

complaint explain(smmu::capability_error e) {
    switch (e) {
    case smmu::capability_error::none: break;
    case smmu::capability_error::no_stage: return {"IDR0", "S1P and S2P are both 0"};
    case smmu::capability_error::table_format: return {"IDR0", "TTF lacks VMSAv8-64, the only format that can be walked"};
    case smmu::capability_error::no_granule: return {"IDR5", "no granule is implemented"};
    case smmu::capability_error::stream_size: return {"IDR1", "SIDSIZE is above 32"};
    case smmu::capability_error::substream_size: return {"IDR1", "SSIDSIZE is above 20"};
    case smmu::capability_error::stream_levels: return {"IDR0", "ST_LEVEL is reserved, or 0 with a SIDSIZE of 7 or more"};
    case smmu::capability_error::endianness: return {"IDR0", "TTENDIAN is 1, which is reserved"};
    case smmu::capability_error::stall_model: return {"IDR0", "STALL_MODEL is 3, which is reserved"};
    case smmu::capability_error::output_size: return {"IDR5", "OAS is reserved, or 52 bits in an SMMU that cannot have them"};
    case smmu::capability_error::small_descriptors: return {"IDR5", "DS is set without VAX, or without a granule that it is for"};
    }
    return {"IDR0", "makes no sense"};
}

} // namespace

std::span<register_option const> smmu_register_options() { return options; }

smmu_registers read_smmu_registers(capture const& c) {
    auto const wrong = [&](std::string const& key, std::string const& what) {
        return bad_input{c.registers_at() + c.register_name(key) + what};
    };
    auto const reg32 = [&](std::string const& key) {
        std::uint64_t const value = c.reg(key);
        if (value > 0xffff'ffff) throw wrong(key, " does not fit 32 bits");
        return static_cast<std::uint32_t>(value);
    };
    // The widths are in IDR5. A capture may state one anyway, but who gives the option expects it to count.
    if (c.folder.empty() && c.haw) throw wrong("haw", " does not apply to an SMMU: IDR5.OAS says it");

    smmu_registers all;
    std::uint32_t const idr0 = reg32("IDR0");
    std::uint32_t const idr1 = reg32("IDR1");
    std::uint32_t const idr3 = reg32("IDR3");
    std::uint32_t const idr5 = reg32("IDR5");
    all.caps = {idr0, idr1, idr3, idr5, reg32("AIDR")};
    if (auto const bad = all.caps.contradiction(); bad != smmu::capability_error::none)
        throw wrong(explain(bad).key, std::string{": "} + explain(bad).what);
    // CR0ACK says what has taken effect.
    std::uint32_t const cr0 = reg32(c.has_reg("CR0ACK") ? "CR0ACK" : "CR0");
    std::uint32_t const cr2 = reg32("CR2");
    std::uint32_t const gbpa = reg32("GBPA");
    std::uint64_t const base = c.reg("STRTAB_BASE");
    all.control = {base, reg32("STRTAB_BASE_CFG"), cr0, cr2, gbpa};
    return all;
}

} // namespace inspect
