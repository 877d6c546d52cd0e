// AMD-Vi commands: worked examples E37 to E47, word by word, every reserved bit and every missing feature, and what each command
// drops in each cache, row by row of the manual's table.
#include "catch.hpp"
#include "model/amdvi_scopes.hpp"

#include <stagewalk/amdvi/command.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::cache;
using amdvi::cache_scope;
using amdvi::cache_tag;
using amdvi::capabilities;
using amdvi::command_error;
using amdvi::command_type;
using amdvi::no_pasid;

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

// PreFSup, PPRSup, GTSup, IASup, InvIotlbTypeSup, vIommuSup. A test takes away what it is about.
constexpr std::uint64_t everything = 0x00c0'0000'0000'0053;

auto decode(std::uint64_t q0, std::uint64_t q1, capabilities const& caps = capabilities{everything}) {
    std::uint64_t const word[2]{q0, q1};
    return amdvi::decode(word, caps);
}
command_error error_of(std::uint64_t q0, std::uint64_t q1, capabilities const& caps = capabilities{everything}) {
    auto const c = decode(q0, q1, caps);
    return c ? command_error::none : c.error();
}
amdvi::invalidation stale(std::uint64_t q0, std::uint64_t q1 = 0) {
    auto const c = decode(q0, q1);
    REQUIRE(c);
    return c->stale;
}

// The golden words of a command, and that they are decoded as they stand.
template <class Command>
void golden(Command const& c, std::uint64_t q0, std::uint64_t q1) {
    CAPTURE(q0, q1);
    CHECK(c.word[0] == q0);
    CHECK(c.word[1] == q1);
    auto const decoded = decode(q0, q1);
    REQUIRE(decoded);
    CHECK(decoded->type == Command::type);
    CHECK(static_cast<std::uint64_t>(decoded->type) == q0 >> 60);
    CHECK(decoded->word[0] == q0);
    CHECK(decoded->word[1] == q1);
}

range<iova> from_to(std::uint64_t first, std::uint64_t last) { return range<iova>::between(iova{first}, iova{last}); }
range<iova> page(std::uint64_t at) { return from_to(at, at | 0xfff); }

// The caches that are touched, and their scopes.
struct row {
    cache where;
    cache_scope scope;
};
void check_scopes(amdvi::invalidation const& i, std::initializer_list<row> rows) {
    for (std::size_t c = 0; c < amdvi::cache_kinds; ++c) {
        cache_scope expected{};
        for (row const& r : rows)
            if (static_cast<std::size_t>(r.where) == c) expected = r.scope;
        CAPTURE(c);
        CHECK(i.scope[c] == expected);
    }
}

constexpr std::uint64_t domain5 = 0x3000'0005'0000'0000;

std::vector<range<iova>> blocks_of(range<iova> pages) {
    std::vector<range<iova>> blocks;
    amdvi::for_each_block(pages, [&](range<iova> block) {
        blocks.push_back(block);
        return true; // not looked at
    });
    return blocks;
}

} // namespace

// --- worked examples --------------------------------------------------------------------------------------------------

TEST_CASE("E37: one page of domain 5") {
    golden(amdvi::invalidate_pages(5, no_pasid, page(0x7'2345'6000), true), domain5, 0x7'2345'6000);
    golden(amdvi::invalidate_pages(5, no_pasid, from_to(0x7'2345'6789, 0x7'2345'678a), true), domain5, 0x7'2345'6000);
    CHECK(stale(domain5, 0x7'2345'6000).addresses == page(0x7'2345'6000));
}

TEST_CASE("E38: two pages") {
    golden(amdvi::invalidate_pages(5, no_pasid, from_to(0x1000'0000, 0x1000'1fff), true), domain5, 0x1000'0001);
    CHECK(stale(domain5, 0x1000'0001).addresses == from_to(0x1000'0000, 0x1000'1fff));
}

TEST_CASE("E39: two pages that need a block of four") {
    golden(amdvi::invalidate_pages(5, no_pasid, from_to(0x1000'1000, 0x1000'2fff), true), domain5, 0x1000'1001);
    CHECK(stale(domain5, 0x1000'1001).addresses == from_to(0x1000'0000, 0x1000'3fff));
}

TEST_CASE("E40: 2 MiB and the tables above") {
    golden(amdvi::invalidate_pages(5, no_pasid, from_to(0x1000'0000, 0x101f'ffff), false), domain5, 0x100f'f003);
    CHECK(stale(domain5, 0x100f'f003).addresses == from_to(0x1000'0000, 0x101f'ffff));
}

TEST_CASE("E41: two pages around 1 GiB become 2 GiB, as blocks they stay two pages") {
    auto const around = from_to(0x3fff'f000, 0x4000'0fff);
    golden(amdvi::invalidate_pages(5, no_pasid, around, false), domain5, 0x3fff'f003);
    CHECK(stale(domain5, 0x3fff'f003).addresses == from_to(0, 0x7fff'ffff));
    CHECK(blocks_of(around) == std::vector{page(0x3fff'f000), page(0x4000'0000)});
}

TEST_CASE("E42: all pages of a domain") {
    golden(amdvi::invalidate_domain(5), domain5, 0x7fff'ffff'ffff'f003);
    CHECK(stale(domain5, 0x7fff'ffff'ffff'f003).addresses == range<iova>::all());
}

TEST_CASE("E43: 2 MiB of a PASID") {
    auto const c = amdvi::invalidate_pages(5, 0x123, from_to(0x7f12'3440'0000, 0x7f12'345f'ffff), true);
    golden(c, 0x3000'0005'0000'0123, 0x0000'7f12'344f'f005);
    auto const i = stale(c.word[0], c.word[1]);
    CHECK(i.domain == 5);
    CHECK(i.pasid == 0x123);
    CHECK(i.addresses == from_to(0x7f12'3440'0000, 0x7f12'345f'ffff));
    golden(amdvi::invalidate_pasid(5, 0xabcde), 0x3000'0005'000a'bcde, 0x7fff'ffff'ffff'f007);
}

TEST_CASE("E44: a page that a device keeps of a PASID, whose bits are scattered") {
    auto const c = amdvi::invalidate_device(0x1a3, 0xabcde, page(0x7f12'3456'7000), 0x20, 0x1a3);
    golden(c, 0x4ade'01a3'20bc'01a3, 0x0000'7f12'3456'7004);
    CHECK(c.pasid() == 0xabcde);
    auto const i = stale(c.word[0], c.word[1]);
    CHECK(i.source == 0x1a3);
    CHECK(i.pasid == 0xabcde);
    CHECK(i.addresses == page(0x7f12'3456'7000));
}

TEST_CASE("E45: all that a device keeps") {
    golden(amdvi::invalidate_device(0x1a3, no_pasid, range<iova>::all(), 0x20, 0x1a3), 0x4000'01a3'2000'01a3,
           0x7fff'ffff'ffff'f001);
}

TEST_CASE("E46: completion is stored") {
    golden(amdvi::wait_and_write(0x1234'5678, 0xfeed, false), 0x1000'0000'1234'5679, 0xfeed);
    auto const widest = amdvi::wait_and_write(0xffff'ffff'ffff'ffff, ~std::uint64_t{0}, true);
    golden(widest, 0x100f'ffff'ffff'fffd, ~std::uint64_t{0});
    CHECK(widest.get<"Store Address">() == 0x000f'ffff'ffff'fff8);
    golden(amdvi::wait_and_interrupt(true), 0x1000'0000'0000'0006, 0);
    golden(amdvi::wait_and_interrupt(false), 0x1000'0000'0000'0002, 0);
    golden(amdvi::fence(), 0x1000'0000'0000'0004, 0);
}

TEST_CASE("E47: a device table entry, an interrupt table, everything") {
    golden(amdvi::invalidate_device_entry(0xa5), 0x2000'0000'0000'00a5, 0);
    golden(amdvi::invalidate_interrupts(0xa5), 0x5000'0000'0000'00a5, 0);
    golden(amdvi::invalidate_all(), 0x8000'0000'0000'0000, 0);
}

TEST_CASE("amdvi commands: hints, answers and guests' business") {
    golden(amdvi::prefetch(0xa5, no_pasid, page(0x5000), 7, false), 0x6000'0000'0700'00a5, 0x5000);
    golden(amdvi::prefetch(0xa5, 0xabcde, from_to(0x4000, 0x5fff), 1, true), 0x600a'bcde'0100'00a5, 0x4015);
    golden(amdvi::respond_to_page_group(0xa5, no_pasid, 0x1ff, 15), 0x7000'0000'0000'00a5, 0x0000'f1ff'0000'0000);
    golden(amdvi::respond_to_page_group(0xa5, 0xabcde, 3, 1), 0x700a'bcde'0000'00a5, 0x0000'1003'0000'0004);
    golden(amdvi::insert_guest_event(0x77, 0x2075'abcd'0002'0418, 0x1234), 0x9075'0077'0002'0418, 0x1234);
    golden(amdvi::reset_guest(0x77, false), 0xa000'0000'0000'0077, 0);
    golden(amdvi::reset_guest(0x77, true), 0xa000'0000'8000'0077, 0);
    golden(amdvi::reset_all_guests(false), 0xa000'0000'0800'0000, 0);
    golden(amdvi::reset_all_guests(true), 0xa000'0000'8800'0000, 0);
    for (std::uint64_t const q0 :
         {std::uint64_t{0x1000'0000'0000'0007}, std::uint64_t{0x6000'0000'0100'00a5}, std::uint64_t{0x7000'0000'0000'00a5},
          std::uint64_t{0x9000'0077'0000'0000}, std::uint64_t{0xa000'0000'0800'0077}})
        check_scopes(stale(q0), {});
}

// --- size codes -------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi size codes: every size, and what lies beyond the largest") {
    CHECK(amdvi::pages_of(0x1000'0ffe) == page(0x1000'0000)); // without S no other bit is a size
    CHECK(amdvi::pages_of(0x7fff'ffff'ffff'f000) == page(0x7fff'ffff'ffff'f000));
    for (unsigned lg2 = 13; lg2 <= 52; ++lg2) {
        std::uint64_t const base = bit(63) | bit(lg2);
        std::uint64_t const operand = base | (low_mask(lg2 - 1) & ~low_mask(12)) | 1;
        CAPTURE(lg2);
        CHECK(amdvi::pages_of(operand) == from_to(base, base | low_mask(lg2)));
        CHECK(amdvi::block_around(from_to(base, base | low_mask(lg2))) == operand);
        CHECK(amdvi::block_around(from_to(base | (low_mask(lg2 - 1) & ~low_mask(12)), base | bit(lg2 - 1))) == operand);
    }
    for (unsigned zero = 52; zero < 64; ++zero) {
        CAPTURE(zero);
        CHECK(amdvi::pages_of((~bit(zero) & ~low_mask(12)) | 1) == range<iova>::all());
    }
    CHECK(amdvi::pages_of(~std::uint64_t{0}) == range<iova>::all());
    CHECK(amdvi::pages_of(0x000f'ffff'ffff'f001) == range<iova>::all());
    CHECK(amdvi::pages_of(0x0007'ffff'ffff'f001) == from_to(0, 0x000f'ffff'ffff'ffff));
    CHECK(amdvi::block_around(from_to(0, 0x0010'0000'0000'0000)) == 0x7fff'ffff'ffff'f001);
    STATIC_REQUIRE(amdvi::block_around(range<iova>{iova{0x1000'0000}, 0x20'0000}) == 0x100f'f001);
    STATIC_REQUIRE(amdvi::pages_of(0x100f'f001) == range<iova>{iova{0x1000'0000}, 0x20'0000});
}

TEST_CASE("amdvi blocks: at the edges of the space") {
    CHECK(blocks_of({}).empty());
    CHECK(blocks_of(range<iova>::all()) == std::vector{range<iova>::all()});
    CHECK(blocks_of(page(0)) == std::vector{page(0)});
    CHECK(blocks_of(from_to(0x123, 0x123)) == std::vector{page(0)});
    CHECK(blocks_of(from_to(0xffff'ffff'ffff'e000, ~std::uint64_t{0})) ==
          std::vector{from_to(0xffff'ffff'ffff'e000, ~std::uint64_t{0})});
    CHECK(blocks_of(from_to(0xfff, 0x1000)) == std::vector{from_to(0, 0x1fff)});
    CHECK(blocks_of(from_to(0x1f'f000, 0x4f'ffff)) ==
          std::vector{page(0x1f'f000), from_to(0x20'0000, 0x3f'ffff), from_to(0x40'0000, 0x4f'ffff)});
    // No block is larger than what a command can name.
    auto const large = blocks_of(from_to(0, 0x003f'ffff'ffff'ffff));
    REQUIRE(large.size() == 4);
    CHECK(large[3] == from_to(0x0030'0000'0000'0000, 0x003f'ffff'ffff'ffff));
    CHECK(blocks_of(from_to(0x1000, ~std::uint64_t{0})).size() == 40 + 4095);
}

// --- what is refused --------------------------------------------------------------------------------------------------

TEST_CASE("amdvi commands: every bit of every opcode, alone") {
    amdvi_scopes::unit const u{everything, bit(24)};
    for (std::uint64_t op = 0; op < 16; ++op)
        for (unsigned n = 0; n < 128; ++n) {
            if (n >= 60 && n < 64) continue; // the opcode
            amdvi_scopes::words w{{op << 60, 0}};
            w.d[n / 64] |= bit(n % 64);
            CAPTURE(op, n);
            bool const known = op >= 1 && op <= 10;
            command_error expected = command_error::none;
            if (!known)
                expected = command_error::opcode;
            else if (amdvi_scopes::is_reserved_bit_set(w))
                expected = command_error::reserved_bit;
            CHECK(error_of(w.d[0], w.d[1]) == expected);
            CHECK(amdvi_scopes::is_illegal(u, w) == (expected != command_error::none));
        }
}

TEST_CASE("amdvi commands: each without its feature") {
    auto const without = [](unsigned n) { return capabilities{everything & ~bit(n)}; };
    constexpr auto gone = command_error::no_feature;
    CHECK(error_of(0x6000'0000'0000'00a5, 0, without(0)) == gone); // PreFSup
    CHECK(error_of(0x7000'0000'0000'00a5, 0, without(1)) == gone); // PPRSup
    CHECK(error_of(0x8000'0000'0000'0000, 0, without(6)) == gone); // IASup
    for (std::uint64_t type = 0; type < 4; ++type)
        CHECK(error_of(0x4000'0000'0000'00a5, type << 4, without(54)) == (type == 0 ? command_error::none : gone));
    CHECK(error_of(0x9000'0000'0000'0000, 0, without(55)) == gone);
    CHECK(error_of(0xa000'0000'0000'0000, 0, without(55)) == gone);
    CHECK(error_of(0x4000'0000'0000'00a5, 0, capabilities{everything, 0, 0}) == gone); // IotlbSup
    // GN needs guest translation; without it the rest of the command does not.
    for (std::uint64_t const op : {3u, 4u, 6u, 7u}) {
        CAPTURE(op);
        CHECK(error_of(op << 60, 4, without(4)) == gone);
        CHECK(error_of(op << 60, 0, without(4)) == command_error::none);
    }
    // PASID without GN is not looked at.
    CHECK(error_of(0x3000'0005'000f'ffff, 0, without(4)) == command_error::none);
    // The others need none.
    capabilities const plain{0, 0, 0};
    CHECK(error_of(0x1000'0000'0000'0007, 1, plain) == command_error::none);
    CHECK(error_of(0x2000'0000'0000'00a5, 0, plain) == command_error::none);
    CHECK(error_of(domain5, 0x1003, plain) == command_error::none);
    CHECK(error_of(0x5000'0000'0000'00a5, 0, plain) == command_error::none);
    // A reserved bit says so, feature or not.
    CHECK(error_of(0x8000'0000'0000'0001, 0, without(6)) == command_error::reserved_bit);
}

// --- what is dropped: the table of the manual -------------------------------------------------------------------------

TEST_CASE("amdvi scopes: INVALIDATE_DEVTAB_ENTRY") {
    auto const i = stale(0x2000'0000'0000'00a5);
    cache_scope const device{.drops = true, .by_source = true};
    check_scopes(
        i,
        {{cache::device_entry, device}, {cache::interrupt_table, device}, {cache::guest_tables, device}, {cache::gcr3, device}});
    CHECK(i.source == 0xa5);
    CHECK(i.drops(cache::device_entry, {.source = 0xa5}));
    CHECK_FALSE(i.drops(cache::device_entry, {.source = 0x1a5}));
    CHECK_FALSE(i.drops(cache::interrupt, {.source = 0xa5}));
}

TEST_CASE("amdvi scopes: INVALIDATE_IOMMU_PAGES of the host") {
    cache_scope const pages{.drops = true, .by_domain = true, .by_address = true};
    cache_scope const domain{.drops = true, .by_domain = true};
    check_scopes(stale(0x3000'0005'0000'0123, 0x1000'0000), {{cache::host, pages}, {cache::guest, domain}});
    auto const i = stale(0x3000'0005'0000'0123, 0x100f'f003);
    check_scopes(i, {{cache::host, pages}, {cache::guest, domain}, {cache::host_tables, pages}});
    // By overlap, whatever the sizes.
    CHECK(i.drops(cache::host, {.domain = 5, .page = page(0x101f'f000)}));
    CHECK(i.drops(cache::host, {.domain = 5, .page = from_to(0, 0x3fff'ffff)}));
    CHECK_FALSE(i.drops(cache::host, {.domain = 5, .page = page(0x1020'0000)}));
    CHECK_FALSE(i.drops(cache::host, {.domain = 5, .page = page(0x0fff'f000)}));
    CHECK_FALSE(i.drops(cache::host, {.domain = 6, .page = page(0x1000'0000)}));
    CHECK(i.drops(cache::guest, {.domain = 5, .pasid = 7, .page = page(0x7f12'3456'7000)})); // no reverse map
    CHECK_FALSE(i.drops(cache::guest, {.domain = 0x105, .pasid = 7}));
    // A large page goes with any of its pages.
    auto const one = stale(domain5, 0x1000'7000);
    CHECK(one.drops(cache::host, {.domain = 5, .page = from_to(0x1000'0000, 0x101f'ffff)}));
    CHECK_FALSE(one.drops(cache::host, {.domain = 5, .page = page(0x1000'5000)}));
    CHECK_FALSE(one.drops(cache::host_tables, {.domain = 5, .page = from_to(0x1000'0000, 0x101f'ffff)}));
}

TEST_CASE("amdvi scopes: INVALIDATE_IOMMU_PAGES of a guest") {
    cache_scope const pages{.drops = true, .by_domain = true, .by_pasid = true, .by_address = true};
    cache_scope const space{.drops = true, .by_domain = true, .by_pasid = true};
    check_scopes(stale(0x3000'0005'0000'0123, 0x0000'7f12'344f'f005), {{cache::guest, pages}});
    auto const i = stale(0x3000'0005'0000'0123, 0x0000'7f12'344f'f007);
    check_scopes(i, {{cache::guest, pages}, {cache::guest_tables, space}, {cache::gcr3, space}});
    CHECK(i.drops(cache::guest, {.domain = 5, .pasid = 0x123, .page = page(0x7f12'345f'f000)}));
    CHECK_FALSE(i.drops(cache::guest, {.domain = 5, .pasid = 0x123, .page = page(0x7f12'3460'0000)}));
    CHECK_FALSE(i.drops(cache::guest, {.domain = 5, .pasid = 0x122, .page = page(0x7f12'345f'f000)}));
    CHECK(i.drops(cache::gcr3, {.source = 0x99, .domain = 5, .pasid = 0x123, .page = page(0)}));
    CHECK_FALSE(i.drops(cache::gcr3, {.domain = 5, .pasid = 0x323}));
}

TEST_CASE("amdvi scopes: INVALIDATE_IOTLB_PAGES") {
    cache_scope const of_device{.drops = true, .by_source = true, .by_address = true};
    cache_scope of_pasid = of_device;
    of_pasid.by_pasid = true;
    auto const with = stale(0x4ade'01a3'20bc'01a3, 0x0000'7f12'3456'7004);
    check_scopes(with, {{cache::device, of_pasid}});
    CHECK(with.drops(cache::device, {.source = 0x1a3, .pasid = 0xabcde, .page = page(0x7f12'3456'7000)}));
    CHECK_FALSE(with.drops(cache::device, {.source = 0x1a3, .pasid = 0x2bcde, .page = page(0x7f12'3456'7000)}));
    auto const all = stale(0x4000'01a3'2000'01a3, 0x7fff'ffff'ffff'f001);
    check_scopes(all, {{cache::device, of_device}});
    CHECK(all.drops(cache::device, {.source = 0x1a3, .pasid = 0xabcde, .page = page(~low_mask(12))}));
    CHECK_FALSE(all.drops(cache::device, {.source = 0x1a2}));
    // QueueID is not whose translations they are, and Type does not matter.
    CHECK(stale(0x4000'0777'2000'01a3, 0x31).source == 0x1a3);
    check_scopes(stale(0x4000'0777'2000'01a3, 0x31), {{cache::device, of_device}});
}

TEST_CASE("amdvi scopes: INVALIDATE_INTERRUPT_TABLE, PREFETCH with Inval and INVALIDATE_IOMMU_ALL") {
    cache_scope const device{.drops = true, .by_source = true};
    check_scopes(stale(0x5000'0000'0000'00a5), {{cache::interrupt, device}, {cache::interrupt_table, device}});
    cache_scope const pages{.drops = true, .by_address = true};
    check_scopes(stale(0x6000'0123'0100'00a5, 0x5010), {{cache::host, pages}, {cache::guest, pages}});
    cache_scope const space{.drops = true, .by_pasid = true, .by_address = true};
    check_scopes(stale(0x6000'0123'0100'00a5, 0x5014), {{cache::guest, space}});
    CHECK(stale(0x6000'0123'0100'00a5, 0x5014).pasid == 0x123);
    check_scopes(stale(0x6000'0123'0100'00a5, 0x5004), {});
    cache_scope const all{.drops = true};
    check_scopes(stale(0x8000'0000'0000'0000), {{cache::device_entry, all},
                                                {cache::host, all},
                                                {cache::guest, all},
                                                {cache::host_tables, all},
                                                {cache::guest_tables, all},
                                                {cache::gcr3, all},
                                                {cache::interrupt, all},
                                                {cache::interrupt_table, all}});
}

TEST_CASE("amdvi commands: constant expressions") {
    constexpr auto by_encoder = [] {
        auto const c = amdvi::invalidate_device(0x1a3, 0xabcde, range<iova>{iova{0x7f12'3456'7000}, 4096}, 0x20, 0x1a3);
        std::uint64_t const word[2]{c.word[0], c.word[1]};
        return amdvi::decode(word, capabilities{everything});
    }();
    STATIC_REQUIRE(by_encoder);
    STATIC_REQUIRE(by_encoder->stale.drops(cache::device, {.source = 0x1a3, .pasid = 0xabcde}));
    STATIC_REQUIRE_FALSE(by_encoder->stale.drops(cache::device, {.source = 0x1a4, .pasid = 0xabcde}));
}

} // namespace stagewalk::test
