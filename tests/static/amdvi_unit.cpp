// A whole AMD IOMMU in a constant expression: device table, GCR3 table, host and guest tables, made with the encoders.
#include "catch.hpp"

#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/array.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/trusted.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {
namespace {

using amdvi::event;

using host_stage = amdvi::host_table<iova, pa>;
using middle = intermediate<pa>;
using nested_host = amdvi::host_table<middle, pa>;
using guest_stage = amdvi::guest_table<iova, pa>;
using nested_guest = amdvi::guest_table<iova, middle>;

// What each format is, and what it is not.
static_assert(stage<host_stage> && encodable<host_stage> && trustable<host_stage> && marking<host_stage>);
static_assert(stage<nested_host> && encodable<nested_host> && trustable<nested_host> && marking<nested_host>);
static_assert(stage<guest_stage> && encodable<guest_stage> && trustable<guest_stage> && marking<guest_stage>);
static_assert(stage<nested_guest> && encodable<nested_guest> && trustable<nested_guest> && marking<nested_guest>);
static_assert(skips_levels<host_stage> && skips_levels<trusted<host_stage>> && !skips_levels<guest_stage>);
static_assert(!small_tables<host_stage> && !small_tables<guest_stage>);
static_assert(lg2_table<host_stage> == 12 && lg2_table<guest_stage> == 12);
static_assert(host_stage::number == fault_stage::second && guest_stage::number == fault_stage::first);
static_assert(std::is_trivially_copyable_v<host_stage> && std::is_trivially_copyable_v<guest_stage>);
static_assert(fast_lane<host_stage::fast_lane> && fast_lane<guest_stage::fast_lane>);
static_assert(serves<array<pa, 512>, nested_guest::output> == false); // a guest's tables are not in the system's memory

// The masks that come from the lists of fields, against the manual's.
static_assert(amdvi::host_table_entry::reserved() == 0x1ff0'0000'0000'0000);
static_assert((amdvi::host_page::reserved() | amdvi::host_page::mask<"PMC">()) == 0x07f0'0000'0000'0000);
static_assert(amdvi::guest_table_entry::reserved() == 0);
static_assert(amdvi::guest_page::reserved() == 0);
static_assert(amdvi::guest_large_page<21>::reserved() == 0x001f'e000);
static_assert(amdvi::guest_large_page<30>::reserved() == 0x3fff'e000);

constexpr pa origin{0x1000'0000};
constexpr std::size_t words = 512 * 32;

// GTSup, NXSup, HATS 2, GATS 1, GLXSup 1, 16 bits of PASID, GIoSup.
constexpr amdvi::capabilities caps{0x1'000f'0000'5818};
constexpr amdvi::control registers{0x1'0001, origin.value}; // IommuEn and GTEn; 128 entries

constexpr pa gcr3_table = origin + 0x1000;
constexpr pa host_root = origin + 0x2000;
constexpr pa guest_root = origin + 0x3000;
constexpr pa nested_root = origin + 0x4000;
constexpr pa guest_ram = origin + 0x8000; // the guest's address 0

struct setting {
    array<pa, words> m{origin};
    bool made{true};
};

// The memory of a guest, whose address 0 is guest_ram: enough for one table builder.
struct guest_memory {
    using address = middle;
    using error = memory_error;
    array<pa, words>* of;

    static constexpr pa place(middle a) { return guest_ram + a.value; }
    constexpr outcome<std::uint64_t, error> load(middle a) noexcept { return of->load(place(a)); }
    constexpr outcome<bool, error> store(middle a, std::uint64_t v) noexcept { return of->store(place(a), v); }
    constexpr outcome<bool, error> compare_exchange(middle a, std::uint64_t& e, std::uint64_t d) noexcept {
        return of->compare_exchange(place(a), e, d);
    }
    constexpr void publish(middle, std::uint64_t) noexcept {}
};

constexpr amdvi::device_table_entry entry_of(std::uint64_t mode, pa root, bool guest, bool by_default = false) {
    amdvi::device_table_entry e;
    e.set<"V">(1);
    e.set<"TV">(1);
    e.set<"Mode">(mode);
    e.set<"HostPageTableRoot">(root.value);
    e.set<"IR">(1);
    e.set<"IW">(1);
    e.set<"DomainID">(0x11);
    if (guest) {
        e.set<"GV">(1);
        e.set<"GIoV">(by_default);
        e.set_gcr3_root(gcr3_table.value);
    }
    return e;
}

constexpr setting make() {
    setting s;
    auto const bind = [&](std::uint64_t device, amdvi::device_table_entry const& e) {
        for (std::uint64_t i = 0; i < 4; ++i)
            s.made = s.made && s.m.store(origin + device * 32 + i * 8, e.word[i]);
    };
    // Device 0 passes; 1 is host, 2 guest, 3 both; 4 may read where it wants; 5 translates nothing.
    bind(1, entry_of(4, host_root, false));
    bind(2, entry_of(0, pa{0}, true, true));
    bind(3, entry_of(3, nested_root, true));
    amdvi::device_table_entry identity = entry_of(0, pa{0}, false);
    identity.set<"IW">(0);
    bind(4, identity);
    amdvi::device_table_entry blocked;
    blocked.set<"V">(1);
    bind(5, blocked);
    // PASID 0 has the tables of device 2, PASID 5 those of the guest.
    s.made = s.made && s.m.store(gcr3_table, amdvi::gcr3_table_entry::make(guest_root.value).word[0]);
    s.made = s.made && s.m.store(gcr3_table + 5 * 8, amdvi::gcr3_table_entry::make(0x1000).word[0]);

    bump_allocator<pa> pool{range<pa>{origin + 0x1'0000, 0x1'0000}};
    attributes const coherent = attributes::from_bits(3 | std::uint64_t{1} << 60);
    table own{host_stage{4, host_root}, s.m, pool};
    s.made = s.made && own.map(range{iova{0x1234'5678'9000}, 0x3000}, pa{0xa'bcde'1000}, read_write); // 4 KiB and 8 KiB
    s.made = s.made && own.map(range{iova{0}, 4_GiB}, pa{0x8'0000'0000}, coherent);
    s.made = s.made && own.map(range{iova{0x80'0000'0000}, 512_GiB}, pa{0}, read);

    table guest{guest_stage{4, guest_root, {read_write, true, true}}, s.m, pool};
    s.made = s.made && guest.map(range{iova{0x8000'0000'0000}, 0x40'0000}, pa{0x4'0000'0000}, read_write | execute);

    // The guest's first 24 KiB, and what it takes for 40'0000'0000h.
    table behind{nested_host{3, nested_root}, s.m, pool};
    s.made = s.made && behind.map(range{middle{0}, 0x6000}, guest_ram, read_write);
    s.made = s.made && behind.map(range{middle{0x40'0000'0000}, 0x1'0000}, pa{0x7'0000'0000}, coherent);
    guest_memory of_guest{&s.m};
    bump_allocator<middle> guest_pool{range<middle>{middle{0x2000}, 0x4000}};
    table inner{nested_guest{4, middle{0x1000}, {read_write, true}}, of_guest, guest_pool};
    s.made = s.made && inner.map(range{iova{0xffff'8000'0000'0000}, 0x20'0000}, middle{0x40'0000'0000}, read_write);
    return s;
}

constexpr setting world = make();
constexpr amdvi::iommu<array<pa, words> const> unit{caps, registers, world.m};

constexpr amdvi::request ask(std::uint16_t device, std::uint64_t at, access a = read, std::uint32_t pasid = amdvi::no_pasid) {
    return {.source = device, .address = iova{at}, .access = a, .pasid = pasid};
}

} // namespace

TEST_CASE("AMD host tables are walked in a constant expression") {
    STATIC_REQUIRE(world.made);
    STATIC_REQUIRE(caps.contradiction() == amdvi::capability_error::none);
    STATIC_REQUIRE(unit.translate(ask(1, 0x1234'5678'9abc))->output == pa{0xa'bcde'1abc});
    STATIC_REQUIRE(unit.translate(ask(1, 0x1234'5678'9abc))->lg2_size == 12);
    STATIC_REQUIRE(unit.translate(ask(1, 0x1234'5678'babc, write))->output == pa{0xa'bcde'3abc});
    STATIC_REQUIRE(unit.translate(ask(1, 0x1234'5678'babc, write))->lg2_size == 13);
    STATIC_REQUIRE_FALSE(unit.translate(ask(1, 0x1234'5678'c000)));
    // 4 GiB in four slots of 1 GiB.
    STATIC_REQUIRE(unit.translate(ask(1, 0xdead'beef, read_write))->output == pa{0x8'dead'beef});
    STATIC_REQUIRE(unit.translate(ask(1, 0xdead'beef))->lg2_size == 32);
    STATIC_REQUIRE(unit.translate(ask(1, 0xdead'beef))->effective.format_bits() == std::uint64_t{1} << 60);
    // 512 GiB are two pages: there is none of 512 GiB.
    STATIC_REQUIRE(unit.translate(ask(1, 0xff'ffff'ffff))->output == pa{0x7f'ffff'ffff});
    STATIC_REQUIRE(unit.translate(ask(1, 0xff'ffff'ffff))->lg2_size == 38);
    constexpr auto denied = unit.translate(ask(1, 0xff'ffff'ffff, write));
    STATIC_REQUIRE(denied.error().code == event::io_page_fault);
    STATIC_REQUIRE((denied.error().detail & amdvi::fault_detail::permission) != 0);
    constexpr auto beyond = unit.translate(ask(1, 0x1'0000'0000'0000));
    STATIC_REQUIRE((beyond.error().detail & amdvi::fault_detail::present) == 0);
    STATIC_REQUIRE(unit.find(ask(1, 0))->kind == amdvi::binding_kind::host);
}

TEST_CASE("AMD host tables in a constant image have the words that hardware reads, in every slot") {
    constexpr pa level3{*world.m.load(host_root) & 0xf'ffff'f000};
    STATIC_REQUIRE((*world.m.load(host_root) & ~std::uint64_t{0xf'ffff'f000}) == 0x6000'0000'0000'0601);
    // 8'0000'0000h with the size of 4 GiB in its low bits; FC.
    STATIC_REQUIRE(*world.m.load(level3) == 0x7000'0008'7fff'fe01);
    STATIC_REQUIRE(*world.m.load(level3 + 8) == *world.m.load(level3));
    STATIC_REQUIRE(*world.m.load(level3 + 16) == *world.m.load(level3));
    STATIC_REQUIRE(*world.m.load(level3 + 24) == *world.m.load(level3));
    STATIC_REQUIRE(*world.m.load(level3 + 32) == 0);
    struct tally {
        std::uint64_t runs{};
        std::uint64_t leaves{};
        std::uint64_t last{};
    };
    constexpr tally t = [] {
        tally all;
        auto const end = for_each_run(host_stage{4, host_root}, world.m, range<iova>::all(), [&](run<host_stage> const& r) {
            ++all.runs;
            all.last = r.part.last().value;
        });
        all.leaves = end.leaves;
        return all;
    }();
    // The two pages of 256 GiB, of 256 slots each, are one run.
    STATIC_REQUIRE(t.runs == 3);
    STATIC_REQUIRE(t.leaves == 4 + 512 + 3);
    STATIC_REQUIRE(t.last == 0x1234'5678'bfff);
    STATIC_REQUIRE(walk(trusted{host_stage{4, host_root}}, world.m, iova{0xdead'beef}, write)->output == pa{0x8'dead'beef});
}

TEST_CASE("AMD guest tables are walked in a constant expression, with PASID 0 by default") {
    // Bit 47 is no sign for PASID 0.
    STATIC_REQUIRE(unit.translate(ask(2, 0x8000'0012'3456))->output == pa{0x4'0012'3456});
    STATIC_REQUIRE(unit.translate(ask(2, 0x8000'0032'3456, write))->output == pa{0x4'0032'3456});
    STATIC_REQUIRE(unit.translate(ask(2, 0x8000'0012'3456))->lg2_size == 21);
    STATIC_REQUIRE(unit.translate(ask(2, 0x8000'0012'3456, execute, 0))->output == pa{0x4'0012'3456});
    STATIC_REQUIRE(unit.translate(ask(2, 0x8000'0012'3456, read, 1)).error().code == event::io_page_fault); // no GCR3 entry
    STATIC_REQUIRE(unit.find(ask(2, 0))->guest_root == guest_root.value);
}

TEST_CASE("AMD guest tables over host tables are walked in a constant expression") {
    STATIC_REQUIRE(unit.translate(ask(3, 0xffff'8000'0000'1234, write, 5))->output == pa{0x7'0000'1234});
    STATIC_REQUIRE(unit.translate(ask(3, 0xffff'8000'0000'1234, read, 5))->lg2_size == 16);
    STATIC_REQUIRE(unit.translate(ask(3, 0xffff'8000'0000'1234, read, 5))->effective.rights() == read_write);
    STATIC_REQUIRE(unit.translate(ask(3, 0xffff'8000'0000'1234, read, 5))->effective.format_bits() == std::uint64_t{1} << 60);
    // The guest lets it go on, the host has nothing there.
    constexpr auto absent = unit.translate(ask(3, 0xffff'8000'0010'0000, read, 5));
    STATIC_REQUIRE(absent.error().code == event::io_page_fault);
    STATIC_REQUIRE(absent.error().stage == fault_stage::second);
    STATIC_REQUIRE(absent.error().intermediate == 0x40'0010'0000);
    // The guest refuses.
    constexpr auto fetch = unit.translate(ask(3, 0xffff'8000'0000'1234, execute, 5));
    STATIC_REQUIRE(fetch.error().stage == fault_stage::first);
    // Without a PASID its addresses are the guest's physical ones.
    STATIC_REQUIRE(unit.translate(ask(3, 0x40'0000'1234))->output == pa{0x7'0000'1234});
    STATIC_REQUIRE(unit.find(ask(3, 0, read, 5))->kind == amdvi::binding_kind::nested);
}

TEST_CASE("an AMD IOMMU that passes or refuses is a constant expression") {
    STATIC_REQUIRE(unit.translate(ask(0, ~std::uint64_t{0}, read_write))->by == passage::bypassed);
    STATIC_REQUIRE(unit.translate(ask(4, 0xdead'beef'0000))->output == pa{0xdead'beef'0000});
    STATIC_REQUIRE(unit.translate(ask(4, 0, write)).error().code == event::io_page_fault);
    STATIC_REQUIRE(unit.translate(ask(5, 0)).error().code == event::io_page_fault);
    STATIC_REQUIRE(unit.translate(ask(128, 0)).error().code == event::illegal_dev_table_entry);
    STATIC_REQUIRE(unit.translate(ask(1, 0xfee0'1234, write))->by == passage::interrupt);
    STATIC_REQUIRE(unit.translate(ask(1, 0xfee0'1234, read)).error().code == event::invalid_device_request);
}

TEST_CASE("the AMD unit in a constant image is the same at run time") {
    auto const found = unit.translate(ask(3, 0xffff'8000'0000'8765, write, 5));
    REQUIRE(found);
    CHECK(found->output == pa{0x7'0000'8765});
    CHECK(unit.translate(ask(1, 0xdead'beef))->output == pa{0x8'dead'beef});
}

} // namespace stagewalk::test
