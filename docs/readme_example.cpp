#include <cstdio>
#include <stagewalk/stagewalk.hpp>
using namespace stagewalk;

int main() {
    static std::uint64_t ram[32 * 512];            // 128 KiB of host memory; the upper half is the guest's
    constexpr vtd::capabilities caps{0x2f0406, 0}; // CAP_REG and ECAP_REG: 4 levels, addresses of 48 bits

    // The host's tables: GPA 0 to 64 KiB lie at HPA 0x1001'0000.
    flat host{ram, pa{0x1000'0000}};
    bump_allocator host_pool{range{pa{0x1000'1000}, 60_KiB}};
    vtd::second_stage<ipa, pa> const host_stage{caps, 4, pa{0x1000'0000}};
    if (!table{host_stage, host, host_pool}.map({ipa{0}, 64_KiB}, pa{0x1001'0000}, read_write)) return 1;

    // The guest's tables, in the guest's memory: a device may read one page at IOVA 1 MiB, which is GPA 0x8000.
    flat guest{ram + 16 * 512, 64_KiB, ipa{0}};
    bump_allocator guest_pool{range{ipa{0x1000}, 28_KiB}};
    vtd::second_stage<iova, ipa> const guest_stage{caps, 4, ipa{0}};
    if (!table{guest_stage, guest, guest_pool}.map({iova{1_MiB}, 4_KiB}, ipa{0x8000}, read)) return 1;

    // The device's DMA goes through both. Each entry of the guest's tables is itself found through the host's.
    nested both{guest_stage, host_stage, host};
    for (access wanted : {read, write}) {
        auto const t = both.translate(iova{0x10'0abc}, wanted);
        if (t) std::printf("HPA %llx\n", static_cast<unsigned long long>(t->output.value));
        if (!t) std::printf("fault %02xh: %s\n", static_cast<unsigned>(t.error().outer.code), vtd::text(t.error().outer.code));
    }
}
