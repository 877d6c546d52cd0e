// An AMD IOMMU with caches against one without, over the same tables: the input is a program of requests, edits and commands.
// An edit is followed by what it owes; commands of any words come in between, and may drop more. An answer is never stale.
#include <stagewalk/amdvi/caches.hpp>
#include <stagewalk/amdvi/configure.hpp>
#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/memory/callback.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

using namespace stagewalk;

// Numbers out of bytes.
struct numbers {
    std::uint8_t const* at;
    std::size_t left;

    std::uint64_t operator()(unsigned bytes) {
        std::uint64_t number = 0;
        for (; bytes != 0 && left > 0; --bytes, --left)
            number = number << 8 | *at++;
        return number;
    }
};

// Pages from address 0 on: 0 the device table, four devices; 1 to 3 host tables of three levels; 4 a GCR3 table, 5 to 8 guest
// tables. A guest's addresses are its host's, from 0 on.
constexpr std::uint64_t pages = 9;
constexpr std::uint64_t devices = 4;
constexpr std::uint16_t host_domains[] = {0, 0x40, 2, 0x42};
constexpr std::uint16_t guest_domains[] = {1, 0x41, 2, 0x42};

struct tables {
    std::uint64_t word[pages * 512]{};

    tables() {
        for (std::uint64_t level = 0; level < 2; ++level)
            word[(1 + level) * 512] = 0x6000'0000'0000'0001 | (2 - level) << 9 | (2 + level) << 12;
        for (std::uint64_t n = 0; n < 64; ++n)
            word[3 * 512 + n] = 0x6000'0000'0000'0001 | n << 12;
        for (std::uint64_t pasid = 0; pasid < 4; ++pasid)
            word[4 * 512 + pasid] = 0x5001;
        for (std::uint64_t level = 0; level < 3; ++level)
            word[(5 + level) * 512] = 7 | (6 + level) << 12;
        for (std::uint64_t n = 0; n < 64; ++n)
            word[8 * 512 + n] = 7 | (n ^ 16) << 12;
        for (std::uint64_t source = 0; source < devices; ++source)
            set(source, source);
    }
    // One of eight kinds of entry: each has a domain of its own, whatever device it is of.
    static amdvi::device_table_entry entry(std::uint64_t kind) {
        auto const domain = static_cast<std::uint16_t>(kind & 4 ? 0x40 + (kind & 3) : kind & 3);
        stagewalk::access const granted = kind & 8 ? stagewalk::read : read_write;
        auto const keeps = kind & 16 ? amdvi::host_updates::accessed_and_dirty : amdvi::host_updates::none;
        switch (kind & 3) {
        case 0: return amdvi::make_host_entry(domain, 3, 0x1000, granted, keeps);
        case 1: return amdvi::with_guest(amdvi::make_identity_entry(domain, granted), {0x4000, 1, 4, true, false});
        case 2: return amdvi::with_guest(amdvi::make_host_entry(domain, 3, 0x1000, granted, keeps), {0x4000, 1, 4, true, false});
        default: return kind & 32 ? amdvi::make_blocked_entry(domain) : amdvi::make_identity_entry(domain, granted);
        }
    }
    void set(std::uint64_t source, std::uint64_t kind) {
        amdvi::device_table_entry e = entry(kind);
        e.set<"I">(1);
        for (std::uint64_t w = 0; w < 4; ++w)
            word[source * 4 + w] = e.word[w];
    }
    amdvi::device_table_entry entry_of(std::uint64_t source) const {
        amdvi::device_table_entry e;
        for (std::uint64_t w = 0; w < 4; ++w)
            e.word[w] = word[source * 4 + w];
        return e;
    }
};

[[noreturn]] void fail(char const* what, amdvi::request const& r) {
    std::fprintf(stderr, "%s: source %x pasid %x address %llx access %llx type %llu\n", what, static_cast<unsigned>(r.source),
                 r.pasid, static_cast<unsigned long long>(r.address.value), static_cast<unsigned long long>(r.access.bits),
                 static_cast<unsigned long long>(r.type));
    std::abort();
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    numbers next{data, size};
    // Updates of the unit without caches are made in memory of its own, which is compared.
    static tables with;
    static tables without;
    with = without = tables{};
    auto const memory_of = [](tables& t) {
        auto load = [&t](pa at) -> outcome<std::uint64_t, int> {
            if (at.value % 8 != 0 || at.value / 8 >= pages * 512) return failure{1};
            return t.word[at.value / 8];
        };
        auto exchange = [&t](pa at, std::uint64_t& expected, std::uint64_t desired) -> outcome<bool, int> {
            if (at.value % 8 != 0 || at.value / 8 >= pages * 512) return failure{1};
            std::uint64_t& word = t.word[at.value / 8];
            bool const same = word == expected;
            expected = word;
            if (same) word = desired;
            return same;
        };
        return make_callback<pa>(load, exchange);
    };
    auto cached_memory = memory_of(with);
    auto plain_memory = memory_of(without);
    amdvi::extended_feature_register efr{0x7fff'ffff'ffff'ffff};
    efr.set<"HATS">(2);
    efr.set<"GATS">(1);
    efr.set<"GLXSup">(2);
    efr.set<"PASmax">(19);
    amdvi::capabilities const caps{efr.word[0], 0, amdvi::capabilities::iotlbs};
    amdvi::control registers{0, 0};
    registers.main.set<"IommuEn">(1);
    registers.main.set<"GTEn">(1);
    auto const caches = std::make_unique<amdvi::caches<pa, sets<8>, ways<2>, groups<16>>>();
    amdvi::iommu const kept{caps, registers, cached_memory, amdvi::settings{}, *caches};
    amdvi::iommu const plain{caps, registers, plain_memory, amdvi::settings{}};
    auto const carry_out = [&](auto const& c) {
        if (!kept.execute({c.word[0], c.word[1]})) std::abort(); // the library's own command
    };

    for (unsigned step = 0; next.left > 0 && step < 300; ++step) {
        std::uint64_t const what = next(1);
        switch (what % 8) {
        case 0: // any words at all
            static_cast<void>(kept.execute({next(8), next(8)}));
            break;
        case 1: { // a device table entry
            std::uint64_t const kind = next(1);
            std::uint64_t const source = what / 8 % devices;
            auto const old = with.entry_of(source);
            with.set(source, kind);
            without.set(source, kind);
            auto const owed = amdvi::owed_after(old, with.entry_of(source), static_cast<std::uint16_t>(source), {}, caps);
            for (std::size_t n = 0; n < owed.count; ++n)
                if (!kept.execute({owed.word[n][0], owed.word[n][1]})) std::abort();
            break;
        }
        case 2: { // a leaf of the host: which addresses of guests it lies under nobody knows
            std::uint64_t const page = pages + next(1) % (64 - pages); // not where the guest's tables lie
            std::uint64_t const to = next(1);
            with.word[3 * 512 + page] = without.word[3 * 512 + page] =
                (to & 64 ? 0 : 1) | (to & 63) << 12 | ((to >> 7) != 0 ? stagewalk::read : read_write).bits << 61;
            for (std::uint16_t const domain : host_domains)
                carry_out(amdvi::invalidate_pages(domain, amdvi::no_pasid,
                                                  range<iova>::between(iova{page << 12}, iova{page << 12 | 0xfff}), true));
            break;
        }
        case 3: { // a leaf of the guest, of every PASID
            std::uint64_t const page = next(1) % 64;
            std::uint64_t const to = next(1);
            with.word[8 * 512 + page] = without.word[8 * 512 + page] = (to & 64 ? 0 : 5) | (to & 63) << 12 | (to >> 7) << 1;
            for (std::uint16_t const domain : guest_domains)
                for (std::uint32_t pasid = 0; pasid < 4; ++pasid)
                    carry_out(amdvi::invalidate_pages(domain, pasid,
                                                      range<iova>::between(iova{page << 12}, iova{page << 12 | 0xfff}), true));
            break;
        }
        case 4: { // a GCR3 table entry
            std::uint32_t const pasid = what / 8 % 4;
            std::uint64_t const value = what & 128 ? 0x5001 : 0;
            with.word[4 * 512 + pasid] = without.word[4 * 512 + pasid] = value;
            for (std::uint16_t const domain : guest_domains)
                carry_out(amdvi::invalidate_pasid(domain, pasid));
            break;
        }
        default: {
            std::uint64_t const how = next(1);
            amdvi::request r;
            r.source = static_cast<std::uint16_t>(what / 8 % (devices + 1));
            r.address = iova{next(1) % 65 << 12 | how >> 5};
            r.access = {how & 15};
            if ((what & 128) != 0) r.pasid = static_cast<std::uint32_t>(next(1) % 5);
            if ((what & 64) != 0) r.type = static_cast<amdvi::request_type>((how >> 4) % 3);
            auto const got = kept.translate(r);
            auto const expected = plain.translate(r);
            if (got ? !expected || !(*got == *expected) : expected || !(got.error() == expected.error())) fail("stale", r);
            for (std::size_t n = 0; n < pages * 512; ++n)
                if (with.word[n] != without.word[n]) fail("the tables' bits differ", r);
        }
        }
    }
    return 0;
}
