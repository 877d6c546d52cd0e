// What an emulator does: a device's request through root table, context table and page tables, and the record of a fault.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>
#include <vector>

using namespace stagewalk;

int main() {
    // Guest memory. In an emulator: flat over guest RAM, or windowed where it has holes.
    std::vector<std::uint64_t> ram(64_KiB / 8);
    flat memory{ram.data(), 64_KiB, ipa{0}};

    // CAP and ECAP as the guest reads them.
    vtd::capabilities const caps{0x80d2'008c'222f'0686, 0x00f0'0f4a};
    if (caps.contradiction() != vtd::capability_error::none) return 1;

    // Tables as a guest's driver would write them: device 00:04.0 is in domain 7, whose tables map one page for reading.
    auto const put = [&](std::uint64_t at, auto const& entry) {
        for (std::size_t i = 0; i < entry.words; ++i)
            static_cast<void>(memory.store(ipa{at + i * 8}, entry.word[i]));
    };
    put(0x1000, vtd::root_entry::make(0x2000));
    put(0x2000 + 0x20 * sizeof(vtd::context_entry),
        vtd::context_entry::make(vtd::translation_type::untranslated_only, 0x3000, 4, 7));
    bump_allocator pool{range{ipa{0x4000}, 0x8000}};
    table tables{vtd::second_stage<iova, ipa>{caps, 4, ipa{0x3000}}, memory, pool};
    if (!tables.map({iova{0x10000}, 4_KiB}, ipa{0xc000}, read)) return 1;

    vtd::iommu const unit{caps, vtd::root_table_address{0x1000}, memory};
    vtd::request r{.source = 0x0020, .address = iova{0x10040}, .access = read};
    auto const t = unit.translate(r);
    if (!t) return 1;
    std::printf("read  of %llx: guest-physical %llx\n", static_cast<unsigned long long>(r.address.value),
                static_cast<unsigned long long>(t->output.value));

    r.access = write;
    auto const refused = unit.translate(r);
    if (refused) return 1;
    auto const record = vtd::to_record(caps, refused.error(), r);
    std::printf("write of %llx: fault %xh, %s; FRCD = %016llx %016llx\n", static_cast<unsigned long long>(r.address.value),
                static_cast<unsigned>(refused.error().code), vtd::text(refused.error().code),
                static_cast<unsigned long long>(record.word[1]), static_cast<unsigned long long>(record.word[0]));
    return t->output == ipa{0xc040} && refused.error().code == vtd::reason::write_denied ? 0 : 1;
}
