// An AMD IOMMU over flat memory, host tables, guest tables, or both: request in, address or event out.
// machines: host clang aarch64 clang-aarch64-none riscv64 s390x
#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/memory/flat.hpp>

#include <cstdint>

namespace sw = stagewalk;

struct amdvi_registers {
    std::uint64_t extended_features;
    std::uint64_t extended_features_2;
    std::uint64_t control;
    std::uint64_t device_table_base;
};

bool translate(void* ram, std::uint64_t bytes, amdvi_registers const& r, sw::amdvi::request const& request, std::uint64_t& out,
               sw::fault<sw::amdvi::event>& why) {
    sw::flat memory{ram, bytes, sw::pa{0}};
    sw::amdvi::capabilities const caps{r.extended_features, r.extended_features_2};
    if (caps.contradiction() != sw::amdvi::capability_error::none) return false;
    sw::amdvi::iommu const unit{caps, sw::amdvi::control{r.control, r.device_table_base}, memory};
    auto const found = unit.translate(request);
    if (!found) {
        why = found.error();
        return false;
    }
    out = found->output.value;
    return true;
}

// What a driver writes: a device's entry of the device table, and the words of host and guest tables.
void bind(std::uint64_t* entry, std::uint64_t domain, std::uint64_t levels, std::uint64_t root, std::uint64_t gcr3) {
    sw::amdvi::device_table_entry e;
    e.set<"V">(1);
    e.set<"TV">(1);
    e.set<"Mode">(levels);
    e.set<"HostPageTableRoot">(root);
    e.set<"DomainID">(domain);
    e.set<"IR">(1);
    e.set<"IW">(1);
    e.set<"GV">(gcr3 != 0);
    e.set_gcr3_root(gcr3);
    // Words 2 and 3 first: word 0 makes the entry valid.
    for (unsigned i = 4; i-- > 0;)
        entry[i] = e.word[i];
}

std::uint64_t host_word(std::uint64_t page, std::uint64_t lg2) {
    return sw::amdvi::host_table<>::make_leaf(sw::pa{page}, lg2, sw::read_write);
}

std::uint64_t guest_word(std::uint64_t table) { return sw::amdvi::guest_table<>::make_table(sw::pa{table}, 1); }
