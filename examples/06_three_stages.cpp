// A guest in a guest: a device's address goes through the tables of the inner guest, of the outer one and of the host, each of an
// architecture of its own. The fault of such a walk says whose it is, down to the stage that refused.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>
#include <vector>

using namespace stagewalk;

// What the inner guest takes for physical is an `ipa`. What the outer one takes for physical gets a name of its own.
struct outer_space {};
using outer_ipa = address<outer_space>;

int main() {
    std::vector<std::uint64_t> ram(1_MiB / 8);
    flat host{ram.data(), 1_MiB, pa{0}};

    // The host, an AMD IOMMU: the outer guest's 512 KiB are the upper half of its memory. Its tables begin at 64 KiB.
    bump_allocator host_pool{range{pa{68_KiB}, 60_KiB}};
    amdvi::host_table<outer_ipa, pa> const s3{4, pa{64_KiB}};
    if (!table{s3, host, host_pool}.map({outer_ipa{0}, 512_KiB}, pa{512_KiB}, read_write)) return 1;

    // The outer guest has a VT-d unit. It gives the inner guest the upper half of what it has.
    flat outer{ram.data() + 512_KiB / 8, 512_KiB, outer_ipa{0}};
    bump_allocator outer_pool{range{outer_ipa{4_KiB}, 60_KiB}};
    constexpr vtd::capabilities caps{0x2f0406, 0}; // 4 levels, addresses of 48 bits
    vtd::second_stage<ipa, outer_ipa> const s2{caps, 4, outer_ipa{0}};
    if (!table{s2, outer, outer_pool}.map({ipa{0}, 256_KiB}, outer_ipa{256_KiB}, read_write)) return 1;

    // The inner guest has an SMMU with tables of 16 KiB, for addresses of 36 bits. It lets a device read one page.
    flat inner{ram.data() + 768_KiB / 8, 256_KiB, ipa{0}};
    bump_allocator inner_pool{range{ipa{16_KiB}, 112_KiB}};
    smmu::stage1<smmu::granule::k16, iova, ipa> const s1{smmu::table_shape{0, smmu::stage1_top(smmu::granule::k16, 36), 36, 40}};
    if (!table{s1, inner, inner_pool}.map({iova{0x7000'0000}, 16_KiB}, ipa{128_KiB}, read)) return 1;

    // Any stage goes over any translator, and two nested stages are one.
    nested all{s1, nested{s2, s3, host}, host};
    auto const t = all.translate(iova{0x7000'0123}, read);
    if (!t) return 1;
    std::printf("70000123 -> %llx\n", static_cast<unsigned long long>(t->output.value));

    // The outer guest takes a page away from the inner one: that in which the device's entries lie. The fault is of three parts.
    // The inner guest sees a descriptor that cannot be read, and why it cannot is told with the outer guest's code.
    auto const root = walk(s2, outer, ipa{0}, read, [&](auto const& s) {
        if (s.at.level == 0) (void)outer.store(outer_ipa{s.at.address}, 0);
    });
    if (!root) return 1;
    auto const gone = all.translate(iova{0x7000'0123}, read);
    if (gone) return 1;
    auto const& f = gone.error();
    if (f.by != nested_by::table || f.inner.by != nested_by::outer) return 1;
    std::printf("inner guest: %s at %llx\n", smmu::name_of(f.outer.code), static_cast<unsigned long long>(f.outer.intermediate));
    std::printf("outer guest: %s\n", vtd::text(f.inner.outer.code));
    return t->output == pa{768_KiB + 128_KiB + 0x123} ? 0 : 1;
}
