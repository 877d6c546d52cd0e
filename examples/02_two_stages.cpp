// A guest's tables behind a host's: every entry of the guest's is read where stage 2 says that it is.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>
#include <vector>

using namespace stagewalk;

int main() {
    vtd::capability_register cap;
    cap.set<"SAGAW">(4);
    cap.set<"MGAW">(47);
    vtd::capabilities const caps{cap.word[0], 0};

    std::vector<std::uint64_t> storage(1_MiB / 8);
    flat host{storage.data(), 1_MiB, pa{0}};

    // The host: guest-physical 0 to 256 KiB lies at host-physical 512 KiB. Its tables begin at 64 KiB.
    bump_allocator host_pool{range{pa{68_KiB}, 60_KiB}};
    vtd::second_stage<ipa, pa> const stage2{caps, 4, pa{64_KiB}};
    if (!table{stage2, host, host_pool}.map({ipa{0}, 256_KiB}, pa{512_KiB}, read_write)) return 1;

    // The guest: it sees its own memory from address 0, and writes tables there. It maps one page for reading.
    flat guest{storage.data() + 512_KiB / 8, 256_KiB, ipa{0}};
    bump_allocator guest_pool{range{ipa{4_KiB}, 60_KiB}};
    vtd::second_stage<iova, ipa> const stage1{caps, 4, ipa{0}};
    if (!table{stage1, guest, guest_pool}.map({iova{0x7000'0000}, 4_KiB}, ipa{128_KiB}, read)) return 1;

    nested both{stage1, stage2, host};
    auto const t = both.translate(iova{0x7000'0123}, read);
    if (!t) return 1;
    std::printf("70000123 -> %llx\n", static_cast<unsigned long long>(t->output.value));

    // The guest lets the device write nothing, so the fault is the guest's stage's.
    auto const refused = both.translate(iova{0x7000'0123}, write);
    if (refused || refused.error().by != nested_by::outer) return 1;
    std::printf("a write: %s\n", vtd::text(refused.error().outer.code));
    return t->output == pa{512_KiB + 128_KiB + 0x123} ? 0 : 1;
}
