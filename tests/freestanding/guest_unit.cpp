// A VMM's emulated unit over flat guest memory: request in, address or fault record out.
// machines: host clang aarch64 clang-aarch64-none riscv64 s390x
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/iommu.hpp>
#include <stagewalk/vtd/reason_text.hpp>

#include <cstdint>

namespace sw = stagewalk;

struct answer {
    std::uint64_t address;
    std::uint64_t record[2];
    char const* why;
};

bool translate(void* ram, std::uint64_t bytes, std::uint64_t cap, std::uint64_t ecap, std::uint64_t root,
               sw::vtd::request const& r, answer& a) {
    sw::flat guest{ram, bytes, sw::ipa{0}};
    sw::vtd::capabilities const caps{cap, ecap};
    sw::vtd::iommu const unit{caps, sw::vtd::root_table_address(root), guest};
    auto const found = unit.translate(r);
    if (found) {
        a.address = found->output.value;
        return true;
    }
    auto const record = sw::vtd::to_record(caps, found.error(), r);
    a.record[0] = record.word[0];
    a.record[1] = record.word[1];
    a.why = sw::vtd::text(found.error().code);
    return false;
}

// What a printer needs of an entry: names, places and values from the one list.
unsigned count_fields(sw::vtd::context_entry const& e) {
    unsigned fields = 0;
    e.for_each_field([&](sw::field_view const& v) { fields += v.name[0] != 0; });
    return fields;
}
