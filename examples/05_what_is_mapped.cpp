// Lists what tables map, merged into runs, and shows a walk entry by entry, decoded from the library's field lists.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>
#include <vector>

using namespace stagewalk;

int main() {
    vtd::capability_register cap;
    cap.set<"SAGAW">(4);
    cap.set<"SSLPS">(3);
    cap.set<"MGAW">(47);
    std::vector<std::uint64_t> storage(64_KiB / 8);
    flat memory{storage.data(), 64_KiB, pa{0}};
    bump_allocator pool{range{pa{4_KiB}, 60_KiB}};
    using domain_stage = vtd::second_stage<iova, pa>;
    domain_stage const domain{{cap.word[0], 0}, 4, pa{0}};
    table tables{domain, memory, pool};
    if (!tables.map({iova{0x1f'f000}, 2_MiB + 8_KiB}, pa{0x4000'0000 - 4_KiB}, read_write)) return 1;
    if (!tables.map({iova{0x4000'0000}, 1_GiB}, pa{0x8000'0000}, read)) return 1;

    int runs = 0;
    auto const done = for_each_run(domain, memory, range<iova>::all(), [&](run<domain_stage> const& r) {
        ++runs;
        std::printf("%10llx-%10llx -> %10llx  %llu pages\n", static_cast<unsigned long long>(r.part.first().value),
                    static_cast<unsigned long long>(r.part.last().value), static_cast<unsigned long long>(r.output.value),
                    static_cast<unsigned long long>(r.leaves));
    });
    std::printf("%llu tables, %llu entries read\n\n", static_cast<unsigned long long>(done.tables),
                static_cast<unsigned long long>(done.loads));

    auto const show = [](traced_step<domain_stage> const& s) {
        std::printf("level %llu, entry at %llx:", static_cast<unsigned long long>(s.at.level + 1),
                    static_cast<unsigned long long>(s.at.address));
        vtd::second_stage_page{s.at.entry}.for_each_field([](field_view const& f) {
            if (f.kind != field_kind::ignored) std::printf(" %s=%llx", f.name, static_cast<unsigned long long>(f.value));
        });
        std::printf("\n");
    };
    auto const t = walk(domain, memory, iova{0x1f'f123}, read, show);
    return t && runs == 2 && done.complete ? 0 : 1;
}
