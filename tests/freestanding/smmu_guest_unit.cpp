// An SMMU over flat memory, one stage, the other, or both: request in, address or event out.
// machines: host clang aarch64 clang-aarch64-none riscv64 s390x
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/smmu/iommu.hpp>

#include <cstdint>

namespace sw = stagewalk;

struct smmu_registers {
    std::uint32_t idr[4];
    std::uint32_t aidr;
    std::uint64_t strtab_base;
    std::uint32_t strtab_base_cfg;
    std::uint32_t cr0;
};

bool translate(void* ram, std::uint64_t bytes, smmu_registers const& r, sw::smmu::request const& request, std::uint64_t& out,
               sw::fault<sw::smmu::event>& why) {
    sw::flat memory{ram, bytes, sw::pa{0}};
    sw::smmu::capabilities const caps{r.idr[0], r.idr[1], r.idr[2], r.idr[3], r.aidr};
    if (caps.contradiction() != sw::smmu::capability_error::none) return false;
    sw::smmu::iommu const unit{caps, sw::smmu::control{r.strtab_base, r.strtab_base_cfg, r.cr0}, memory};
    auto const found = unit.translate(request);
    if (!found) {
        why = found.error();
        return false;
    }
    out = found->output.value;
    return true;
}

// What a driver writes: a device's entry of the stream table and its context descriptor.
void bind(std::uint64_t* entry, std::uint64_t* descriptor, std::uint64_t at, std::uint64_t table) {
    auto const e = sw::smmu::stream_table_entry::make_stage1(at);
    auto const d = sw::smmu::context_descriptor::make(table, 48, sw::smmu::granule::k4, 48, 1);
    for (unsigned i = 0; i < 8; ++i) {
        entry[i] = e.word[i];
        descriptor[i] = d.word[i];
    }
}
