// Maps a range in tables of one's own, and walks them.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>
#include <vector>

using namespace stagewalk;

int main() {
    // A unit with tables of 4 levels and large pages. Real programs hand the raw registers to vtd::capabilities.
    vtd::capability_register cap;
    cap.set<"SAGAW">(4);
    cap.set<"SSLPS">(3);
    cap.set<"MGAW">(47);
    vtd::capabilities const caps{cap.word[0], 0};

    // 64 KiB of memory for the tables, at physical address 1 MiB: the root table, then what the allocator hands out.
    std::vector<std::uint64_t> storage(64_KiB / 8);
    flat memory{storage.data(), 64_KiB, pa{1_MiB}};
    bump_allocator pool{range{pa{1_MiB + 4_KiB}, 60_KiB}};
    vtd::second_stage<iova, pa> const domain{caps, 4, pa{1_MiB}};

    table tables{domain, memory, pool};
    if (!tables.map({iova{0x20'0000}, 2_MiB + 8_KiB}, pa{0x4000'0000}, read_write)) return 1;

    for (iova const at : {iova{0x20'0040}, iova{0x40'1040}, iova{0x40'2000}}) {
        if (auto const t = walk(domain, memory, at, write)) {
            std::printf("%llx -> %llx, a page of 2^%llu bytes\n", static_cast<unsigned long long>(at.value),
                        static_cast<unsigned long long>(t->output.value), static_cast<unsigned long long>(t->lg2_size));
        } else {
            std::printf("%llx: fault %xh, %s\n", static_cast<unsigned long long>(at.value), static_cast<unsigned>(t.error().code),
                        vtd::text(t.error().code));
        }
    }
    return walk(domain, memory, iova{0x40'1040}, write)->output == pa{0x4020'1040} ? 0 : 1;
}
